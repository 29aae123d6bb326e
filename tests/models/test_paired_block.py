"""Tests of twins that are multiplied in bfloat16 beside a reference in float32."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bitlens.engine.runs import REFERENCE
from bitlens.models.block_layout import BlockLayout, MatrixPlace
from bitlens.models.block_runner import Block
from bitlens.models.layout import Layout
from bitlens.models.paired_block import NarrowedReference, PairedBlock, Product, recorded, unpaired
from bitlens.models.shell import Call
from tests.support import tiny

BITS = ("rtn:bits=8", "rtn:bits=4")


class Repeated(nn.Module):
    """A block of one matrix that is multiplied as often as it is told to be."""

    def __init__(self, times: int = 1, rows: slice = slice(None)) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.times, self.rows = times, rows

    def forward(self, hidden: Tensor) -> Tensor:
        return sum(self.linear(hidden[:, self.rows]) for _ in range(self.times))  # type: ignore[return-value]


def block(code: nn.Module, weight: Sequence[Sequence[float]], bias: Sequence[float]) -> Block:
    place = MatrixPlace("linear", "weight", transposed=False)
    names = BlockLayout(
        attention="linear",
        mlp="linear",
        pattern="linear",
        heads="linear",
        neurons=None,
        groups=((place,),),
    )
    weights = {"linear.weight": torch.tensor(weight), "linear.bias": torch.tensor(bias)}
    return Block(code, names, weights)


def beside(
    code: nn.Module, x: Tensor, other: Tensor, weight: Sequence[Sequence[float]]
) -> tuple[Tensor, PairedBlock]:
    """The output of a twin of this weight that is given `other`, and the twin."""
    reference = block(code, [[1.0, 2.0], [3.0, 4.0]], [0.5, 0.25])
    with recorded(reference, x.shape[0] * x.shape[1]) as products:
        reference(x, Call((), {}))
    twin = PairedBlock(
        NarrowedReference(reference, reference.weights), block(code, weight, [0.5, 1.25])
    )
    twin.products = products
    return twin(other, Call((), {}))[1], twin


def test_a_product_by_hand() -> None:
    """y = (1.5, 3.25) of x = (1, 0); x' = (2, 1) adds W (1, 1) = (3, 7), and D = (1, 0; 0, -1) adds
    (2, -1); the bias is 1 more."""
    x, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 1.0]]])
    found, _ = beside(Repeated(), x, other, [[2.0, 2.0], [3.0, 3.0]])
    assert found.flatten().tolist() == [6.5, 10.25]


def test_what_a_twin_shares_is_not_rounded() -> None:
    """Of weights and inputs that bfloat16 does not hold, a twin without a difference has the very
    outputs of the reference, and one with a difference keeps two digits of the difference."""
    x = torch.tensor([[[1 / 3, 1 / 7]]])
    same, _ = beside(Repeated(), x, x, [[1.0, 2.0], [3.0, 4.0]])
    assert same[..., 0].item() == (x @ torch.tensor([1.0, 2.0]) + 0.5).item()
    less, _ = beside(Repeated(), x, x, [[1.0 + 1e-3, 2.0], [3.0, 4.0]])
    assert (less - same)[..., 0].item() == pytest.approx(1e-3 / 3, rel=5e-3)


@pytest.mark.parametrize("code", [Repeated(2), Repeated(1, slice(1))], ids=["twice", "some"])
def test_what_cannot_be_told_apart_is_multiplied_in_float32(code: nn.Module) -> None:
    """A matrix that is multiplied twice, or with some of the positions, and that is said. Its
    inputs keep what bfloat16 does not hold; W + D is (2, 2; 3, 3)."""
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    other, weight = x + 1 / 3, [[2.0, 2.0], [3.0, 3.0]]
    found, _ = beside(code, x, other, weight)
    expected = block(code, weight, [0.5, 1.25])(other, Call((), {}))[1]
    assert torch.equal(found, expected)
    assert unpaired(block(code, weight, [0.5, 1.25]), x, Call((), {})) == ["linear"]


def test_one_product_of_another_shape() -> None:
    """Where a twin multiplies other positions than the reference, it does so in float32."""
    code = Repeated()
    x = torch.zeros(1, 3, 2)
    reference = block(code, [[1.0, 2.0], [3.0, 4.0]], [0.0, 0.0])
    twin = PairedBlock(NarrowedReference(reference, reference.weights), reference)
    twin.products = {"linear.weight": Product(x, x)}
    assert twin(x[:, :2] + 1 / 3, Call((), {}))[1].flatten().tolist() == pytest.approx(
        [1.0, 7 / 3] * 2, rel=1e-6
    )


def kl(found: tiny.ActivationsByStep, run: str) -> Tensor:
    """Nats of every position, from its logits in float64."""
    own, other = (found[(name, "logits", 0)].double().log_softmax(-1) for name in (REFERENCE, run))
    return (own.exp() * (own - other)).sum(-1)


def logits(layout: Layout, texts: Sequence[str]) -> tiny.ActivationsByStep:
    twins = {text: tiny.twin(layout, text) for text in texts}
    return tiny.activations(tiny.sweep(layout, [tiny.batch([24, 17])], ["logits"], twins))


def exact(family: str) -> Layout:
    """The same weights, computed in float64."""
    model = tiny.build(family, torch.bfloat16).double()
    if model._can_set_experts_implementation():
        # Several experts at once come in no more than float32.
        model.set_experts_implementation("eager")
    return Layout(model, torch.float64)


def paired(family: str) -> Layout:
    """The model of `tiny.layout`, with twins multiplied beside it."""
    layout = copy(tiny.layout(family, torch.bfloat16))
    layout.paired = True
    return layout


@pytest.mark.parametrize("family", tiny.NAMES)
def test_divergence_is_that_of_float64(family: str) -> None:
    """Of 8 and of 4 bits, for every family, within 1 %."""
    found, truth = logits(paired(family), BITS), logits(exact(family), BITS)
    for text in BITS:
        true = kl(truth, text)
        assert kl(found, text).mean() == pytest.approx(true.mean().item(), rel=0.01), text


@pytest.mark.slow
def test_every_kind_of_compression() -> None:
    """Dense and sparse, codebooks, norms folded away, noise, rounded inputs, another dtype:
    divergence within 1 %; the latter two bit for bit what they are in float32."""
    texts = ["prune:sparsity=0.3", "nf4", "folded:of=[rtn:bits=4]", "noise:like=[rtn:bits=3]"]
    alike = ["fp8", "cast:dtype=bfloat16"]
    found = logits(paired("llama"), [*texts, *alike])
    plain = logits(tiny.layout("llama", torch.bfloat16), [*texts, *alike])
    for text in texts:
        assert kl(found, text).mean() == pytest.approx(kl(plain, text).mean().item(), rel=0.01)
    for text in alike:
        assert torch.equal(found[(text, "logits", 0)], plain[(text, "logits", 0)])


@pytest.mark.slow
def test_every_analysis_computes_so(tmp_path: Path) -> None:
    """Of 8 and 4 bits, r of features within 0.005, cosines within 0.001, SQNR within 0.1 dB and
    divergences within 1 % of those in float32."""
    model = tiny.build("llama", torch.bfloat16, attention="eager")
    wanted = [tiny.analysis(name) for name in ("behaviour", "geometry", "features")]
    made = tiny.plan(tiny.corpus([[20], [18], [16], [12]]), wanted)
    found = []
    for beside in (False, True):
        layout = Layout(model)
        layout.paired = beside
        measured = tiny.measurement(
            layout, dict(zip("84", BITS, strict=True)), made, tmp_path / str(beside), wanted
        )
        found.append({key: value.value for key, value in tiny.values(measured).items()})
    near = {"r": {"abs": 0.005}, "cosine": {"abs": 1e-3}, "sqnr": {"abs": 0.1}, "kl": {"rel": 0.01}}
    met = set()
    for key, value in found[0].items():
        if key[-1] in near and value is not None:
            met.add(key[-1])
            assert found[1][key] == pytest.approx(value, **near[key[-1]]), key
    assert met == near.keys()


@pytest.mark.parametrize("family", ["llama", "falcon", "gpt_oss"])
def test_the_reference_is_that_of_float32(family: str) -> None:
    """Bit for bit, and so is a twin that differs in nothing."""
    plain = logits(tiny.layout(family, torch.bfloat16), [])
    found = logits(paired(family), ["nothing"])
    for run in (REFERENCE, "nothing"):
        assert torch.equal(found[(run, "logits", 0)], plain[(REFERENCE, "logits", 0)])
