"""The store: whole files or none, same bytes twice, names that stay names, honest errors."""

import errno
import json
import math
import os
from dataclasses import make_dataclass, replace
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.results.files.names import inside, sanitise
from bitlens.results.records import SCHEMA, to_json
from bitlens.results.store import Store
from bitlens.results.table_schema import COVERAGE, ESTIMATES
from tests.support import results
from tests.support.stores import CELL, MANIFEST, ROW, VALUES, fill


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "out")


def files(store):
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in sorted(store.root.rglob("*"))
        if path.is_file()
    }


def test_what_is_written_is_read(store):
    """Cells, tables, JSON and manifest come back equal, to the last bit."""
    fill(store)
    again = Store.open(store.root)
    assert again.has(CELL)
    assert not again.has(replace(CELL, seed=1))
    assert again.read_cell(CELL.id) == (CELL, VALUES)
    assert again.complete() == [CELL.id]
    assert again.read_table("estimates").to_pylist() == [ROW]
    assert again.run() == results.RUN
    assert again.manifest() == json.loads(to_json({**MANIFEST, "schema": SCHEMA}))


def test_no_rows_are_rows_too(store):
    """A cell without values and a table without rows keep their columns."""
    store.write_cell(CELL, [])
    store.write_table("coverage", [])
    assert store.read_cell(CELL.id) == (CELL, [])
    assert store.read_table("coverage").schema.equals(COVERAGE)


def test_the_same_content_is_the_same_bytes(tmp_path):
    """Two stores with the same content are equal file by file, and stay so when rewritten."""
    one, two = (Store.create(tmp_path / name) for name in "ab")
    fill(one)
    fill(two)
    first = files(one)
    assert first == files(two)
    assert len(first) == 9
    fill(one)
    assert files(one) == first


def test_a_cell_is_complete_with_its_last_file(store, monkeypatch):
    """Killed between values and cell.json, the cell is not there; written again, it is."""
    real = os.replace

    def killed(source, target):
        if str(target).endswith("cell.json"):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write_cell(CELL, VALUES)
    assert not store.has(CELL)
    assert store.complete() == []
    monkeypatch.undo()
    store.write_cell(CELL, VALUES)
    assert store.read_cell(CELL.id) == (CELL, VALUES)
    assert not [name for name in files(store) if name.endswith(".writing")]


@pytest.mark.parametrize(
    ("where", "step", "number"),
    [
        (os, "replace", errno.ENOSPC),
        (os, "fsync", errno.EIO),
        (os, "open", errno.EACCES),
        (Path, "mkdir", errno.EROFS),
    ],
)
def test_a_failed_write_leaves_the_old_file(store, monkeypatch, where, step, number):
    """A full or read-only disk names the file, keeps what was there, leaves nothing half-written.

    Simulated, because root may write anywhere."""
    store.write_run(results.RUN)
    before = files(store)

    def broken(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(where, step, broken)
    with pytest.raises(BitlensError) as found:
        store.write_run(results.RUN | {"seconds": 2.0})
    monkeypatch.undo()
    assert f"run.json cannot be written: {os.strerror(number)}" in found.value.found
    assert files(store) == before


def test_a_table_withdraws_the_manifest(store, monkeypatch):
    """A manifest never stands beside tables it was not written after."""
    fill(store)
    store.write_table("estimates", [])
    with pytest.raises(BitlensError, match="unfinished run: 1 cell complete"):
        Store.open(store.root)
    fill(store)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BitlensError, match="cannot be written"):
        store.write_table("estimates", [])
    assert Store.open(store.root).manifest()["command"] == MANIFEST["command"]


def test_a_file_where_the_folder_should_be(tmp_path):
    """--out naming a file is said, not overwritten."""
    (tmp_path / "out").write_text("precious")
    with pytest.raises(BitlensError, match="out is a file"):
        Store.create(tmp_path / "out")
    with pytest.raises(BitlensError, match="is not a folder"):
        Store.open(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_other_peoples_folders_are_refused(tmp_path):
    """A folder that holds other files is not filled with results."""
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(BitlensError, match=r"already holds other files \(thesis.tex"):
        Store.create(tmp_path)
    with pytest.raises(BitlensError, match="holds no results of bitlens"):
        Store.open(tmp_path)
    with pytest.raises(BitlensError, match=r"No .*nowhere here"):
        Store.open(tmp_path / "nowhere")


def test_a_store_can_be_gone_on_with(store):
    """Creating on top of an unfinished or a finished store keeps its cells."""
    assert not Store.create(store.root).has(CELL)
    store.write_cell(CELL, VALUES)
    assert Store.create(store.root).has(CELL)
    fill(store)
    assert Store.create(store.root).has(CELL)


def test_an_unfinished_run_says_what_to_type(store):
    """Without a manifest: how many cells are complete, and that the same command goes on."""
    store.write_cell(CELL, VALUES)
    store.write_cell(replace(CELL, seed=1), VALUES)
    with pytest.raises(BitlensError) as found:
        Store.open(store.root)
    assert "2 cells complete" in found.value.found
    assert f"again with --out {store.root}" in found.value.remedy


@pytest.mark.parametrize("schema", [SCHEMA + 1, SCHEMA - 1])
def test_other_schemas_are_refused(store, schema):
    """A store of another version is neither read nor written into."""
    fill(store)
    for name in ("manifest.json", f"cells/{CELL.id}/cell.json"):
        path = store.root / name
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"schema": schema}))
    for attempt in (Store.open, Store.create, lambda root: store.read_cell(CELL.id)):
        with pytest.raises(BitlensError, match="has schema"):
            attempt(store.root)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"{", b"\xff\xfe\x00", b'{"schema": NaN}', b"[" * 100_000, b"null", b'{"schema": 1'],
    ids=["empty", "cut", "bytes", "nan", "deep", "null", "truncated"],
)
def test_damaged_json_is_an_error_a_user_can_act_on(store, garbage):
    """Whatever stands in the JSON files, the message names the file and what to do."""
    fill(store)
    for name in ("manifest.json", f"cells/{CELL.id}/cell.json"):
        (store.root / name).write_bytes(garbage)
    for attempt in (lambda: Store.open(store.root), lambda: store.read_cell(CELL.id)):
        with pytest.raises(BitlensError, match=r"(manifest|cell)\.json") as found:
            attempt()
        assert found.value.remedy


def test_a_cell_must_be_what_its_name_says(store):
    """A cell whose settings were changed, or with unknown fields, is not believed."""
    store.write_cell(CELL, VALUES)
    path = store.root / "cells" / CELL.id / "cell.json"
    content = json.loads(path.read_text())
    for changed in (content | {"seed": 7}, content | {"colour": "red"}):
        path.write_text(json.dumps(changed))
        with pytest.raises(BitlensError, match=r"cell\.json cannot be read"):
            store.read_cell(CELL.id)


def test_damaged_tables_are_noticed(store):
    """Truncated, flipped, replaced or missing Parquet is an error that names the file."""
    fill(store)
    path = store.root / "cells" / CELL.id / "values.parquet"
    good = path.read_bytes()
    middle = good.index(b"logits")
    flipped = good[:middle] + b"LOGITS" + good[middle + 6 :]
    table = (store.root / "estimates.parquet").read_bytes()
    for bad in (b"", good[:-9], good[: len(good) // 2], b"PAR1" * 9, flipped, table):
        path.write_bytes(bad)
        with pytest.raises(BitlensError, match=r"values\.parquet cannot be read") as found:
            store.read_cell(CELL.id)
        assert f"delete {path} and run" in found.value.remedy
    path.unlink()
    with pytest.raises(BitlensError, match="it is missing"):
        store.read_cell(CELL.id)
    (store.root / "contrasts.parquet").unlink()
    with pytest.raises(BitlensError, match=r"contrasts\.parquet cannot be read: it is missing"):
        store.read_table("contrasts")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_a_number_is_never_written(store, bad):
    """NaN and infinities are refused wherever they stand; nothing is left of the cell."""
    for value in (
        replace(VALUES[0], value=bad),
        replace(VALUES[0], replicates=(0.1, bad)),
        replace(VALUES[0], chance=bad),
    ):
        with pytest.raises(ValueError, match="not finite"):
            store.write_cell(CELL, [value])
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write_run(results.RUN | {"seconds": bad})
    with pytest.raises(ValueError, match="not finite"):
        store.write_table("estimates", [ROW | {"value": bad}])
    assert not store.has(CELL)
    assert list(files(store)) == ["store.json"]


def test_columns_must_be_the_schemas(store):
    """A forgotten or invented column is refused, not written as null."""
    for row in ({"model": "m"}, ROW | {"colour": "red"}):
        with pytest.raises(ValueError, match="columns"):
            store.write_table("estimates", [row])


def test_partial_folder(store):
    """Accumulators have a folder of their own that can be cleared, twice; the rest stays."""
    (store.partial / ("a" * 16)).mkdir()
    store.clear_partial()
    store.clear_partial()
    assert not (store.root / "partial").exists()
    (store.partial / ("a" * 16)).mkdir()
    (store.partial / "thesis.txt").write_text("years of work")
    store.clear_partial()
    assert [path.name for path in store.partial.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("names", [["cells"], ["cells", "partial", "report.html"], ["charts"]])
def test_names_do_not_make_a_store(tmp_path, names):
    """A folder of somebody's own with `cells/` or a report in it is not taken for ours."""
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(BitlensError, match="already holds other files"):
        Store.create(tmp_path)


@pytest.mark.parametrize("schema", [None, 0, SCHEMA + 1, "x"])
def test_a_folder_of_another_version_is_not_gone_on_with(store, schema):
    """Unfinished or not, and one from before folders said what they are."""
    (store.root / "store.json").write_text(json.dumps({"schema": schema}))
    with pytest.raises(BitlensError, match=r"store\.json"):
        Store.create(store.root)
    (store.root / "store.json").rename(store.root / "manifest.json")
    found = f"has schema {schema}" if type(schema) is int else "already holds other files"
    with pytest.raises(BitlensError, match=found):
        Store.create(store.root)


@pytest.mark.parametrize(
    "name", ["../../x", "..", "", "0" * 15, "0" * 17, "A" * 16, "0" * 16 + "\n"]
)
def test_cells_have_no_other_names(store, name):
    """Only sixteen hexadecimal digits name a cell, so no name leads out of the store."""
    with pytest.raises(BitlensError, match="not the name of a cell"):
        store.read_cell(name)


NAMES = [
    "../../x", "..", ".", "", "/", "/etc/passwd", "C:\\x", "CON", "con.txt", "Lpt1", "aux.tar.gz",
    "a/b", "a b", "naïve", "模型", "x\0y", "x\ny", "-rf", ".hidden", "x.", "\u202eexe", "a" * 300,
    "~", "$HOME", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_sanitised_names_are_harmless(tmp_path, name):
    """Any text becomes one plain file name inside the folder, with a hash of the original."""
    safe = sanitise(name)
    assert safe != name
    assert 0 < len(safe) < 120
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert safe[0] not in ".-"
    assert safe[-1] != "."
    assert safe.split(".")[0].upper() not in {"CON", "LPT1", "AUX"}
    assert inside(tmp_path, name).parent == tmp_path
    inside(tmp_path, name).write_text("fits")


def test_sanitised_names_stay_different():
    """Names that would look the same do not collide; fine names stay as they are."""
    assert len({sanitise(name) for name in NAMES}) == len(NAMES)
    for name in ("gpt2", "Llama-3.1_8B", "a.b-c", "console", "x..y"):
        assert sanitise(name) == name
    assert sanitise("a/b") != sanitise("a_b")


def test_a_link_out_of_the_store_is_not_followed(store, tmp_path):
    """A link planted in the folder does not make the store write elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (store.root / "run.json").symlink_to(tmp_path / "elsewhere" / "run.json")
    with pytest.raises(BitlensError, match="leads out of"):
        store.write_run(results.RUN)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["cells", "partial"])
def test_a_folder_that_is_a_link_out_is_not_followed(store, tmp_path, name):
    """Neither cells nor accumulators are written elsewhere, or deleted there."""
    elsewhere = tmp_path / "elsewhere" / ("a" * 16)
    elsewhere.mkdir(parents=True)
    (store.root / "cells").rmdir()
    (store.root / name).symlink_to(elsewhere.parent)
    attempts = {
        "cells": [lambda: store.write_cell(CELL, VALUES), lambda: Store.create(store.root)],
        "partial": [lambda: store.partial, store.clear_partial],
    }
    for attempt in attempts[name]:
        with pytest.raises(BitlensError, match="leads out of"):
            attempt()
    assert list(elsewhere.parent.iterdir()) == [elsewhere]


def test_rows_of_dataclasses(store):
    """Tables take dataclasses as well as dictionaries."""
    row_of = make_dataclass("Row", ESTIMATES.names)
    store.write_table("estimates", [row_of(**ROW), ROW])
    assert store.read_table("estimates").to_pylist() == [ROW, ROW]
