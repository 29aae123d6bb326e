"""Runs that read documents until a number is as sure as was asked: where they stop, and what they
then say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.config.precision import Precision
from bitlens.config.study import Study
from bitlens.engine.accumulators import DocumentSums
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.report.audit_results import AuditResults
from bitlens.report.text.early_stop import looked, stops
from bitlens.results.stats.any_stop import level_at_any_stop
from bitlens.results.store import Store
from bitlens.seeds import generator
from bitlens.workflows.audit.early_stop import _Looking
from bitlens.workflows.audit.run import run
from bitlens.workflows.session import Session

DOCUMENTS = 90


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of random words, of different lengths."""
    draw = generator(0, "early stop")
    words = ["".join(draw.choice(list("aeioustrnl"), draw.integers(1, 8))) for _ in range(60)]
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = [" ".join(draw.choice(words, draw.integers(3, 9))) for _ in range(DOCUMENTS)]
    path.write_text("\n".join(json.dumps({"text": line}) for line in lines))
    return path


def study(model: Path, texts: Path, **settings: Any) -> Study:
    fields = {
        "models": (ModelSource(str(model)),),
        "compressions": ("rtn:bits=3",),
        "controls": ("cast",),
        "analyses": ("behaviour",),
        "text": str(texts),
        "until": "kl:12%",
    }
    return Study(**(fields | settings))


def audited(asked: Study, out: Path) -> tuple[Store, list[str]]:
    """The store, and what was said."""
    said: list[str] = []
    return run(asked, out, "audit", said.append), said


def stopped(store: Store) -> dict[str, Any]:
    return store.manifest()["corpora"][0]["until"]


def kl(store: Store, twin: str = "rtn:bits=3") -> dict[str, Any]:
    rows = store.read_table("estimates").to_pylist()
    (row,) = [r for r in rows if (r["metric"], r["compression"]) == ("kl", twin)]
    return row


@pytest.fixture(scope="module")
def finished(llama: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run that stopped early. Nobody writes to it."""
    return audited(study(llama, texts), tmp_path_factory.mktemp("stopped") / "out")[0]


def test_it_stops_where_the_interval_of_the_audit_is_as_narrow_as_asked(finished: Store) -> None:
    """What the rule saw is what the table says: the longer half of the interval, over the value;
    the control is measured on the same documents."""
    found, row = stopped(finished), kl(finished)
    assert found["reached"]
    assert 20 <= found["documents"] < DOCUMENTS == found["of"]
    half = max(row["high"] - row["value"], row["value"] - row["low"])
    assert half / row["value"] == pytest.approx(found["share"], rel=1e-6)
    assert found["share"] <= 0.12
    (cast,) = [t["compression"] for t in finished.manifest()["twins"] if t["control"]]
    assert row["documents"] == kl(finished, cast)["documents"] == found["documents"]
    assert finished.manifest()["corpora"][0]["documents"] == found["documents"]


def test_what_stopped_early_says_so(finished: Store) -> None:
    """How many documents, of how many, and why; its intervals are wider than those for a fixed
    number would be."""
    results = AuditResults.read(finished.root)
    (told,) = stops(results, results.models[0])
    assert f"{stopped(finished)['documents']} of 90 documents" in told
    assert "KL is known within" in told
    assert level_at_any_stop(stopped(finished)["documents"]) > 0.99


@pytest.mark.slow
def test_the_same_command_reads_nothing_again_and_a_new_twin_the_same_documents(
    llama: Path, texts: Path, finished: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compared is measured on the same documents, however sure the new twin's number is."""
    store, _ = audited(study(llama, texts), tmp_path / "out")
    for name in ("manifest.json", "estimates.parquet"):
        assert (store.root / name).read_bytes() == (finished.root / name).read_bytes()
    monkeypatch.setattr(_Looking, "_read", lambda *_: pytest.fail("it was read again"))
    more = study(llama, texts, compressions=("rtn:bits=3", "rtn:bits=2"))
    store, _ = audited(more, tmp_path / "out")
    assert stopped(store) == stopped(finished) | {"others": ["rtn:bits=2"]}
    assert "it says nothing of rtn:bits=2" in looked(stopped(store))
    assert kl(store, "rtn:bits=2")["documents"] == kl(store)["documents"]


def test_a_run_that_was_killed_goes_on_where_it_was(
    llama: Path, texts: Path, finished: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks that were complete are not read again, and it stops at the same place; what does not
    hold what was written is read anew."""
    read, sizes = _Looking._read, []

    def dies(self: _Looking, size: int) -> None:
        if sizes:
            raise KeyboardInterrupt
        sizes.append(size)
        read(self, size)

    monkeypatch.setattr(_Looking, "_read", dies)
    with pytest.raises(KeyboardInterrupt):
        audited(study(llama, texts), tmp_path / "out")
    monkeypatch.setattr(_Looking, "_read", lambda s, size: (sizes.append(size), read(s, size)))
    store, _ = audited(study(llama, texts), tmp_path / "out")
    assert sizes[0] == 20 < sizes[1]
    assert stopped(store) == stopped(finished)
    assert not (store.root / "partial").exists()


@pytest.mark.parametrize("alone", [True, False])
def test_a_twin_without_numbers_is_not_waited_for(
    llama: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    """The others stop without it; where there are none, all is read. It is named."""
    added = _Looking._add

    def overflows(self: _Looking, twin: str, of: DocumentSums) -> None:
        added(self, twin, of)
        if twin == "rtn:bits=2":
            self.sums[twin][0] = np.inf

    monkeypatch.setattr(_Looking, "_add", overflows)
    mine = ("rtn:bits=2",) if alone else ("rtn:bits=3", "rtn:bits=2")
    store, said = audited(
        study(llama, texts, compressions=mine, controls=(), until="kl:20%"), tmp_path / "out"
    )
    found = stopped(store)
    assert (found["reached"], found["documents"] < DOCUMENTS) == (not alone, not alone)
    assert found["others"] == ["rtn:bits=2"]
    assert any("rtn:bits=2 gives no number" in line for line in said)
    assert kl(store, "rtn:bits=2")["documents"] == found["documents"]


@pytest.mark.parametrize("other", [{"positions": "all"}, {}])
def test_looks_are_kept_for_the_same_positions_alone(
    llama: Path, texts: Path, tmp_path: Path, other: dict[str, str]
) -> None:
    """Sums over other positions are no part of this run's."""
    store, folders = Store.create(tmp_path / "out"), []
    for settings in ({}, other):
        asked = study(llama, texts, **settings)
        session = Session.open(asked, print, source=asked.models[0], seed=0)
        folders.append(_Looking.of(session, Precision.parse("kl:12%"), store).folder)
    assert (folders[0] == folders[1]) == (not other)


def test_what_cannot_be_reached_reads_everything(llama: Path, texts: Path, tmp_path: Path) -> None:
    """One look shows that many times the documents would be needed: the rest is read at once."""
    store, said = audited(study(llama, texts, until="kl:0.5%"), tmp_path / "out")
    found = stopped(store)
    assert (found["reached"], found["documents"], found["looks"]) == (False, DOCUMENTS, 1)
    assert found["needed"] > 1.5 * DOCUMENTS
    assert any("all of 90 documents; after 20 documents KL" in line for line in said)


@pytest.mark.parametrize("text", ["kl", "kl:5", "cosine:5%", "kl:0%", "kl:100%", ":5%"])
def test_a_precision_that_is_none_is_refused(text: str) -> None:
    """What can be waited for is named."""
    with pytest.raises(BitlensError, match="The precision is") as refused:
        Study(models=["gpt2"], compressions=["rtn:bits=4"], until=text)
    assert refused.value.remedy == "kl:5%"


@pytest.mark.parametrize("other", [{"interval": "bootstrap"}, {"analyses": ["geometry"]}])
def test_a_precision_needs_its_number_and_its_intervals(other: dict[str, Any]) -> None:
    """Draws of documents have no level that holds wherever one stops."""
    with pytest.raises(BitlensError, match=r"until kl:5%"):
        Study(models=["gpt2"], compressions=["rtn:bits=4"], until="kl:5%", **other)


def test_what_is_said_of_few_documents_and_of_no_interval() -> None:
    """Fewer than a first look takes, and a twin without a number."""
    blank = {"asked": "kl:5%", "documents": 12, "of": 12, "looks": 0, "seen": 0, "twin": ""}
    blank |= {"share": None, "needed": None, "reached": False}
    assert looked(blank) == (
        "Read until kl:5%: all of 12 documents, too few to look at some of them first"
    )
    assert looked(blank | {"of": 60, "documents": 60}) == (
        "Read until kl:5%: all of 60 documents, because there was no twin to wait for"
    )
    none = blank | {"seen": 20, "of": 60, "documents": 60, "twin": "nf4", "looks": 1}
    assert looked(none) == (
        "Read until kl:5%: all of 60 documents; after 20 documents KL has no interval for nf4, "
        "the least sure"
    )
