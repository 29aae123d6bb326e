"""Ordinary folders, and those that bitlens wrote."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitlens.compression import coverage
from bitlens.errors import BitlensError
from bitlens.models.files import weights_hash
from bitlens.models.load import Loaded
from tests.support.checkpoints import (
    FAMILIES,
    check_laws,
    logits,
    opened,
    rows,
    weights,
)

Reference = Callable[[str], Loaded]
Folder = Callable[[str], Path]
NAME = "model.layers.1.mlp.down_proj"


def changed(source: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the folder with other tensors."""
    shutil.copytree(source, path)
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_itself(reference: Reference, folder_of: Folder, family: str) -> None:
    """The same weights and logits; that nothing differs is found out by the table."""
    model = reference(family)
    checkpoint = opened(folder_of(family), model)
    assert (checkpoint.format, checkpoint.kernels, checkpoint.notes) == ("float32", False, ())
    assert checkpoint.fingerprint == model.fingerprint
    check_laws(checkpoint, model, 1e-6)
    assert torch.equal(logits(checkpoint.model), logits(model.model))
    assert checkpoint.tokenizer is not model.tokenizer
    with pytest.raises(BitlensError, match="nothing was compressed"):
        coverage.require_change(rows(checkpoint, model), False)


def test_what_was_pruned_differs(reference: Reference, folder_of: Folder, tmp_path: Path) -> None:
    model = reference("llama")
    path = changed(
        folder_of("llama"), tmp_path / "pruned", lambda t: t[f"{NAME}.weight"][:, ::2].zero_()
    )
    checkpoint = opened(path, model)
    assert checkpoint.name == "pruned"
    assert checkpoint.fingerprint != model.fingerprint
    found = {row.module: row.changed for row in rows(checkpoint, model)}
    assert found.pop(f"{NAME}.weight") == 0.5
    assert not any(found.values())


def test_it_computes_in_its_own_dtype(
    reference: Reference, tmp_path: Path, tiny_model: Callable[..., Any]
) -> None:
    """Which its figures are of: 16 bits a weight."""
    tiny_model("llama").to(torch.bfloat16).save_pretrained(tmp_path / "half")
    checkpoint = opened(tmp_path / "half", reference("llama"))
    assert (checkpoint.format, checkpoint.model.dtype) == ("bfloat16", torch.bfloat16)
    assert {entry.bits for entry in checkpoint.stored.values()} == {16}
    assert checkpoint.notes == ("half has no tokenizer; that of tiny-llama is used.",)
    assert checkpoint.tokenizer is reference("llama").tokenizer


def record(path: Path, of: Loaded, **written: Any) -> Path:
    whole = {"weights": weights_hash(path), "reference": of.fingerprint, **written}
    (path / "bitlens.json").write_text(json.dumps(whole))
    return path


def test_what_bitlens_wrote_says_how_it_was_made(
    reference: Reference, folder_of: Folder, tmp_path: Path
) -> None:
    """Bits, group and note of the matrices that were compressed; the others are as stored."""
    path = changed(folder_of("llama"), tmp_path / "made", lambda t: None)
    matrices = {NAME: {"bits": 4.5, "group": 32, "note": "damped"}}
    model = reference("llama")
    record(path, model, compression="gptq:bits=4", matrices=matrices)
    checkpoint = opened(path, model)
    entry = checkpoint.stored[f"{NAME}.weight"]
    assert checkpoint.format == entry.format == "gptq:bits=4"
    assert (entry.bits, entry.group, entry.note) == (4.5, 32, "damped")
    others = {e.bits for name, e in checkpoint.stored.items() if name != f"{NAME}.weight"}
    assert others == {32}
    assert checkpoint.notes == ()


def test_a_record_of_other_weights_is_not_believed(
    reference: Reference, folder_of: Folder, tmp_path: Path
) -> None:
    """Trained on after it was compressed, the folder is an ordinary one, and that is said."""
    model, path = reference("llama"), tmp_path / "made"
    shutil.copytree(folder_of("llama"), path)
    record(path, model, compression="gptq:bits=4", matrices={NAME: {"bits": 4.5}})
    tensors = load_file(path / "model.safetensors")
    tensors[f"{NAME}.weight"][0, 0] += 1
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    checkpoint = opened(path, model)
    assert checkpoint.format == "float32"
    assert {entry.bits for entry in checkpoint.stored.values()} == {32}
    (note,) = checkpoint.notes
    assert "gptq:bits=4" in note
    assert "not those it was written for: it is not believed" in note


def test_a_twin_of_another_model_is_said_to_be_one(
    reference: Reference, folder_of: Folder, tmp_path: Path
) -> None:
    """Both are named with their hashes; what it takes to store it is still true."""
    model = reference("llama")
    path = changed(folder_of("llama"), tmp_path / "made", lambda t: None)
    matrices = {NAME: {"bits": 4.5}}
    record(
        path, model, compression="gptq:bits=4", matrices=matrices, model="other", reference="0123"
    )
    checkpoint = opened(path, model)
    assert checkpoint.stored[f"{NAME}.weight"].bits == 4.5
    (note,) = checkpoint.notes
    assert note.startswith(
        f"It was made of other (0123), and is compared with tiny-llama ({model.fingerprint})"
    )


def test_experts_are_recorded_under_their_own_names(
    reference: Reference, folder_of: Folder, tmp_path: Path
) -> None:
    path = changed(folder_of("qwen3_moe"), tmp_path / "made", lambda t: None)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    model = reference("qwen3_moe")
    record(path, model, compression="nf4", matrices={name: {"bits": 4.5}})
    entry = opened(path, model).stored[name]
    assert (entry.bits, entry.group, entry.format) == (4.5, 0, "nf4")


HASHES = '"weights": "01", "reference": "23", "compression": "nf4"'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"compression": "nf4"}',
        '{"compression": "nf4", "reference": "01", "matrices": {}}',
        '{"compression": "nf4", "weights": "01", "matrices": {}}',
        f'{{{HASHES}, "matrices": {{"no.such": {{"bits": 4}}}}}}',
        f'{{{HASHES}, "matrices": {{"lm_head": {{"bits": "many"}}}}}}',
        f'{{{HASHES}, "matrices": {{"lm_head": {{"bits": NaN}}}}}}',
        f'{{{HASHES}, "matrices": {{"lm_head": 4}}}}',
        f'{{{HASHES}, "matrices": 4}}',
        "[" * 100_000,
    ],
)
def test_a_broken_record_is_refused(
    reference: Reference, folder_of: Folder, text: str, tmp_path: Path
) -> None:
    path = changed(folder_of("llama"), tmp_path / "made", lambda t: None)
    (path / "bitlens.json").write_text(text)
    with pytest.raises(
        BitlensError,
        match=r"bitlens\.json (beside the weights cannot be read|is not JSON|is nested)",
    ):
        opened(path, reference("llama"))


def test_missing_weights_are_refused(
    reference: Reference, folder_of: Folder, tmp_path: Path
) -> None:
    """transformers would make them up at random, with a warning."""
    path = changed(folder_of("llama"), tmp_path / "part", lambda t: t.pop(f"{NAME}.weight"))
    with pytest.raises(BitlensError, match="has no weights for model"):
        opened(path, reference("llama"))


@pytest.mark.parametrize("run", ["auto", "weights"])
def test_a_weight_that_is_no_number_is_named(
    reference: Reference, folder_of: Folder, tmp_path: Path, run: str
) -> None:
    """Before anything is run."""
    name = f"{NAME}.weight"
    path = changed(folder_of("llama"), tmp_path / "bad", lambda t: t[name][3].fill_(math.nan))
    with pytest.raises(BitlensError, match=f"{name} of bad holds .* weights that are infinite or"):
        opened(path, reference("llama"), run)


def test_pickles_and_cut_files_are_refused(
    reference: Reference, folder_of: Folder, tmp_path: Path
) -> None:
    path = tmp_path / "pickled"
    shutil.copytree(folder_of("llama"), path)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(BitlensError, match="as pickles"):
        opened(path, reference("llama"))
    (path / "pytorch_model.bin").rename(path / "model.safetensors")
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BitlensError, match="cannot be read"):
        opened(path, reference("llama"))


def test_there_are_no_kernels(reference: Reference, folder_of: Folder) -> None:
    """To ask for them is refused; dequantized weights are what it is."""
    with pytest.raises(BitlensError, match="there are no kernels"):
        opened(folder_of("llama"), reference("llama"), "kernels")
    assert not weights(opened(folder_of("llama"), reference("llama"), "weights"))[
        "lm_head.weight"
    ].requires_grad
