"""A ranking is as sure as its differences, and a comparison's page says no more."""

import json
from pathlib import Path

import numpy as np
import pytest

from bitlens.errors import InputError
from bitlens.report.comparison.compared import Compared
from bitlens.report.comparison.page import headline, page, refusals
from bitlens.report.comparison.write import FILES, write_comparison
from bitlens.report.page.html import html
from bitlens.report.page.parts import Section, Table, figures
from tests.support.analysis_tables import HOSTILE
from tests.support.compared_stores import compared_store

DRAW = np.random.default_rng(3)
BASE = DRAW.lognormal(-3, 0.3, 20)
NOISE = 0.002 * DRAW.standard_normal((2, 20))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A good twin, two that nothing parts, a bad one; one more in another text."""
    root = tmp_path_factory.mktemp("runs")
    like = {"fp4": 2 * BASE + NOISE[0], "nf4": 2 * BASE + NOISE[1]}
    return [
        compared_store(root / "a", {"rtn:bits=8": BASE, **like}),
        compared_store(root / "b", {"rtn:bits=3": 5 * BASE}),
        compared_store(root / "c", {"rtn:bits=2": 9 * BASE}, tokens="77"),
    ]


@pytest.fixture(scope="module")
def compared(runs: list[Path]) -> Compared:
    return Compared.read(runs, "behaviour.kl")


def test_ranks_are_ranges(compared: Compared) -> None:
    """Two that cannot be told apart share places 2 and 3; who read other tokens has a ranking of
    its own."""
    first, other = compared.standings
    assert [(one.contender.label, one.rank) for one in first][::3] == [
        ("rtn:bits=8", "1"),
        ("rtn:bits=3", "4"),
    ]
    assert [one.rank for one in first[1:3]] == ["2–3", "2–3"]
    assert [(one.contender.label, one.rank) for one in other] == [("rtn:bits=2", "1")]
    assert headline(compared) == "rtn:bits=8 is surely the best of 4 by KL divergence"


def test_the_rank_goes_the_way_of_the_metric(runs: list[Path]) -> None:
    """By perplexity, which several items have, the twin's is meant."""
    by = Compared.read(runs[:2], "behaviour.perplexity").standings[0]
    assert (by[0].contender.label, by[-1].contender.label) == ("rtn:bits=8", "rtn:bits=3")


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("behaviour.kll", "Did you mean behaviour.kl"),
        ("behaviour.kl@resid.9", "--by behaviour.kl@logits@"),
    ],
)
def test_an_unknown_measure_is_refused(runs: list[Path], by: str, said: str) -> None:
    """With those that there are."""
    with pytest.raises(InputError) as refused:
        Compared.read(runs, by)
    assert said in str(refused.value)


def test_a_run_is_named_once(runs: list[Path]) -> None:
    """By whatever path."""
    with pytest.raises(InputError, match="named 2 times"):
        Compared.read([runs[0], runs[0] / ".." / "a"], "behaviour.kl")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By as much of their paths as it takes."""
    paths = [compared_store(tmp_path / n / "run", {"nf4": BASE}) for n in "ab"]
    assert list(Compared.read(paths, "behaviour.kl").audits) == ["a/run", "b/run"]


def test_the_page_says_what_was_not_compared(compared: Compared) -> None:
    """With its reason, and the number of pairs that it holds for."""
    (told,) = refusals(compared)
    assert told.startswith("behaviour: other tokens (hashes 9f2c1ab0 and 77)")
    assert told.endswith("and 1 pair more.")
    sections = {section.anchor: section for section in page(compared).sections}
    assert list(sections) == ["ranking", "cost", "contrasts", "refused", "runs"]
    ranking = [part for part in sections["ranking"].parts if isinstance(part, Table)]
    assert [len(table.rows) for table in ranking] == [4, 1]


def test_stairs_are_drawn_where_all_can_be_paired(runs: list[Path], compared: Compared) -> None:
    """The best so far: fp4 takes a bit more than nf4 and is no better, so it is no step; of twins
    that read other texts there are no stairs."""
    alone = Compared.read(runs[:1], "behaviour.kl")
    for known, steps in ((alone, [6, 8]), (compared, [])):
        (figure,) = figures(page(known))
        panel = figure.strips[0].panels[0]
        assert [point["x"] for point in panel.points if point["is"] == "stairs"] == steps


def test_files_hold_what_the_page_shows(compared: Compared, tmp_path: Path) -> None:
    """Page, JSON and CSV; twice the same bytes."""
    shown = write_comparison(compared, tmp_path / "out")
    assert {path.name for path in shown.parent.iterdir()} == set(FILES)
    data = json.loads((shown.parent / "compare.json").read_text())
    assert [one["last"] for one in data["ranking"][0]] == [1, 3, 3, 4]
    assert len(data["contrasts"]) == 12, "six pairs of two numbers"
    assert len((shown.parent / "contrasts.csv").read_text().splitlines()) == 13
    before = {path.name: path.read_bytes() for path in shown.parent.iterdir()}
    write_comparison(compared, tmp_path / "out")
    assert before == {path.name: path.read_bytes() for path in shown.parent.iterdir()}


def test_names_stay_text(tmp_path: Path) -> None:
    """Of models, and of runs."""
    one = compared_store(tmp_path / "a<b>", {"nf4": BASE, "fp4": 2 * BASE}, model=HOSTILE)
    text = html(page(Compared.read([one], "behaviour.kl")))
    assert "<img src=x" not in text
    assert "a<b>" not in text


def test_few_documents_rank_nobody(tmp_path: Path) -> None:
    """Fewer than twenty documents give no interval, so no difference is sure."""
    one = compared_store(tmp_path / "a", {"nf4": BASE, "fp4": 5 * BASE}, documents=12)
    known = Compared.read([one], "behaviour.kl")
    assert [standing.rank for standing in known.standings[0]] == ["1–2", "1–2"]
    assert headline(known) == "No one of 2 is surely ahead by KL divergence"


def test_sections_are_headed_by_what_was_found(compared: Compared) -> None:
    """The first heading is the finding itself."""
    first = page(compared).sections[0]
    assert isinstance(first, Section)
    assert first.found is not None
    assert first.found.text == headline(compared)
