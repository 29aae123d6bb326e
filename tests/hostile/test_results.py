"""Folders of results that were not left as they were written."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitlens.report.build import build
from tests.support.hostile import Case, Command, Place, Refused, case, rewrite


def results(name: str, said: str, change: Callable[[Path], object]) -> Case:
    return case(name, said, lambda place: place.of_results(change))


def manifest(name: str, said: str, **changed: Any) -> Case:
    return results(name, said, lambda out: rewrite(out / "manifest.json", changed))


def put(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda out: (out / path).write_bytes(content)


def deep(*keys: str | int, value: object = None) -> Callable[[Path], None]:
    """Another value far inside of the manifest; None takes it away."""
    import json

    def change(out: Path) -> None:
        whole = json.loads((out / "manifest.json").read_text())
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        if value is None:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = value
        (out / "manifest.json").write_text(json.dumps(whole))

    return change


def cell(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda out: change(sorted((out / "cells").iterdir())[0])


def other_table(out: Path) -> None:
    pq.write_table(pa.table({"value": ["many"]}), out / "estimates.parquet")


def without_column(out: Path) -> None:
    path = out / "estimates.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["value"]), path)


def piped(out: Path) -> None:
    (out / "run.json").unlink()
    os.mkfifo(out / "run.json")


def asks_for_code(place: Place) -> Command:
    copy = place.copy(place.results, "out")
    deep("settings", "models", 0, "trust_remote_code", value=True)(copy)
    words = ["--twin", "rtn:bits=4", "--sae", str(place.sae), "--calibration", str(place.texts)]
    return ["repair", str(copy), *words, "--out", str(place.root / "repaired")]


def to_the_precious(place: Place, name: str) -> Path:
    """Results with a link of this name to a file outside, which must not be written to."""
    copy = place.copy(place.results, "out")
    path = copy / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(place.file("precious", "mine"))
    return copy


def linked(name: str) -> Case:
    return case(
        f"a link for {name}", name, lambda place: ["report", str(to_the_precious(place, name))]
    )


def compared(place: Place, change: Callable[[Path], object], by: str = "behaviour.kl") -> Command:
    """A comparison of sound results with a copy that was changed."""
    copy = place.copy(place.results)
    change(copy)
    return ["compare", str(place.results), str(copy), "--by", by, "--out", str(place.out)]


def of_comparison(name: str, said: str, change: Callable[[Path], object], **by: str) -> Case:
    return case(f"compared with {name}", said, lambda place: compared(place, change, **by))


CASES = [
    of_comparison("no manifest", "manifest.json", lambda out: (out / "manifest.json").unlink()),
    of_comparison("no folder", "No copy here", shutil.rmtree),
    of_comparison(
        "values cut short",
        r"values\.parquet",
        cell(lambda c: os.truncate(c / "values.parquet", 60)),
    ),
    of_comparison("a number that is none", "No twin has", lambda out: None, by="behaviour.kll"),
    case(
        "results compared into themselves",
        "holds cells",
        lambda place: ["compare", (copy := str(place.copy(place.results, "out"))), "--out", copy],
    ),
    results("no manifest", "manifest.json", lambda out: (out / "manifest.json").unlink()),
    results("a manifest that is empty", "manifest.json", put("manifest.json", b"")),
    results("a manifest that is a list", "manifest.json", put("manifest.json", b"[]")),
    results("a manifest that is nothing", "manifest.json", put("manifest.json", b"{}")),
    results("a manifest 100,000 deep", "manifest.json", put("manifest.json", b"[" * 100_000)),
    results("a manifest of other bytes", "manifest.json", put("manifest.json", b"\xff\xfe{}")),
    results("a manifest with NaN", "manifest.json", put("manifest.json", b'{"schema": NaN}')),
    results(
        "a manifest of a schema and no more",
        "manifest.json",
        put("manifest.json", b'{"schema": 1}'),
    ),
    manifest("another schema", "schema", schema=99),
    manifest("a schema that is a word", "schema", schema="one"),
    manifest("no models", "models", models=None),
    manifest("models that are a word", "models", models="many"),
    manifest("no twins", "twins", twins=None),
    manifest("twins that are numbers", "twins", twins=[1, 2]),
    manifest("no cells", "cells", cells=None),
    manifest("cells that are a mapping", "cells", cells={}),
    manifest("no metrics", "metrics", metrics=None),
    manifest("metrics that are a list", "metrics", metrics=[]),
    manifest("no corpora", "corpora", corpora=None),
    manifest("no checks", "checks", checks=None),
    manifest("no settings", "settings", settings=None),
    manifest("a command that is a number", "command", command=5),
    results("a model without a name", "name", deep("models", 0, "name")),
    results("a twin without a compression", "compression", deep("twins", 0, "compression")),
    results("a twin of bits that are a word", "bits", deep("twins", 0, "bits", value="few")),
    results("a cell without an id", "id", deep("cells", 0, "id")),
    results(
        "a cell that leaves its folder", r"cells\[0\]\.id", deep("cells", 0, "id", value="../../x")
    ),
    results("a cell of another status", "status", deep("cells", 0, "status", value="perhaps")),
    results(
        "a cell of an unknown analysis", "analysis", deep("cells", 0, "analysis", value="silly")
    ),
    results("run.json that is empty", "run.json", put("run.json", b"{}")),
    results("run.json that is a list", "run.json", put("run.json", b"[]")),
    results("run.json behind a pipe", "run.json", piped),
    results("no estimates", "estimates", lambda out: (out / "estimates.parquet").unlink()),
    results("estimates that are text", "estimates", put("estimates.parquet", b"no table")),
    results("estimates that are empty", "estimates", put("estimates.parquet", b"")),
    results("estimates of other columns", "estimates", other_table),
    results("estimates without values", "estimates", without_column),
    results(
        "coverage cut short", "coverage", lambda out: os.truncate(out / "coverage.parquet", 100)
    ),
    results("no contrasts", "contrasts", lambda out: (out / "contrasts.parquet").unlink()),
    results("a cell that is gone", r"cell\.json", cell(shutil.rmtree)),
    results("a cell without its file", r"cell\.json", cell(lambda c: (c / "cell.json").unlink())),
    results("a cell of nothing", r"cell\.json", cell(lambda c: (c / "cell.json").write_text("{}"))),
    results(
        "a cell without values", r"values\.parquet", cell(lambda c: (c / "values.parquet").unlink())
    ),
    results(
        "values cut short",
        r"values\.parquet",
        cell(lambda c: os.truncate(c / "values.parquet", 60)),
    ),
    linked("charts"),
    linked("estimates.parquet"),
    linked("manifest.json"),
    case("results that ask for a model's code", "asks to run code", asks_for_code),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_are_refused(refused: Refused, case: Case) -> None:
    """With the file and the field; nothing outside is read or written."""
    refused(case)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report.html", "summary.md", ".report.html.writing"])
def test_links_are_replaced_and_not_followed(place: Place, no_pictures: None, name: str) -> None:
    """What a report writes takes the place of a link; what it led to stays as it was."""
    copy = to_the_precious(place, name)
    build(copy)
    assert (place.root / "precious").read_text() == "mine"
    assert "<html" in (copy / "report.html").read_text()
    assert not (copy / "report.html").is_symlink()
    assert not (copy / "summary.md").is_symlink()
