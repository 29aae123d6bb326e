"""What is said of the cache: how much there is, and how to be rid of it."""

from pathlib import Path

import pytest
import torch

from bitlens.compression.calibration.cache import WeightCache
from bitlens.compression.compression import CompressedMatrix
from bitlens.models.matrices import LinearMap
from bitlens.workflows.doctor import OPTIONAL, _kept


def test_the_cache_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One complete twin and one that is not; bytes of everything that is there."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    folder = tmp_path / "twins"
    assert _kept(folder) == "0 in ~/twins, 0.00 GB; remove that folder to empty it"
    for name in ("whole", "half"):
        kept = WeightCache(folder / name)
        map = LinearMap("q", torch.zeros(3000, 2000))
        kept.add("block.0", [map], [CompressedMatrix(map.weight, 4.0)])
        if name == "whole":
            kept.finish({})
    assert _kept(folder) == "1 in ~/twins, 0.05 GB; remove that folder to empty it"


def test_a_cache_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason to say nothing of the rest."""
    (tmp_path / "file").write_text("")

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert _kept(tmp_path) == f"{tmp_path} cannot be read: Permission denied"


def test_a_package_that_reads_a_format_is_known() -> None:
    """Every reader of checkpoints names its own, and what brings it."""
    assert OPTIONAL["gptqmodel"].endswith("pip install 'bitlens[gptq]'")
    assert OPTIONAL["compressed-tensors"].endswith("pip install 'bitlens[ct]'")
    assert {"bitsandbytes", "gguf", "hqq", "torchao"} <= OPTIONAL.keys()
