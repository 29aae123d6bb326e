"""What SAEs learn from and are measured on: a model and its twins at one place."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bitlens.config.study import audit_of
from bitlens.data.splits import split
from bitlens.engine.runs import REFERENCE
from bitlens.errors import BitlensError
from bitlens.sae.training.trainer import InMemory
from bitlens.workflows.train_sae.dataset import DatasetBuilder

TWIN = "rtn:bits=3"


def made(llama: Path, texts: Path, site: str = "resid.0", **settings: str) -> DatasetBuilder:
    study = audit_of(str(llama), TWIN, controls=(), text=str(texts), tokens=0, **settings)
    return DatasetBuilder.open(study, [TWIN, REFERENCE], site, print)


def test_both_streams_are_read_at_the_same_positions(llama: Path, short_texts: Path) -> None:
    """In the order asked for; a twin at the embedding is its reference, later it is not."""
    at_first, later = (made(llama, short_texts, site) for site in ("embed", "resid.0"))
    for here, alike in ((at_first, True), (later, False)):
        rows = here.rows(here.session.corpus)
        assert list(rows) == [TWIN, REFERENCE]
        assert torch.equal(rows[TWIN], rows[REFERENCE]) == alike
        assert len(rows[TWIN]) == here.plan(here.session.corpus).positions


def test_rows_stand_in_the_order_of_the_plan(llama: Path, short_texts: Path) -> None:
    """So that a position's document is known: at the embedding a row is its token's."""
    here = made(llama, short_texts, "embed")
    batches = here.plan(here.session.corpus).batches
    tokens = torch.cat([batch.tokens.flatten()[batch.index] for batch in batches])
    weights = here.session.loaded.model.get_input_embeddings().weight
    torch.testing.assert_close(here.rows(here.session.corpus)[REFERENCE], weights.detach()[tokens])


def test_what_was_read_already_is_not_read_again(llama: Path, short_texts: Path) -> None:
    """Held-out activations are shared by datasets; who made them is written down."""
    here = made(llama, short_texts)
    learnt, held = split(here.session.corpus, 0.3)
    here = replace(here, held=held)
    rows, spec = here.rows(held), here.spec(learnt)
    dataset = here.dataset(spec, rows)
    assert dataset.made_by == spec.made_by
    assert dataset.sizes == [spec.positions]
    assert dataset.held_out is rows
    assert isinstance(dataset.source, InMemory)
    assert dataset.positions == len(dataset.source.rows[REFERENCE])
    assert not dataset.streamed
    assert dataset.made_by[TWIN]["of"] == TWIN
    assert dataset.made_by[TWIN]["learnt from"] == dataset.made_by[REFERENCE]["learnt from"]


def test_what_is_calibrated_on_is_not_measured_on(llama: Path, short_texts: Path) -> None:
    """A text that is both is refused before anything is calibrated."""
    study = audit_of(
        str(llama), "gptq:bits=4", controls=(), text=str(short_texts), tokens=0,
        calibration=str(short_texts),
    )  # fmt: skip
    here = DatasetBuilder.open(study, ["gptq:bits=4"], "resid.0", print)
    learnt, held = split(here.session.corpus, 0.3)
    with pytest.raises(BitlensError, match="share a tenth or more"):
        replace(here, held=held).spec(learnt)


def test_a_place_where_no_sae_is_trained_is_refused(llama: Path, short_texts: Path) -> None:
    """One site, as wide as the model."""
    for site in ("resid.*", "heads.0"):
        with pytest.raises(BitlensError, match="one site as wide as the model"):
            made(llama, short_texts, site)


def test_positions_are_those_of_the_study(llama: Path, tmp_path: Path) -> None:
    """Of two documents of two letters: both after BOS, or the last of each."""
    path = tmp_path / "short.jsonl"
    path.write_text('{"text": "ab"}\n{"text": "cd"}\n')
    for positions, expected in (("content", 4), ("last", 2)):
        here = made(llama, path, positions=positions, bos="yes")
        assert here.plan(here.session.corpus).positions == expected
