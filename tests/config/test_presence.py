"""Whether everything that a study names is there."""

from pathlib import Path

import pytest

from bitlens.config.presence import present_audit_of, refuse_absent
from bitlens.config.study import audit_of
from bitlens.errors import BitlensError

MISSPELT = "checkpoint:./no-such-folder"


def test_what_is_there_passes() -> None:
    """The embedded model, its texts and a compression that names no file."""
    assert present_audit_of("demo", "rtn:bits=4") == audit_of("demo", "rtn:bits=4")
    refuse_absent(audit_of("demo", "rtn:bits=4"))


@pytest.mark.parametrize(
    ("model", "to", "settings", "told"),
    [
        ("./no-such-model", "rtn:bits=4", {}, "no-such-model"),
        ("demo", "rtn:bits=4", {"text": "no-such-text.txt"}, "no-such-text.txt"),
        ("demo", "rtn:bits=4", {"saes": ("./no-such-sae",)}, "--sae: there is no folder"),
        ("demo", MISSPELT, {}, "no folder and no file ./no-such-folder"),
        # What is wrong elsewhere is said before a compression is read.
        ("demo", "rtm:bits=4", {"text": "no-such-text.txt"}, "no-such-text.txt"),
    ],
)
def test_what_is_not_there_is_named(
    model: str,
    to: str,
    settings: dict[str, object],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model, a text, an SAE, a checkpoint."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BitlensError, match=told):
        present_audit_of(model, to, "--sae", **settings)
