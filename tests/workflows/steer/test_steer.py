"""Steering: what the sweep does is what forward hooks on the whole model do; files of vectors."""

import struct
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from bitlens.engine.interventions import ablated
from bitlens.engine.plan import make_plan
from bitlens.engine.swept_model import Reference
from bitlens.errors import BitlensError, ModelError
from bitlens.models.block_runner import Block
from bitlens.models.layout import BlockWeights, Layout
from bitlens.workflows.steer.measure import Steering, effects
from bitlens.workflows.steer.prompts import Prompts, log_odds
from bitlens.workflows.steer.vectors import read_vector, save_vector
from tests.support import tiny

TOKENS = (3, 5)


def test_log_odds_by_hand() -> None:
    """Two tokens of a quarter each: odds of one; of one of them, log 1/3."""
    logits = torch.zeros(1, 4)
    assert log_odds(logits, (0, 1)).tolist() == pytest.approx([0.0])
    assert log_odds(logits, (2,)).tolist() == pytest.approx([np.log(1 / 3)])


def test_a_direction_is_taken_out_by_hand() -> None:
    """Of (3, 4) along (0, 2), of any length, (3, 0) is left."""
    own = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert ablated(torch.tensor([0.0, 2.0]))(own, own).tolist() == [[3.0, 0.0], [1.0, 0.0]]


def hooked(layout: Layout, tokens: list[int], change: Any, blocks: list[int]) -> float:
    """The log-odds after a prompt by plain transformers, some blocks' outputs changed from the
    second position on."""

    def put(module: Any, args: Any, output: Any) -> Any:
        first = (output[0] if isinstance(output, tuple) else output).clone()
        first[:, 1:] = change(first[:, 1:])
        return (first, *output[1:]) if isinstance(output, tuple) else first

    all_blocks = layout.model.get_submodule(layout.blocks_path)
    handles = [all_blocks[n].register_forward_hook(put) for n in blocks]
    try:
        with torch.no_grad():
            logits = layout.model(torch.tensor([tokens]), use_cache=False).logits[0, -1:]
    finally:
        for handle in handles:
            handle.remove()
    return float(log_odds(logits.float(), TOKENS)[0])


def test_the_sweep_steers_as_forward_hooks_do() -> None:
    """A vector at every multiplier, on prompts of different lengths, to a millionth."""
    layout = tiny.layout("llama")
    corpus = tiny.corpus([[9], [6], [9], [4]], seed=4)
    plan = make_plan(corpus, "content", 0, 64)
    vector = torch.randn(layout.width, generator=torch.Generator().manual_seed(0))
    steering = Steering(
        layout=layout, twins={}, site="resid.1", directions={"vector": vector}, hidden_bytes=1 << 30
    )
    prompts = Prompts(corpus=corpus, plan=plan, positive=np.zeros(4, dtype=bool))
    found = effects(steering, prompts.batches, TOKENS, 4)
    for document, row in enumerate(corpus.rows):
        for multiplier in (-2.0, 0.0, 0.5):
            expected = hooked(layout, row.tolist(), lambda x, m=multiplier: x + m * vector, [1])
            value = found["reference", "vector", multiplier][document]
            assert value == pytest.approx(expected, abs=2e-5)


class Broken(Reference):
    """A twin whose second block cannot be made."""

    def block(self, depth: int, weights: BlockWeights) -> Block:
        """The reference's, but for the second."""
        if depth == 1:
            raise ModelError("Block 1 has no weights.", "a whole checkpoint.", "fetch it again.")
        return super().block(depth, weights)


def test_a_twin_that_cannot_be_made_is_named() -> None:
    """With its reason, at once, and not as a missing name."""
    layout = tiny.layout("llama")
    corpus = tiny.corpus([[9], [6]], seed=4)
    steering = Steering(
        layout=layout,
        twins={"broken": Broken(layout)},
        site="resid.1",
        directions={"vector": torch.ones(layout.width)},
        hidden_bytes=1 << 30,
    )
    plan = make_plan(corpus, "content", 0, 64)
    prompts = Prompts(corpus=corpus, plan=plan, positive=np.zeros(2, dtype=bool))
    with pytest.raises(BitlensError, match=r"broken failed: Block 1 has no weights"):
        effects(steering, prompts.batches, TOKENS, 2)


def control_vector(path: Path, name: str, vector: np.ndarray) -> None:
    """A GGUF file of one tensor."""
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_tensor(name, vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_vector_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Ours, a plain safetensors file, and a GGUF control vector."""
    vector = torch.arange(1.0, 9.0)
    save_vector(tmp_path / "own.safetensors", "resid.2", vector, {"from": "here"})
    save_file({"layer_activations.2": vector.numpy()}, tmp_path / "theirs.safetensors")
    control_vector(tmp_path / "control.gguf", "direction.2", vector.numpy())
    for name in ("own.safetensors", "theirs.safetensors", "control.gguf"):
        found = read_vector(str(tmp_path / name), "resid.2", 8)
        assert torch.equal(found, vector), name


@pytest.mark.parametrize(
    ("array", "site", "said"),
    [
        (np.ones(7), "resid.2", "shape"),
        (np.full(8, np.nan), "resid.2", "not finite"),
        (np.ones(8), "resid.3", "no vector for block 3"),
    ],
)
def test_a_vector_that_will_not_do_is_refused(
    tmp_path: Path, array: np.ndarray, site: str, said: str
) -> None:
    """Of another width, not finite, or of another block."""
    save_file({"resid.2": array.astype(np.float32)}, tmp_path / "v.safetensors")
    with pytest.raises(BitlensError, match=said):
        read_vector(str(tmp_path / "v.safetensors"), site, 8)


def test_what_is_no_file_of_vectors_is_refused(tmp_path: Path) -> None:
    """Bytes that are neither, under either name."""
    for name in ("v.safetensors", "v.gguf"):
        (tmp_path / name).write_bytes(b"no vectors, and long enough to be looked at" * 4)
        with pytest.raises(BitlensError, match="cannot be read"):
            read_vector(str(tmp_path / name), "resid.2", 8)


def test_two_vectors_for_a_block_are_refused(tmp_path: Path) -> None:
    """Of a stream and of an MLP: nobody says which is meant."""
    both = {name: np.ones(8, np.float32) for name in ("resid.2", "mlp.2")}
    save_file(both, tmp_path / "v.safetensors")
    with pytest.raises(BitlensError, match=r"2 vectors for block 2: mlp\.2, resid\.2"):
        read_vector(str(tmp_path / "v.safetensors"), "resid.2", 8)


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    """As it is of a model, before the reader looks for what is not there."""
    (tmp_path / "v.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40) + bytes(64))
    with pytest.raises(BitlensError, match="promises"):
        read_vector(str(tmp_path / "v.gguf"), "resid.2", 8)


def test_a_model_is_not_unpacked_to_look_for_a_vector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor of another size is refused by its shape, without its numbers."""
    control_vector(tmp_path / "v.gguf", "blk.2", np.ones((4, 32), np.float32))
    monkeypatch.setattr(gguf, "dequantize", lambda *_: pytest.fail("was unpacked"))
    with pytest.raises(BitlensError, match=r"the shape \[32, 4\]"):
        read_vector(str(tmp_path / "v.gguf"), "resid.2", 8)


def test_without_the_library_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is optional."""
    control_vector(tmp_path / "v.gguf", "direction.2", np.ones(8, np.float32))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BitlensError, match=r"bitlens\[gguf\]"):
        read_vector(str(tmp_path / "v.gguf"), "resid.2", 8)
