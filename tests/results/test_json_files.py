"""A store is data that somebody sends: whatever is left out of it or is something else is named."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitlens.config.study import Study
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.results.manifest_schema import LATER, Asked, AskedModel
from bitlens.results.parquet import read_table
from bitlens.results.records import SCHEMA
from bitlens.results.store import Store
from bitlens.results.table_schema import SHOWN, TABLES, VALUES
from tests.support import results, stores

CELL = f"cells/{stores.CELL.id}"
JSON = {
    "store.json": {"schema": SCHEMA},
    "manifest.json": {**stores.MANIFEST, "schema": SCHEMA},
    "run.json": results.RUN,
    f"{CELL}/cell.json": {
        "schema": SCHEMA,
        **{f.name: getattr(stores.CELL, f.name) for f in fields(stores.CELL)},
        "tables": list(stores.TABLES),
    },
}
PARQUET = {f"{name}.parquet": schema for name, schema in TABLES.items()} | {
    f"{CELL}/values.parquet": VALUES,
    f"{CELL}/heads.parquet": SHOWN["heads"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something in every place."""
    store = Store.create(tmp_path_factory.mktemp("store") / "out")
    stores.fill(store)
    return store.root


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


def keys(content: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every key, of lists those of the first item."""
    if isinstance(content, dict):
        for name, value in content.items():
            # What a plug-in's cell depends on, and which libraries ran, is told as it is.
            if at[-1:] not in (("versions",), ("settings",)) or at == ("settings",):
                yield (*at, name)
                yield from keys(value, (*at, name))
    elif isinstance(content, list) and content:
        yield from keys(content[0], (*at, 0))


PLACES = [
    (name, place)
    for name, content in JSON.items()
    for place in keys(content)
    if not (name.endswith("cell.json") and len(place) > 1)
]


def changed(path: Path, place: tuple[str | int, ...], *value: Any) -> None:
    """The file without a key, or with another value in its place."""
    content = json.loads(path.read_text())
    *way, last = place
    inner = content
    for step in way:
        inner = inner[step]
    if value:
        inner[last] = value[0]
    else:
        del inner[last]
    path.write_text(json.dumps(content))


def opened(root: Path, name: str) -> None:
    Store.create(root) if name == "store.json" else Store.open(root)


def test_the_whole_store_is_read(whole: Path) -> None:
    """What is left out of it below is all that is wrong with it; there are hundreds of ways."""
    assert Store.open(whole).complete() == [stores.CELL.id]
    assert {str(p.relative_to(whole)) for p in whole.rglob("*.*")} == {*JSON, *PARQUET}
    assert len(PLACES) >= 120


LATE = [place for name, place in PLACES if name == "manifest.json" and place[-1] in LATER]


@pytest.mark.parametrize("place", LATE, ids=str)
def test_a_store_of_before_a_setting_is_read(store: Path, place: tuple[str | int, ...]) -> None:
    """As if it had been left at its default."""
    changed(store / "manifest.json", place)
    found: Any = Store.open(store).manifest()
    for step in place:
        found = found[step]
    assert not found or found in ("last", "auto")


def test_every_key_that_came_later_is_in_a_store() -> None:
    """What no store has any more is taken from the list."""
    assert {place[-1] for place in LATE} == LATER


@pytest.mark.parametrize(("name", "place"), [at for at in PLACES if at[1] not in LATE], ids=str)
def test_every_key_is_missed(store: Path, name: str, place: tuple[str | int, ...]) -> None:
    """And the file and the key are named. Without its schema a manifest is broken, not of another
    version."""
    changed(store / name, place)
    with pytest.raises(BitlensError) as caught:
        opened(store, name)
    assert name in caught.value.found
    assert str(place[-1]) in caught.value.found
    assert "has schema" not in caught.value.found


@pytest.mark.parametrize(("name", "place"), PLACES, ids=str)
def test_every_value_is_of_its_kind(store: Path, name: str, place: tuple[str | int, ...]) -> None:
    """A mapping with a list in it is nowhere right."""
    changed(store / name, place, {"x": [1]})
    with pytest.raises(BitlensError) as caught:
        opened(store, name)
    assert name in caught.value.found
    assert str(place[-1]) in caught.value.found


@pytest.mark.parametrize("name", JSON)
def test_what_nobody_knows_is_no_key(store: Path, name: str) -> None:
    """At the top of a file, and further down."""
    changed(store / name, ("colour",), "red")
    with pytest.raises(BitlensError, match="colour is not known to this version"):
        opened(store, name)


@pytest.mark.parametrize("name", [*JSON, *PARQUET])
@pytest.mark.parametrize("how", ["gone", "empty", "folder", "pipe", "link to nothing"])
def test_every_file_is_missed(store: Path, name: str, how: str) -> None:
    """Gone, empty, or something that would be waited for."""
    path = store / name
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link to nothing":
        path.symlink_to(store / "nothing")
    with pytest.raises(BitlensError):
        opened(store, name)


COLUMNS = [(name, column) for name, schema in PARQUET.items() for column in schema.names]


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_every_column_is_missed(store: Path, name: str, column: str) -> None:
    """Left out, of another type, and nothing where something must be: the column is named."""
    table, path = pq.read_table(store / name), store / name
    number = table.column_names.index(column)
    other = pa.nulls(len(table), pa.binary())
    ways = {
        "is missing": table.drop_columns([column]),
        "is binary": table.set_column(number, pa.field(column, pa.binary()), other),
    }
    if not table.schema.field(column).nullable:
        kind = table.schema.field(column).type
        empty = pa.nulls(len(table), kind)
        ways["or nothing"] = table.set_column(number, pa.field(column, kind), empty)
    for found, way in ways.items():
        pq.write_table(way, path)
        with pytest.raises(BitlensError, match=f"{column} .*{found}"):
            Store.open(store)


@pytest.mark.parametrize("name", PARQUET)
def test_what_nobody_knows_is_no_column(store: Path, name: str) -> None:
    table = pq.read_table(store / name)
    pq.write_table(table.append_column("colour", pa.nulls(len(table), pa.string())), store / name)
    with pytest.raises(BitlensError, match="column colour is not known"):
        Store.open(store)


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        (("cells", 0, "id"), "../../../../etc", r"cells\[0\]\.id"),
        (("cells", 0, "id"), "a" * 16, r"cells/a{16}/cell\.json cannot be read: it is missing"),
        (("cells", 0, "seed"), 7, r"seed is not what manifest\.json says"),
        (("cells", 0, "compression"), "nf4", r"compression is not what manifest\.json says"),
        (("cells", 0, "status"), "well", r"cells\[0\]\.status"),
        (("cells",), [], "cells is not as it should be"),
        (("models",), [], "models is not as it should be"),
        (("corpora",), [], "corpora is not as it should be"),
        (("twins",), [], "twins is not as it should be"),
        (("models", 0, "name"), "other", "model (org/model|other) is not in models, corpora"),
        (("corpora", 0, "model"), "other", "model (org/model|other) is not in models, corpora"),
        (("twins", 0, "model"), "other", "model (org/model|other) is not in models, corpora"),
        (("twins", 0, "compression"), "nf4", "twins has no rtn:bits=4 of org/model"),
        (("metrics",), {}, r"metrics has no behaviour\.kl"),
        (("models", 0, "blocks"), 10**12, r"models\[0\]\.blocks"),
        (("twins", 0, "bits"), "four", r"twins\[0\]\.bits"),
        (("models", 0, "blocks"), True, r"models\[0\]\.blocks"),
    ],
)
def test_what_hangs_together_is_held_together(
    store: Path, place: tuple[str | int, ...], value: Any, found: str
) -> None:
    """Names that lead elsewhere, cells of something else, tables of what the manifest lacks."""
    changed(store / "manifest.json", place, value)
    with pytest.raises(BitlensError, match=found):
        Store.open(store)


@pytest.mark.parametrize("bound", ["MOST_ROWS", "MOST_VALUES"])
def test_a_table_of_millions_of_equal_rows_is_not_read(
    store: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """It takes a few kilobytes on disk, and much more in memory."""
    monkeypatch.setattr(f"bitlens.results.parquet.{bound}", 2)
    table = pq.read_table(store / "estimates.parquet")
    pq.write_table(pa.concat_tables([table] * 3), store / "estimates.parquet")
    with pytest.raises(BitlensError, match=r"estimates\.parquet .* 3 rows, too many to be ours"):
        Store.open(store)


def test_names_that_are_no_text_are_written_and_read(tmp_path: Path) -> None:
    """Half a surrogate stands for bytes that are no UTF-8, in a path or a document's name."""
    store = Store.create(tmp_path)
    results.complete(store, command="bitlens audit \udcff")
    assert Store.open(tmp_path).manifest()["command"] == "bitlens audit \udcff"


def test_what_is_asked_for_is_what_a_study_says() -> None:
    """A new setting is written down, too."""
    assert set(Asked.model_fields) == set(Study.model_fields)
    assert set(AskedModel.model_fields) == {field.name for field in fields(ModelSource)}


def test_what_is_to_be_done_is_what_is_the_case(store: Path) -> None:
    """A file that is not there need not be deleted."""
    path = store / "estimates.parquet"
    path.write_bytes(b"no table")
    with pytest.raises(BitlensError) as caught:
        Store.open(store)
    assert caught.value.remedy.startswith(f"delete {path} and run the command")
    path.unlink()
    with pytest.raises(BitlensError) as caught:
        Store.open(store)
    assert caught.value.remedy.startswith("run the command that made it again")


@pytest.mark.parametrize("number", [str(1 << 63), "9" * 5000, "1e400"])
def test_numbers_beyond_what_a_column_holds_are_refused(store: Path, number: str) -> None:
    """Also where the file says what is shown as it is told."""
    path = store / "manifest.json"
    content = json.loads(path.read_text())
    content["models"][0]["bytes"] = "HERE"
    path.write_text(json.dumps(content).replace('"HERE"', number))
    with pytest.raises(BitlensError, match=r"manifest\.json .*(64 bits|too large)"):
        Store.open(store)


def test_a_long_text_in_every_row_is_not_written_out(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On disk it stands once."""
    monkeypatch.setattr("bitlens.results.parquet.MOST_TEXT", 1 << 20)
    path = store / "estimates.parquet"
    (row,) = pq.read_table(path).to_pylist()
    rows = [{**row, "reason": "x" * 1024}] * 2048
    pq.write_table(pa.Table.from_pylist(rows, schema=TABLES["estimates"]), path)
    assert path.stat().st_size < 20_000
    with pytest.raises(BitlensError, match=r"its texts are 2,[0-9,]+ bytes, too many to be ours"):
        Store.open(store)


def test_a_table_is_read_as_it_was_written(whole: Path) -> None:
    """Lists of texts, too: on the way they are dictionaries."""
    for name, schema in PARQUET.items():
        found = read_table(whole / name, schema, "")
        assert found.schema.equals(schema)
        assert found.equals(pq.read_table(whole / name))
