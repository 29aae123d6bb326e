"""Another compression on folded weights: what it does is what it would do to a folded model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.compression import CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.methods.controls import Noise
from bitlens.compression.methods.folded import Folded
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.engine.plan import TokenBatch
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from tests.support import tiny

Build = Callable[..., LinearMap]


@dataclass(frozen=True, kw_only=True)
class Witness(Compression):
    """Changes nothing, and remembers what it was given."""

    name: ClassVar[str] = "witness"
    met: ClassVar[list[Any]] = []

    def prepare(self, matrices: Callable[[], Iterable[LinearMap]]) -> Any:
        return [matrix.weight for matrix in matrices()]

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        self.met[:] = [group.matrices, group.seed, group.prepared, group.inputs]
        rounding = InputRounding("int8", smooth=torch.full((2,), 3.0))
        return [
            CompressedMatrix(matrix.weight.clone(), 5, note="seen", activations=rounding)
            for matrix in group.matrices
        ]


def test_a_gain_moves_the_grid(one: Build) -> None:
    """Two bits: the grid of a row is (-a, 0, a), a its largest weight. W = [[3, 1], [1, 2]] and
    g = [1, 4] make V = [[3, 4], [1, 8]], which becomes [[4, 4], [0, 8]], and Ŵ = [[4, 1], [0, 2]];
    without folding it is [[3, 0], [1 → 0 or 2, 2]]."""
    matrix = one([[3, 1], [1, 2]], gain=torch.tensor([1.0, 4]))
    (result,) = Folded(of=Rtn(bits=2)).compress(MatrixGroup([matrix], 0))
    assert result.weight.tolist() == [[4, 1], [0, 2]]
    assert result.bits == Rtn(bits=2).compress(MatrixGroup([matrix], 0))[0].bits
    assert Rtn(bits=2).compress(MatrixGroup([matrix], 0))[0].weight[0].tolist() == [3, 0]


def test_a_writer_is_compressed_without_the_mean_of_its_outputs(one: Build) -> None:
    """W = [[5, 2], [1, 6]] has column means [3, 4]; [[2, -2], [-2, 2]] is on its own grid, so
    nothing changes, where two bits of W itself give [[5, 0], [0, 6]]."""
    weight = [[5.0, 2], [1, 6]]
    assert rounded(one(weight, writes=True)).tolist() == weight
    assert rounded(one(weight)).tolist() == [[5, 0], [0, 6]]


def test_gain_and_mean_go_together(one: Build) -> None:
    """V = W diag(2, 1) = [[4, 0], [2, 6]] less [3, 3] is [[1, -3], [-1, 3]], of which two bits
    make [[0, -3], [0, 3]]; with the mean [[3, 0], [3, 6]], and over g [[1.5, 0], [1.5, 6]]."""
    matrix = one([[2, 0], [1, 6]], gain=torch.tensor([2.0, 1]), writes=True)
    assert rounded(matrix).tolist() == [[1.5, 0], [1.5, 6]]


def rounded(matrix: LinearMap) -> Tensor:
    return Folded(of=Rtn(bits=2)).compress(MatrixGroup([matrix], 0))[0].weight


def test_experts_share_a_gain_and_have_means_of_their_own() -> None:
    """Fused experts give what each would give alone."""
    random = torch.Generator().manual_seed(0)
    stack, gain = torch.randn(3, 6, 4, generator=random), torch.rand(4, generator=random) + 0.5
    together = rounded(LinearMap("experts", stack, gain=gain, writes=True))
    apart = [rounded(LinearMap("expert", expert, gain=gain, writes=True)) for expert in stack]
    assert torch.equal(together, torch.stack(apart))


def test_what_no_norm_feeds_and_nothing_centres_is_compressed_as_it_stands(
    matrices: list[LinearMap],
) -> None:
    """Without a gain, in an RMSNorm model: the other compression alone, to the bit."""
    for one, two in zip(
        Folded(of=Rtn(bits=3)).compress(MatrixGroup(matrices, 0)),
        Rtn(bits=3).compress(MatrixGroup(matrices, 0)),
        strict=True,
    ):
        assert torch.equal(one.weight, two.weight)


def test_the_other_meets_folded_weights_and_the_inputs_of_folded_weights(one: Build) -> None:
    """With x = g z: V x / g, E z zᵀ = [[1, -2], [-2, 4]], E z² = [1, 4], max |z| = [1, 2] and
    E |z| = [1, 2] for g = [2, -1]; and the folded weights in the coverage too."""
    gain = torch.tensor([2.0, -1])
    matrix = one([[1, 1], [1, 3]], gain=gain)
    x = torch.tensor([[2.0, 2], [-2, -2]])
    inputs = InputStatistics(
        count=torch.tensor(2),
        second_moment=x.T @ x / 2,
        mean_square=x.square().mean(0),
        max_abs=x.abs().amax(0),
        mean_abs=x.abs().mean(0),
    )
    compression = Folded(of=Witness())
    prepare = compression.prepare(lambda: [matrix])
    assert prepare[0].tolist() == [[2, -1], [2, -3]]
    (result,) = compression.compress(MatrixGroup([matrix], 7, prepare, inputs))
    (given,), seed, handed, seen = Witness.met
    assert given.weight.tolist() == [[2, -1], [2, -3]]
    assert given.name == matrix.name
    assert given.gain is None
    assert not given.writes
    assert (seed, handed) == (7, prepare)
    assert seen.count == 2
    assert seen.second_moment.tolist() == [[1, -2], [-2, 4]]
    assert seen.mean_square.tolist() == [1, 4]
    assert seen.max_abs.tolist() == [1, 2]
    assert seen.mean_abs.tolist() == [1, 2]
    assert torch.equal(result.weight, matrix.weight)
    assert (result.bits, result.note) == (5, "seen")
    assert result.activations is not None
    assert result.activations.smooth.tolist() == [6, -3]


def test_a_gain_of_zero_leaves_its_column_unfolded_and_says_so(one: Build) -> None:
    """Nothing can be divided by it, or by what float32 loses beside the largest; no NaN."""
    weight = [[3.0, 1, 1, 1], [1, 2, 1, 1]]
    matrix = one(weight, gain=torch.tensor([0.0, 4, 1e-12, -1]))
    (result,) = Folded(of=Rtn(bits=8)).compress(MatrixGroup([matrix], 0))
    assert result.note == "2 of 4 gains are zero: those columns not folded"
    assert torch.allclose(result.weight, matrix.weight, atol=0.1)
    (nothing,) = Folded(of=Rtn(bits=8)).compress(MatrixGroup([one(weight, gain=torch.zeros(4))], 0))
    assert torch.equal(
        nothing.weight, Rtn(bits=8).compress(MatrixGroup([one(weight)], 0))[0].weight
    )


@pytest.mark.parametrize(
    "text",
    [
        "folded:of=[folded:of=[rtn:bits=4]]",
        "folded:of=[nothing]",
        "folded:of=[noise:like=[rtn:bits=4]]",
        "folded:of=[prune:match=[rtn:bits=4]]",
        "folded:of=[cast:dtype=bfloat16]",
        "folded:of=[checkpoint:some/where]",
    ],
)
def test_what_cannot_be_folded_is_refused(text: str) -> None:
    """Controls, what holds another compression, another dtype, and checkpoints."""
    with pytest.raises(BitlensError) as caught:
        parse_spec(text)
    assert "folded: of is " in caught.value.found
    assert "rtn" in caught.value.remedy


def test_an_error_in_the_other_stays_its_own() -> None:
    """Its settings are checked as anywhere."""
    with pytest.raises(BitlensError, match="bits is 9"):
        parse_spec("folded:of=[rtn:bits=9]")
    with pytest.raises(BitlensError, match="without of"):
        parse_spec("folded")


def test_folded_takes_what_the_other_takes() -> None:
    """Modules, calibration and order are the other's; it is written with them."""
    text = "folded:of=[gptq:bits=3,sequential=false,include=[*.mlp.*],exclude=[*.down_proj]]"
    folded = parse_spec(text)
    assert format_spec(folded) == text
    assert (folded.include, folded.exclude) == (("*.mlp.*",), ("*.down_proj",))
    assert folded.statistics == frozenset({"second_moment"})
    assert not folded.sequential
    assert parse_spec("folded:of=[rtn:bits=4]").statistics == frozenset()
    assert parse_spec("noise:like=[folded:of=[rtn:bits=4]]").like == Folded(of=Rtn(bits=4))  # type: ignore[attr-defined]


def test_noise_is_as_large_as_the_folded_error(one: Build) -> None:
    """Noise like it has the size of its error in the model's own coordinates."""
    matrix = one([[3, 1], [1, 2]], gain=torch.tensor([1.0, 4]))
    (noise,) = Noise(like=Folded(of=Rtn(bits=2))).compress(MatrixGroup([matrix], 0))
    assert torch.dist(noise.weight, matrix.weight).item() == pytest.approx(2**0.5)


NORMS = {
    "gpt2": {"ln_1": ["attn.c_attn"], "ln_2": ["mlp.c_fc"]},
    "gpt_neox": {
        "input_layernorm": ["attention.query_key_value"],
        "post_attention_layernorm": ["mlp.dense_h_to_4h"],
    },
    "llama": {
        "input_layernorm": [f"self_attn.{name}_proj" for name in "qkv"],
        "post_attention_layernorm": ["mlp.gate_proj", "mlp.up_proj"],
    },
    "gemma2": {
        "input_layernorm": [f"self_attn.{name}_proj" for name in "qkv"],
        "pre_feedforward_layernorm": ["mlp.gate_proj", "mlp.up_proj"],
    },
}
"""Norms, and what reads them."""
WRITERS = {
    "gpt2": ["attn.c_proj", "mlp.c_proj"],
    "gpt_neox": ["attention.dense", "mlp.dense_4h_to_h"],
    "llama": [],
    "gemma2": [],
}


@torch.no_grad()
def folded_by_hand(family: str) -> nn.Module:
    """The model with gains moved into the next maps, and what is written centred."""
    model = tiny.build(family)
    for block in model.get_submodule(tiny.layout(family).blocks_path):  # type: ignore[attr-defined]
        for norm, readers in NORMS[family].items():
            module = block.get_submodule(norm)
            one = 0.0 if family == "gemma2" else 1.0
            gain = module.weight + (1 - one)
            for reader in readers:
                weight = block.get_submodule(reader).weight
                weight.mul_(gain[:, None] if family == "gpt2" else gain)
            if getattr(module, "bias", None) is not None:
                module.bias.div_(gain)
            module.weight.fill_(one)
        for writer in WRITERS[family]:
            weight = block.get_submodule(writer).weight
            weight.sub_(weight.mean(1 if family == "gpt2" else 0, keepdim=True))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("family", NORMS)
@pytest.mark.parametrize(
    "text", ["rtn:bits=4", "gptq:bits=3,damping=0.1", "prune:sparsity=0.5", "fp8"]
)
def test_it_is_the_function_of_a_folded_model_compressed(family: str, text: str) -> None:
    """Folding the model by hand and then compressing it gives the same logits; compressing it as
    it stands gives others."""
    batch, layout = tiny.batch([12, 12, 9]), tiny.layout(family)
    expected = logits(tiny.twin(Layout(folded_by_hand(family)), text), batch)
    size = expected.abs().max()
    # At the edge between two numbers of fp8 activations may fall to either side; GPTQ is damped,
    # or with so few calibration tokens its weights would too.
    tolerance = 2e-3 if text == "fp8" else 1e-5
    folded = logits(tiny.twin(layout, f"folded:of=[{text}]"), batch)
    assert (folded - expected).abs().max() < tolerance * size
    assert (logits(tiny.twin(layout, text), batch) - expected).abs().max() > 0.02 * size


@pytest.mark.parametrize("text", ["rtn:bits=4,axis=input", "prune:sparsity=0.5,by=wanda"])
def test_what_scales_with_input_columns_does_not_feel_a_gain(text: str) -> None:
    """One scale an input column takes the gain up, and |w| times the size of its input is what it
    was: under RMSNorm, where nothing is centred, folding changes neither; under LayerNorm it
    does."""
    batch = tiny.batch([12, 12, 9])

    def moved(family: str) -> float:
        plain, folded = (
            logits(tiny.twin(tiny.layout(family), one), batch)
            for one in (text, f"folded:of=[{text}]")
        )
        return float((folded - plain).abs().max() / plain.abs().max())

    assert moved("llama") < 1e-5
    assert moved("gpt2") > 0.02


def logits(twin: Any, batch: TokenBatch) -> Tensor:
    found = tiny.activations(tiny.sweep(twin.layout, [batch], ["logits"], {"twin": twin}))
    return found["twin", "logits", batch.number]


@pytest.mark.parametrize("family", NORMS)
def test_eight_bits_are_close_to_the_reference(family: str) -> None:
    """Folding in itself changes nothing."""
    batch, layout = tiny.batch([12, 12, 9]), tiny.layout(family)
    before = tiny.read(layout, ["logits"], batch)["logits"]
    after = logits(tiny.twin(layout, "folded:of=[rtn:bits=8]"), batch)
    assert (after - before).abs().max() < 0.05 * before.abs().max()
