"""Another compression in a rotated basis: what it does is what it would do to a rotated model."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bitlens.compression import parse_spec
from bitlens.compression.compression import CompressedMatrix, DataFree, MatrixGroup
from bitlens.compression.methods.rotated import Rotated
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.numerics.hadamard import hadamard
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.targets import chosen
from bitlens.compression.twin import CompressedTwin
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from bitlens.seeds import derive
from tests.support import tiny


@dataclass(frozen=True, kw_only=True)
class Unrounded(DataFree):
    """Changes nothing."""

    name: ClassVar[str] = "unrounded"

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        return CompressedMatrix(matrix.weight.clone(), 32)


def logits(layout: Layout, compression: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Of the reference and the twin."""
    twin = CompressedTwin(layout, compression, chosen(layout, compression), seed=3)
    found = tiny.activations(tiny.sweep(layout, [batch], ["logits"], {"twin": twin}))
    return found[("reference", "logits", 0)], found[("twin", "logits", 0)]


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.NAMES)
def test_rotated_and_not_rounded_is_the_reference(family: str) -> None:
    """Of every family, to float tolerance."""
    reference, twin = logits(tiny.layout(family), Rotated(of=Unrounded()), tiny.batch([12, 7]))
    assert (reference - twin).abs().max() <= 1e-4 * reference.abs().max()


def rotated_by_hand(layout: Layout, bits: int, inputs: InputRounding | None) -> Any:
    """A Llama whose stream is turned for good: gains folded, embedding and unembedding turned too,
    neurons and heads' outputs turned on the way; its matrices rounded as they then are."""
    model = copy.deepcopy(layout.model)
    width = model.config.hidden_size
    seed = derive(3, "rotated", "residual stream")
    turn = hadamard(width, seed).apply(torch.eye(width)).T
    assert not torch.equal(turn, hadamard(width).apply(torch.eye(width)).T)

    def rounded(weight: Tensor) -> Tensor:
        return Rtn(bits=bits).compress_matrix(LinearMap("m", weight)).weight

    def put(module: Any, weight: Tensor) -> None:
        module.weight.data = weight

    def before(module: Any, online: Tensor | None) -> None:
        def hook(_module: Any, args: Any) -> Any:
            x = args[0] if online is None else args[0] @ online.T
            return (x if inputs is None else inputs.round(x),)

        module.register_forward_pre_hook(hook)

    with torch.no_grad():
        put(model.model.embed_tokens, model.model.embed_tokens.weight @ turn.T)
        put(model.lm_head, model.lm_head.weight * model.model.norm.weight @ turn.T)
        model.model.norm.weight.fill_(1)
        for block in model.model.layers:
            attention, mlp = block.self_attn, block.mlp
            for norm, readers in (
                (block.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (block.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                for reader in readers:
                    put(reader, rounded(reader.weight * norm.weight @ turn.T))
                    before(reader, None)
                norm.weight.fill_(1)
            for writer in (attention.o_proj, mlp.down_proj):
                size = writer.weight.shape[-1]
                online = hadamard(size).apply(torch.eye(size)).T
                put(writer, rounded(turn @ writer.weight @ online.T))
                before(writer, online)
    return model


@pytest.mark.parametrize("inputs", [None, InputRounding("int8")])
def test_a_twin_is_the_rotated_model(inputs: InputRounding | None) -> None:
    """A Llama that was rotated for good and rounded then gives the twin's logits."""
    model = tiny.build("llama", torch.float32, None, tie_word_embeddings=False)
    with torch.no_grad():
        for norm in (m for n, m in model.named_modules() if n.endswith("norm")):
            norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    layout, batch = Layout(model), tiny.batch([12, 12])
    text = "rotated:of=[rtn:bits=8]" if inputs is None else "rotated:of=[w8a8]"
    twin = logits(layout, parse_spec(text), batch)[1]
    by_hand = rotated_by_hand(layout, 8, inputs)
    with torch.no_grad():
        own = by_hand(input_ids=batch.tokens).logits.flatten(0, 1)[batch.logits_index]
    plain = logits(layout, parse_spec(text.split("[")[1][:-1]), batch)[1]
    # Inputs that lie next to a half may go the other way: a few do.
    assert (twin - own).norm() < (0.01 if inputs is None else 0.1) * (plain - own).norm()


def test_what_stands_out_is_spread() -> None:
    """One large column: four bits a row lose most of the rest, in a rotated basis little."""
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    weight[:, 5] *= 50
    matrix = LinearMap("m", weight)
    plain, turned = (
        compression.compress(MatrixGroup([matrix], 0))[0].weight
        for compression in (Rtn(bits=4), Rotated(of=Rtn(bits=4)))
    )
    columns = torch.arange(64) != 5
    kept = weight[:, columns]
    assert (turned - weight)[:, columns].norm() < 0.5 * (plain - weight)[:, columns].norm()
    assert (plain - weight)[:, columns].norm() > 0.8 * kept.norm()


def test_notes_say_what_was_turned() -> None:
    """Maps that read the stream, maps that add to it, and maps that do neither."""
    layout = tiny.layout("llama")
    compression = Rotated(of=Rtn(bits=4))
    twin = CompressedTwin(layout, compression, chosen(layout, compression))
    twin.complete_coverage()
    notes = {row.module.rpartition(".")[2]: row.note for row in twin.coverage() if row.compressed}
    assert notes["q_proj"] == notes["up_proj"] == "residual stream turned"
    assert notes["o_proj"] == notes["down_proj"]
    assert notes["o_proj"] == "residual stream turned, inputs turned on the way"


@pytest.mark.parametrize(
    "of",
    [
        "nothing",
        "prune:sparsity=0.5",
        "awq:bits=4",
        "fp8:activations=tensor",
        "folded:of=[rtn:bits=4]",
        "cast:dtype=bfloat16",
        "kv",
    ],
)
def test_what_cannot_be_rotated(of: str) -> None:
    """Controls, pruning, wrappers, dtypes, and what goes by the largest input of a column."""
    with pytest.raises(BitlensError, match="rotated: of is"):
        parse_spec(f"rotated:of=[{of}]")
