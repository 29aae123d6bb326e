"""What a worker refuses before it loads anything, and in which words."""

from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.errors import InputError, ModelError
from bitlens.models.source import ModelSource
from bitlens.workflows.apart.job import ModelAsked, Summed, SweepJob, summed


def job(source: str, **changed: object) -> SweepJob:
    model = ModelAsked(
        source=ModelSource(source),
        folder=True,
        fingerprint="another",
        attention="sdpa",
        paired=False,
        memory=1 << 30,
    )
    return replace(
        SweepJob(name="1", model=model, packed=b"", hidden_bytes=0, threads=1), **changed
    )


def refused(found: Summed) -> tuple[type, str, str]:
    assert found.refusal is not None
    assert not found.files
    what, _, remedy = found.refusal.parts
    assert isinstance(found.refusal.error, found.refusal.kind)
    return found.refusal.kind, what, remedy


def test_another_version_is_refused() -> None:
    """Digits would depend on who summed up what."""
    asked = job("nowhere", made_with={"bitlens": "0.0.1"})
    kind, found, remedy = refused(summed(asked, []))
    assert kind is InputError
    assert "runs bitlens " in found
    assert found.endswith("and this command 0.0.1.")
    assert remedy.startswith("pip install bitlens==0.0.1")


def test_a_folder_that_the_worker_cannot_see_is_told(tmp_path: Path) -> None:
    """It was one where the job was made."""
    kind, found, remedy = refused(summed(job(str(tmp_path / "gone")), []))
    assert kind is InputError
    assert found.startswith(f"{tmp_path / 'gone'} is no folder on ")
    assert "a disk that all of them share" in remedy


def test_other_weights_under_the_same_name_are_refused(gpt2: Path) -> None:
    """By their fingerprint."""
    kind, found, _ = refused(summed(job(str(gpt2)), []))
    assert kind is ModelError
    assert found.startswith(f"The weights of {gpt2} on ")


@pytest.mark.parametrize("name", ["bitlens", "torch", "transformers"])
def test_what_decides_about_digits_is_compared(name: str) -> None:
    """bitlens itself and what it computes with."""
    assert name in job("nowhere").made_with
