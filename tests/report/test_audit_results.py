"""The store is read as it is, with hostile characters made visible."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.report.audit_results import AuditResults
from tests.support.analysis_tables import HOSTILE
from tests.support.audit_stores import CAST


def test_twins_controls_and_failures_are_told_apart(results: AuditResults) -> None:
    """Asked for, measured, control, failed: each is found in its own place."""
    assert results.models == ["demo"]
    asked = [twin.compression for twin in results.twins("demo")]
    measured = [twin.compression for twin in results.measured("demo")]
    assert asked == [*measured, "rtn:bits=3,group=48"]
    assert len(measured) == 3
    assert results.noise("demo", "rtn:bits=8") == "noise:like=[rtn:bits=8]"
    assert results.noise("demo", "rtn:bits=3,group=48") is None
    assert results.cast("demo") == CAST
    assert len(results.failures()) == 2


def test_depth_goes_block_by_block(results: AuditResults) -> None:
    """The sites of one kind come in the order of their blocks."""
    curve = results.depth("demo", "rtn:bits=8", "geometry.cosine", kind="mlp", item="local")
    assert [block for block, _ in curve] == [0, 1, 2, 3]
    assert {row["site"] for _, row in curve} == {f"mlp.{block}" for block in range(4)}


def test_the_first_seed_speaks_and_the_others_are_kept(results: AuditResults) -> None:
    """Rows of several seeds are all found, and the smallest seed is the one that is shown."""
    rows = [r for r in results.estimates if r["metric"] == "kl" and r["bits"] == 4.25]
    more = [{**rows[0], "seed": 2, "value": 9.0}, {**rows[0], "seed": 1, "value": 7.0}]
    several = replace(results, estimates=[*more, *rows])
    found = several.seeds("demo", "rtn:bits=4,group=64", "behaviour.kl")
    assert [row["seed"] for row in found] == [0, 1, 2]
    assert several.find("demo", "rtn:bits=4,group=64", "behaviour.kl") == found[0]


def test_a_value_that_is_missing_is_not_found(results: AuditResults) -> None:
    """A reason is not a number: sections treat it as absent, the long table shows it."""
    rows = [{**row, "value": None, "reason": "overflow"} for row in results.estimates]
    assert replace(results, estimates=rows).find("demo", "rtn:bits=8", "behaviour.kl") is None


def test_tables_of_cells_are_read_with_their_texts_made_visible(deep: AuditResults) -> None:
    """Rows as they were written; what hides in tokens, also in lists of them, is written out."""
    shown = deep.table("demo", "rtn:bits=8", "features", "contexts")
    assert shown[0]["tokens"][-2] == "⟨U+202E⟩"
    assert HOSTILE in shown[0]["tokens"]
    assert isinstance(shown[0]["reference"][0], float)
    assert len(deep.table("demo", "rtn:bits=8", "heads", "heads")) == 3 * 16


def test_tables_are_those_of_the_first_seed_that_came_through(deep: AuditResults) -> None:
    """A later seed or a failed cell is not read; without a cell or a table there are no rows."""
    place = ("demo", "rtn:bits=8", "heads", "heads")
    cells = [cell for cell in deep.manifest["cells"] if cell["analysis"] == "heads"]
    mine, other = (next(c for c in cells if c["compression"] == n) for n in (place[1], CAST))
    later = {**mine, "id": other["id"], "seed": 1}
    failed = {**mine, "id": other["id"], "seed": -1, "status": "failed"}
    several = replace(deep, manifest={**deep.manifest, "cells": [later, failed, mine]})
    assert several.table(*place) == deep.table(*place)
    only = replace(deep, manifest={**deep.manifest, "cells": [later]})
    assert only.table(*place) == deep.table("demo", CAST, "heads", "heads") != deep.table(*place)
    assert deep.table("demo", "rtn:bits=8", "heads", "none") == []
    assert deep.table("demo", "rtn:bits=3,group=48", "heads", "heads") == []


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    """The error says what is missing and what would make it."""
    with pytest.raises(BitlensError, match=r"manifest\.json") as caught:
        AuditResults.read(tmp_path)
    assert "bitlens audit" in caught.value.remedy


def test_names_never_lead_out_of_the_folder(study: AuditResults) -> None:
    """File names of models keep letters and digits; a number makes them unique."""
    assert study.prefix("demo") == "1-demo-"
    assert study.prefix(study.models[1]) == "2-script-img-src-x-onerror-alert-1-"
    twice = replace(
        study, manifest={**study.manifest, "models": [{"name": "../.."}, {"name": ".."}]}
    )
    assert [twice.prefix(name) for name in twice.models] == ["1--", "2--"]


@pytest.mark.slow
def test_the_report_never_loads_torch_or_the_analyses() -> None:
    """It is a function of the store: a machine without torch can write it."""
    code = (
        "import sys, bitlens.report.build\n"
        "loaded = {n.split('.')[0] for n in sys.modules} | set(sys.modules)\n"
        "print(loaded & {'torch', 'transformers', 'bitlens.analyses', 'bitlens.models', "
        "'bitlens.compression', 'pandas'})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
