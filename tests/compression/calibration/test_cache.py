"""What took long to make is kept whole, named by what made it, and read back as it was."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bitlens.compression.calibration.cache import ENVIRONMENT, WeightCache, cache_folder, twins
from bitlens.compression.compression import CompressedMatrix
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def matrices() -> list[LinearMap]:
    draw = torch.Generator().manual_seed(0)
    return [
        LinearMap("layers.0.q_proj", torch.randn(8, 4, generator=draw)),
        LinearMap("layers.0.experts", torch.randn(3, 8, 4, generator=draw).bfloat16()),
    ]


def test_results_read_back(tmp_path: Path) -> None:
    """Weights in the dtype they were given in, bits, groups, notes and the rounding of inputs."""
    smooth = torch.rand(4) + 0.5
    results = [
        CompressedMatrix(
            torch.randn(8, 4),
            4.25,
            group=64,
            note="damping 0.1",
            activations=InputRounding("int8", smooth=smooth),
        ),
        CompressedMatrix(torch.randn(3, 8, 4), 3.0, activations=InputRounding("int8", smooth)),
    ]
    WeightCache(tmp_path).add("block.0", matrices(), results)
    back = WeightCache(tmp_path)(matrices())
    for one, two in zip(results, back, strict=True):
        assert torch.equal(one.weight, two.weight)
        assert (one.bits, one.group, one.note) == (two.bits, two.group, two.note)
    assert back[0].activations is not None
    assert back[1].activations is not None
    x = torch.randn(2, 3, 4)
    assert torch.equal(back[0].activations.round(x), results[0].activations.round(x))


def test_only_a_record_makes_it_complete(tmp_path: Path) -> None:
    """Parts alone are not a twin; nothing but whole files is left lying about."""
    kept = WeightCache(tmp_path / "twin")
    assert not kept.complete
    assert not kept.has("block.0")
    kept.add("block.0", matrices()[:1], [CompressedMatrix(torch.zeros(8, 4), 4.0)])
    assert kept.has("block.0")
    assert not kept.complete
    kept.finish({"compression": "gptq:bits=4"})
    assert kept.complete
    record = json.loads((kept.folder / "record.json").read_text())
    assert record == {"compression": "gptq:bits=4", "parts": ["block.0"]}
    assert sorted(p.name for p in kept.folder.iterdir()) == ["block.0.safetensors", "record.json"]


def test_the_folder_is_named_by_what_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other settings, another folder, below the cache that the environment names."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    one, same = cache_folder({"a": 1, "b": 2}), cache_folder({"b": 2, "a": 1})
    assert one == same != cache_folder({"a": 1, "b": 3})
    assert one.parent == tmp_path / "twins" == twins()


@pytest.mark.parametrize("damage", ["missing", "junk", "cut", "record"])
def test_what_is_damaged_is_not_there(tmp_path: Path, damage: str) -> None:
    """A part that is gone or cannot be read, or a record that cannot, makes it incomplete."""
    kept = WeightCache(tmp_path)
    for part in ("block.0", "block.1"):
        kept.add(part, matrices()[:1], [CompressedMatrix(torch.zeros(8, 4), 4.0)])
    kept.finish({})
    file = tmp_path / ("record.json" if damage == "record" else "block.1.safetensors")
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20] if damage == "cut" else b"junk")
    assert not WeightCache(tmp_path).complete
    assert WeightCache(tmp_path).has("block.0")
    assert WeightCache(tmp_path).has("block.1") is (damage == "record")


def changed(file: Path, **tensors: torch.Tensor) -> None:
    """The same part with other tensors, under the hash it had."""
    with safe_open(file, "pt") as opened:
        names = opened.keys()
        whole = {name: opened.get_tensor(name) for name in names}
        header = opened.metadata()
    save_file(whole | {"layers.0.q_proj": tensors["weight"]}, file, metadata=header)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("bytes", "its bytes are not those that were written"),
        ("nan", "its bytes are not those that were written"),
        ("header", "its bytes are not those that were written"),
        ("no hash", "its bytes are not those that were written"),
        ("shape", r"layers.0.q_proj is \[8, 4\], not \[4, 8\]"),
    ],
)
def test_what_is_not_as_it_was_written_is_no_part(tmp_path: Path, damage: str, why: str) -> None:
    """Forty bytes, a weight that is no number, what is said of it, another shape: the part is to
    be made again, and why is said; the others stay."""
    kept = WeightCache(tmp_path)
    for part in ("block.0", "block.1"):
        kept.add(part, matrices()[:1], [CompressedMatrix(torch.ones(8, 4), 4.0, note="here")])
    kept.finish({})
    file = tmp_path / "block.1.safetensors"
    if damage == "bytes":
        content = file.read_bytes()
        file.write_bytes(content[:-50] + bytes(40) + content[-10:])
    elif damage == "nan":
        changed(file, weight=torch.full((8, 4), torch.nan))
    elif damage == "header":
        file.write_bytes(file.read_bytes().replace(b"here", b"hero"))
    elif damage == "no hash":
        save_file({"layers.0.q_proj": torch.ones(8, 4)}, file, metadata={"layers.0.q_proj": "{}"})
    shapes = {"layers.0.q_proj": (4, 8)} if damage == "shape" else {}
    again = WeightCache(tmp_path, shapes)
    assert not again.complete
    assert not again.has("block.1")
    assert re.fullmatch(why, again.faults["block.1"])
    assert again.has("block.0") is (damage != "shape")


def test_a_part_that_changes_under_a_run_is_noticed(tmp_path: Path) -> None:
    """It was whole when the run began; what is read later is looked at again."""
    kept = WeightCache(tmp_path)
    kept.add("block.0", matrices()[:1], [CompressedMatrix(torch.ones(8, 4), 4.0)])
    assert kept.has("block.0")
    assert torch.equal(kept(matrices()[:1])[0].weight, torch.ones(8, 4))
    changed(tmp_path / "block.0.safetensors", weight=torch.zeros(8, 4))
    with pytest.raises(BitlensError, match=r"block.0.safetensors changed while it was used"):
        kept(matrices()[:1])


@pytest.mark.parametrize("record", ['{"parts": 5}', '{"parts": ["../x"]}', "[]", "{", "null", ""])
def test_a_broken_record_is_said(tmp_path: Path, record: str) -> None:
    """The twin is then not complete; its parts are."""
    kept = WeightCache(tmp_path)
    kept.add("block.0", matrices()[:1], [CompressedMatrix(torch.ones(8, 4), 4.0)])
    (tmp_path / "record.json").write_text(record)
    assert not kept.complete
    assert kept.has("block.0")
    assert kept.faults == {"record.json": "it is no record"}


def test_a_part_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that stops leaves the part or nothing."""
    there: list[list[str]] = []
    flush = os.fsync

    def listening(file: int) -> None:
        there.append([path.name for path in tmp_path.iterdir()])
        flush(file)

    monkeypatch.setattr(os, "fsync", listening)
    WeightCache(tmp_path).add("block.0", matrices()[:1], [CompressedMatrix(torch.zeros(8, 4), 4.0)])
    aside = f".block.0.safetensors.{os.getpid()}.writing"
    assert there == [[aside], ["block.0.safetensors"]]
    assert WeightCache(tmp_path).has("block.0")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_a_disk_that_fills_up_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """And nothing is left of the part."""

    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr("bitlens.compression.calibration.cache.save_file", full)
    with pytest.raises(BitlensError, match="cannot be written: No space left on device"):
        WeightCache(tmp_path).add(
            "block.0", matrices()[:1], [CompressedMatrix(torch.zeros(8, 4), 4.0)]
        )
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_said_first(tmp_path: Path) -> None:
    """A cache that cannot be written to is named before anything is calibrated."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BitlensError, match=ENVIRONMENT):
        WeightCache(tmp_path / "file" / "twin").prepare()
