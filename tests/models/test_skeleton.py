"""A model's configuration alone says where everything in it is."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from bitlens.models.skeleton import outline
from bitlens.models.source import ModelSource
from tests.support import tiny


def known(maps: Iterator[LinearMap]) -> list[tuple[object, ...]]:
    return [(m.name, tuple(m.weight.shape), m.head_size, m.fused, m.writes) for m in maps]


@pytest.mark.parametrize("family", tiny.NAMES)
def test_the_outline_is_laid_out_like_the_model(family: str, tmp_path: Path) -> None:
    """Every block's parts, every matrix and every parameter's shape, of every family, tied or
    not; and most blocks hold no number."""
    model = tiny.layout(family)
    model.model.config.save_pretrained(tmp_path)
    found = outline(ModelSource(str(tmp_path)))
    assert found is not None
    laid = Layout(found)
    assert laid.block_layouts == model.block_layouts
    assert known(laid.examples()) == known(model.examples())
    assert laid.parameters() == model.parameters()
    shapes = {name: p.shape for name, p in model.model.named_parameters()}
    assert {name: p.shape for name, p in found.named_parameters()} == shapes
    assert any(p.is_meta for p in found.parameters())


def test_it_has_the_dtype_it_would_be_loaded_in(tmp_path: Path) -> None:
    """As it is stored, or as asked for."""
    tiny.build("llama", torch.bfloat16).save_pretrained(tmp_path)
    stored, asked = (
        outline(ModelSource(str(tmp_path), dtype=dtype)) for dtype in ("auto", "float32")
    )
    assert stored is not None
    assert asked is not None
    assert {p.dtype for p in asked.parameters()} == {torch.float32}
    assert {p.dtype for p in stored.parameters()} == {torch.bfloat16}


def test_a_hub_id_that_is_not_in_the_cache_has_none() -> None:
    """Nothing is fetched for it."""
    assert outline(ModelSource("nobody/no-such-model")) is None
    assert outline(ModelSource("gpt2", revision="no-such-revision")) is None


@pytest.mark.slow
def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """Said as where it is loaded, whether it has no configuration or one of no causal model; so is
    a name that no model can have."""
    with pytest.raises(BitlensError, match="could not be loaded"):
        outline(ModelSource("no model's name"))
    with pytest.raises(BitlensError, match=r"no config\.json"):
        outline(ModelSource(str(tmp_path)))
    for other in ("nothing", "t5"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": other}))
        with pytest.raises(BitlensError, match="could not be loaded"):
            outline(ModelSource(str(tmp_path)))


def test_what_no_run_could_load_is_refused(llama: Path, tmp_path: Path) -> None:
    """A quantized reference, and a configuration of far more weights than the files hold, which
    would be made up."""
    folder = shutil.copytree(llama, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    for change, words in (
        ({"quantization_config": {"quant_method": "awq"}}, "is quantized"),
        ({"vocab_size": 10**9}, "its files hold"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(BitlensError, match=words):
            outline(ModelSource(str(folder)))
