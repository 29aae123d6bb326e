"""Finding out the format, and what is missing for it."""

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.models.load import Loaded
from checkpoints.conftest import opened
from checkpoints.files import write

Reference = Callable[[str], Loaded]


@pytest.fixture
def said_to_be(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """An ordinary folder whose config.json says that it is quantized."""

    def make(method: str) -> Path:
        path = tmp_path / "said"
        shutil.copytree(folder_of("llama"), path)
        config = json.loads((path / "config.json").read_text())
        config["quantization_config"] = {"quant_method": method, "bits": 4}
        (path / "config.json").write_text(json.dumps(config))
        return path

    return make


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """As if a library were not installed."""
    real = importlib.import_module

    def hide(library: str) -> None:
        def missing(name: str, *more: Any) -> Any:
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)
            return real(name, *more)

        monkeypatch.setattr(importlib, "import_module", missing)

    return hide


@pytest.mark.parametrize(
    ("method", "library", "extra"),
    [
        ("bitsandbytes", "bitsandbytes", "bnb"),
        ("gptq", "gptqmodel", "gptq"),
        ("awq", "gptqmodel", "gptq"),
        ("compressed-tensors", "compressed_tensors", "ct"),
        ("hqq", "hqq", "hqq"),
        ("torchao", "torchao", "torchao"),
    ],
)
def test_what_to_install_is_said(
    reference: Reference,
    said_to_be: Callable[[str], Path],
    without: Callable[[str], None],
    method: str,
    library: str,
    extra: str,
) -> None:
    """The very command, for the format that config.json names."""
    path = said_to_be(method)
    without(library)
    with pytest.raises(BitlensError) as error:
        opened(path, reference("llama"))
    assert library in error.value.found and "is not installed" in error.value.found
    assert error.value.remedy == f"pip install 'bitlens[{extra}]'"


def test_what_to_install_for_a_file(
    reference: Reference, without: Callable[[str], None], tmp_path: Path
) -> None:
    path = write(reference("llama").model, tmp_path / "a.gguf")
    without("gguf")
    with pytest.raises(BitlensError, match=r"pip install 'bitlens\[gguf\]'"):
        opened(path, reference("llama"))


def test_other_formats_are_refused(reference: Reference, said_to_be: Callable[[str], Path]) -> None:
    with pytest.raises(BitlensError) as error:
        opened(said_to_be("aqlm"), reference("llama"))
    assert "quantized with 'aqlm'" in error.value.found
    assert "gptq, awq, compressed-tensors" in error.value.expected


@pytest.mark.parametrize(
    ("path", "found"), [("./no/such", "There is no folder"), ("{}", "it has no config.json")]
)
def test_what_is_not_there(reference: Reference, tmp_path: Path, path: str, found: str) -> None:
    with pytest.raises(BitlensError, match=found):
        opened(path.format(tmp_path), reference("llama"))


def test_pickles_of_hqq_are_refused(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its own way to save writes one; there is another."""
    path = tmp_path / "hqq"
    shutil.copytree(folder_of("llama"), path)
    (path / "model.safetensors").rename(path / "qmodel.pt")
    with pytest.raises(BitlensError) as error:
        opened(path, reference("llama"))
    assert "qmodel.pt" in error.value.found and "save_to_safetensors" in error.value.remedy
