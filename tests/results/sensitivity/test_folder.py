"""The folder of a sensitivity run: what is written is read, and what is damaged is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.results.sensitivity.folder import NAME, finished, read_run, write_run
from bitlens.results.sensitivity.records import ProxyScore
from tests.support.sensitivities import effect, sensitivity


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Every record comes back, and the run counts as complete."""
    run = sensitivity(tmp_path)
    assert not finished(tmp_path)
    write_run(run)
    found = read_run(tmp_path)
    for name in ("units", "sizes", "effects", "proxies"):
        assert getattr(found, name) == getattr(run, name)
    assert {name: found.about[name] for name in run.about} == run.about


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """It is told how one is made."""
    with pytest.raises(BitlensError, match="no complete sensitivity run"):
        read_run(tmp_path)


def test_a_way_that_is_none_is_refused(tmp_path: Path) -> None:
    """A table is data that somebody sends: its words are those that are known."""
    write_run(sensitivity(tmp_path, effects=[replace(effect("block 0", 1.0), way="sideways")]))
    with pytest.raises(BitlensError, match="way"):
        read_run(tmp_path)


def test_a_key_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """So is what else may stand in the file."""
    write_run(sensitivity(tmp_path))
    content = json.loads((tmp_path / NAME).read_text())
    (tmp_path / NAME).write_text(json.dumps(content | {"more": 1}))
    with pytest.raises(BitlensError, match="more"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"effects": []}, "has no effects"),
        ({"effects": [effect("block 0", 1.0)]}, "no whole"),
        ({"effects": [effect("elsewhere", 1.0)]}, "no unit"),
        ({"effects": [effect("", 1.0, "whole", "rtn:bits=9")]}, "not asked for"),
        ({"units": []}, "asked for nothing"),
        ({"units": [replace(sensitivity().units[0], parameters=0)]}, "no parameters"),
        ({"proxies": [ProxyScore(proxy="sqnr", compression="c", unit="u", value=1e9)]}, "bounds"),
        (
            {
                "effects": [
                    *sensitivity().effects,
                    replace(effect("block 0", 1.0), replicates=(1.0,)),
                ]
            },
            "different numbers of replicates",
        ),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    """Somebody else's folder ends in a sentence, not in a traceback."""
    write_run(sensitivity(tmp_path, **changed))
    with pytest.raises(BitlensError, match=told):
        read_run(tmp_path)
