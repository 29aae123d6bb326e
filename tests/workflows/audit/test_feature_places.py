"""Which top positions are shown: ranks, the documents that hold most, both models' ranks."""

from dataclasses import replace

import numpy as np

from bitlens.engine.places import BITS
from bitlens.results.records import DetailTable
from bitlens.workflows.audit.feature_places import Places, documents, numbered
from tests.support import tiny


def places(*runs: tuple[int, str, list[tuple[int, int]]]) -> Places:
    """Of (latent, whose, [(document, offset), ...] the highest first)."""
    columns: dict[str, list[object]] = {
        n: [] for n in ("sae", "site", "latent", "found", "position")
    }
    for latent, who, at in runs:
        for document, offset in at:
            columns["sae"].append("one")
            columns["site"].append("resid.0")
            columns["latent"].append(latent)
            columns["found"].append(who)
            columns["position"].append((document << BITS) + offset)
    return Places.of(DetailTable("places", columns))


def test_ranks_begin_again_with_every_feature_and_model() -> None:
    """They are the order in which the positions come."""
    found = places((4, "reference", [(0, 1), (2, 5)]), (7, "reference", [(1, 1)]),
                   (4, "twin", [(2, 5), (0, 1), (0, 9)]))  # fmt: skip
    assert found.rank.tolist() == [0, 1, 0, 0, 1, 2]
    assert found.document.tolist() == [0, 2, 1, 2, 0, 0]
    assert found.offset.tolist() == [1, 5, 1, 5, 1, 9]


def test_documents_are_those_that_hold_most() -> None:
    """Document 2 has the top of both features; then 0, which alone has what is left; of two that
    add as much the first; the same positions of the reference in two twins count once."""
    one = places((4, "reference", [(2, 1), (0, 3)]), (7, "reference", [(2, 4), (1, 1)]),
                 (7, "twin", [(0, 6), (5, 2)]))  # fmt: skip
    assert documents([one], 4).tolist() == [2, 0]
    again = places((4, "reference", [(2, 1), (0, 3)]), (9, "twin", [(3, 1)]),
                   (9, "reference", [(3, 1)]), (8, "reference", [(4, 1)]))  # fmt: skip
    assert documents([one, again], 4).tolist() == [2, 3, 0, 4]
    assert documents([one, again], 3).tolist() == [2, 3, 0]


def test_the_highest_in_either_model_are_shown_with_both_ranks() -> None:
    """Of five positions the three highest of each model in the chosen documents, and where the
    other model has the position too, its rank there."""
    at = [(0, 1), (9, 1), (0, 2), (0, 3), (0, 4)]
    found = places((4, "reference", at), (4, "twin", [(0, 4), (0, 3), (0, 2), (0, 1)]))
    shown = found.to_show(np.array([0]))
    told = sorted(
        zip(shown.offset.tolist(), shown.of_twin.tolist(), shown.rank.tolist(), strict=True)
    )
    assert told == [(1, False, 0), (1, True, 3), (2, False, 2), (2, True, 2),
                    (3, False, 3), (3, True, 1), (4, False, 4), (4, True, 0)]  # fmt: skip


def test_rows_are_those_of_the_windows() -> None:
    """A place's row is the last of its document that begins at or before it."""
    corpus = tiny.corpus([[10, 10], [10]])
    found = places((1, "twin", [(0, 0), (0, 9), (0, 10), (1, 3)]))
    assert found.rows(corpus).tolist() == [0, 0, 1, 2]
    assert replace(found, offset=found.offset + 5).rows(corpus).tolist() == [0, 1, 1, 2]


def test_rows_of_columns_are_numbered_alike() -> None:
    """Equal rows have one number, different ones different ones, in their order."""
    assert numbered(np.array(["b", "a", "b", "b"]), np.array([1, 9, 1, 0])).tolist() == [2, 0, 2, 1]
