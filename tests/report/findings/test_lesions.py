"""Planted lesions are named, each the first finding of its twin, and nothing is of a sound one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.config.study import audit_of
from bitlens.demo import evaluation_path, sae_paths
from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.lesions import lesions
from bitlens.report.findings.ranking import findings, first
from bitlens.report.hero import hero
from bitlens.report.registration import Finding
from bitlens.report.text.lesions import brief
from bitlens.report.text.verdict import sentences
from bitlens.results.records import TEXT, Check
from bitlens.workflows.audit.run import run
from tests.support import lesions as planted
from tests.support.audit_stores import RTN, Numbers, with_rows

LATENT = 975
"""A feature of the embedded SAE that fires at one position in twenty."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginnings of documents that the model was not trained on."""
    path = tmp_path_factory.mktemp("texts") / "short.jsonl"
    with evaluation_path().open(encoding="utf-8") as lines:
        rows = [{"text": json.loads(line)["text"][:250]} for line in lines]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:24]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def audited(
    texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[AuditResults, str]]:
    """One audit of four lesions and a sound twin of eight bits."""
    folder = tmp_path_factory.mktemp("lesions")
    twins = {
        "silent": planted.planted(folder / "a", lambda m: planted.silence(m, *planted.HEAD)),
        "blind": planted.planted(folder / "b", lambda m: planted.blind(m, *planted.BLIND)),
        "bits": planted.planted(folder / "c", lambda m: planted.two_bits(m, planted.BLOCK)),
        "mute": planted.planted(
            folder / "d", lambda m: planted.mute(m, planted.SITE, planted.direction_of(LATENT))
        ),
        "sound": "rtn:bits=8",
    }
    study = audit_of(
        "demo",
        list(twins.values()),
        text=str(texts),
        analyses=["geometry", "attention", "features"],
        saes=[str(sae_paths()[0])],
        controls=(),
    )
    store = run(study, folder / "out", "", lambda _: None)
    return {name: (AuditResults.read(store.root), twin) for name, twin in twins.items()}


def of_twin(results: AuditResults, twin: str) -> list[Finding]:
    return [one for one in findings(results, results.models[0]) if twin in one.twins]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said", "told", "target"),
    [
        ("silent", "head 2.5 still looks where it looked", "100 % is wrong", "layer=2&head=5"),
        ("blind", "head 1.3 looks elsewhere", "its attention moved by JSD", "layer=1&head=3"),
        ("bits", "block 2 is damaged far more than the others", "block 2's MLP", "layer=2"),
        ("mute", f"{LATENT}", f"Feature {LATENT} in block 1", f"feature={LATENT}"),
    ],
)
def test_a_planted_lesion_is_the_first_finding_of_its_twin(
    audited: dict, name: str, said: str, told: str, target: str
) -> None:
    """On the first screen, with its numbers and an address; its row says it too."""
    results, twin = audited[name]
    one = of_twin(results, twin)[0]
    assert said in one.title
    assert told in one.text
    assert target in one.target
    assert one in first(findings(results, results.models[0]))[0]
    record = next(t for t in results.measured(results.models[0]) if t.compression == twin)
    seen = hero(results, results.models[0], record).sentence
    assert said in seen.lower()
    row = " ".join(sentences(results, results.models[0], record))
    assert one.text.split(";")[0].lower() in row.lower()


@pytest.mark.slow
def test_nothing_is_named_in_a_sound_twin(audited: dict) -> None:
    """Eight bits damage every head, block and feature a little."""
    results, twin = audited["sound"]
    assert not [one for one in lesions(results, results.models[0]) if twin in one.twins]


def test_a_store_of_usual_damage_names_nothing(deep: AuditResults) -> None:
    """Whatever its compressions."""
    assert not list(lesions(deep, "demo"))


def lost_head() -> dict[str, Numbers]:
    """Four heads of one block, of which the second writes nothing that it wrote."""
    rows: dict[str, Numbers] = {}
    for head in range(4):
        error = (1.0, 0.98, 1.02) if head == 1 else (0.02, 0.01, 0.03)
        rows[f"geometry__head_error__heads_9__head_{head},_local"] = error
        rows[f"geometry__head_share__heads_9__head_{head},_local"] = (0.25, 0.2, 0.3)
    return rows


def test_a_head_without_patterns_is_named_by_what_it_writes(deep: AuditResults) -> None:
    """Where attention was not read, nothing is said of where it looks."""
    (one,) = [one for one in lesions(with_rows(deep, **lost_head()), "demo") if RTN in one.twins]
    assert one.title == f"At {RTN} head 9.1 no longer writes what it wrote"
    assert one.text == (
        "Of what head 9.1 writes, given the reference's input, 100.0 % [98.0, 102.0] is wrong; of "
        "what the other heads of its block write 3.00 % (median)."
    )


def test_a_lesion_on_a_text_that_cannot_be_read_is_not_told(deep: AuditResults) -> None:
    """Neither in a finding nor in the row of the twin."""
    whole = with_rows(deep, **lost_head())
    assert brief(whole, "demo", RTN) == "Head 9.1 no longer writes what it wrote."
    bad = Check("reads the text", False, "it cannot.", bears_on=TEXT, model="demo")
    doubtful = replace(whole, manifest={**whole.manifest, "checks": [vars(bad)]})
    assert brief(doubtful, "demo", RTN) == ""
