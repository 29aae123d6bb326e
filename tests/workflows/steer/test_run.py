"""A whole steering run of a tiny model: what it writes, and that its page is made of it."""

import json
from pathlib import Path

import pytest

from bitlens.config.study import audit_of
from bitlens.errors import BitlensError
from bitlens.report.steering.page import build
from bitlens.results.steering.file import read_steering
from bitlens.results.steering.response import MULTIPLIERS
from bitlens.workflows.steer.run import SteerRequest, steer


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    """Texts of two classes that have words of their own."""
    rows = [
        {"text": f"{('tea', 'rust')[n % 2]} is what we said {n} times", "label": ("a", "b")[n % 2]}
        for n in range(60)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_a_run_is_written_and_shown(
    llama: Path, short_texts: Path, labelled: str, tmp_path: Path
) -> None:
    """Every number of every model, what noise of the twin's size does to it, and a page."""
    study = audit_of(
        str(llama), "rtn:bits=4", text=str(short_texts), tokens=900, controls=("noise",),
        analyses=("probes",), labelled=(labelled,),
    )  # fmt: skip
    steer(
        study,
        SteerRequest(site="resid.1", vector="", answers=()),
        tmp_path / "one",
        "bitlens steer",
        print,
    )
    run = read_steering(tmp_path / "one")
    models = {"reference", "rtn:bits=4", "noise:like=[rtn:bits=4]"}
    curves = {
        (row["model"], row["direction"], row["multiplier"])
        for row in run["rows"]
        if row["metric"] == "effect"
    }
    directions = ("vector", *(f"random {n}" for n in range(1, 6)))
    assert curves == {(m, d, x) for m in models for d in directions for x in MULTIPLIERS}
    slopes = {row["direction"]: row for row in run["rows"]
              if (row["model"], row["metric"]) == ("reference", "slope")}  # fmt: skip
    drawn = [slopes[direction]["value"] for direction in directions[1:]]
    assert slopes["random"]["value"] == pytest.approx(sum(drawn) / 5)
    assert slopes["random"]["low"] < min(drawn)
    assert slopes["random"]["high"] > max(drawn)
    ratio, noise, less = (
        next(r["value"] for r in run["rows"] if (r["model"], r["direction"], r["metric"])
             == ("rtn:bits=4", "vector", f"slope_ratio_{name}"))
        for name in ("together", "of_noise", "less_noise")
    )  # fmt: skip
    assert less == pytest.approx(ratio - noise)
    assert run["prompts"] == 24
    assert "Dose and response" in build(tmp_path / "one").read_text(encoding="utf-8")


def test_a_vector_that_will_not_do_is_refused_before_anything_is_compressed(
    llama: Path, short_texts: Path, labelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compression may take minutes."""
    from bitlens.workflows.session import Session

    def built(*args: object, **known: object) -> None:
        pytest.fail("was compressed")

    monkeypatch.setattr(Session, "twin_builder", built)
    (tmp_path / "v.safetensors").write_bytes(b"no vectors")
    study = audit_of(
        str(llama), "rtn:bits=4", text=str(short_texts), analyses=("probes",), labelled=(labelled,)
    )
    given = SteerRequest(site="", vector=str(tmp_path / "v.safetensors"), answers=())
    with pytest.raises(BitlensError, match="cannot be read"):
        steer(study, given, tmp_path / "out", "bitlens steer", print)
    assert not (tmp_path / "out").exists()
