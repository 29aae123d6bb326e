"""Norms, gains and writers, on every family: what folding needs to know is so."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bitlens.models.layout import Layout
from bitlens.models.norms import Gain, gain_of, writers
from tests.support import tiny

each_family = pytest.mark.parametrize("family", tiny.NAMES)

WITHOUT_GAINS = {"olmo": "its norms have no weights", "olmo2": "no norm before attention and MLP"}
LAYER_NORM = {
    *("gpt2", "gpt_neox", "gpt_neo", "gptj", "opt", "bloom", "starcoder2", "phi"),
    *("olmo", "cohere", "stablelm", "falcon", "falcon-40b"),
}
"""Families whose norms take the mean away."""


@each_family
def test_the_gain_is_what_the_norm_multiplies_by(family: str) -> None:
    """A norm's output is its normalised input times the gain plus its bias, and is what the maps
    with that gain read; where a map has none, no norm hands it what it reads."""
    layout = tiny.layout(family)
    for depth, block in enumerate(layout.blocks):
        weights = layout.weights(depth)
        gains = {}
        for group in layout.block_layouts[depth].groups:
            assert len({place.gain for place in group}) == 1
            gains[group[0].module] = group[0].gain
        norms = {g.parameter.rpartition(".")[0] for g in gains.values() if g is not None}
        modules = {path: block.get_submodule(path) for path in {*norms, *gains}}
        with tiny.listening(modules) as heard:
            tiny.forward(layout.model, tiny.batch([9, 9]))
        for reader, gain in gains.items():
            if gain is None:
                continue
            norm = gain.parameter.rpartition(".")[0]
            x, output = heard[norm].input, heard[norm].tensor
            centred = x - x.mean(-1, keepdim=True) if family in LAYER_NORM else x
            normalised = functional.normalize(centred, dim=-1) * layout.width**0.5
            bias = weights.get(f"{norm}.bias", torch.zeros(1))
            made = normalised * gain.of(weights) + bias
            assert torch.allclose(made, output, rtol=1e-3, atol=1e-3)
            assert torch.equal(heard[reader].input.flatten(), output.flatten())


@each_family
def test_maps_that_read_the_stream_have_a_gain_and_the_others_none(family: str) -> None:
    """Those attention and the MLP begin with; not the last ones, which read heads and neurons."""
    layout = tiny.layout(family)
    for depth in range(layout.depth):
        weights, names = layout.weights(depth), layout.block_layouts[depth]
        maps = [m for group in layout.maps(depth, weights) for m in group]
        last = {f"{layout.block_name(depth)}.{p.name}" for p in lasts(names.groups, layout.width)}
        for m in maps:
            assert (m.gain is None) == (m.name in last or family in WITHOUT_GAINS)
            assert m.gain is None or m.gain.shape == (m.weight.shape[-1],)


@each_family
def test_writers_are_the_last_maps_of_models_with_layer_norm(family: str) -> None:
    """What attention and the MLP end with; under RMSNorm nothing is a writer."""
    layout = tiny.layout(family)
    for names in layout.block_layouts:
        last = lasts(names.groups, layout.width) if family in LAYER_NORM else []
        assert [p for group in names.groups for p in group if p.writes] == last


def lasts(groups: tuple, width: int) -> list:
    """The output projection and the MLP's last map, told by their names."""
    endings = ("c_proj", "out_proj", "o_proj", "dense", "dense_4h_to_h", "fc2", "fc_out")
    return [
        place
        for group in groups
        for place in group
        if place.name.endswith((*endings, "down_proj")) and "c_attn" not in place.name
    ]


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(LAYER_NORM))
def test_centring_a_writer_changes_no_logit(family: str) -> None:
    """The same moved into every output of every writer: the model gives the logits it gave."""
    model, batch = tiny.build(family), tiny.batch([9, 9])
    before = tiny.forward(model, batch)
    layout = Layout(model)
    for block, names in zip(layout.blocks, layout.block_layouts, strict=True):
        for place in (p for group in names.groups for p in group if p.writes):
            weight = place.effective(block.get_parameter(place.key))
            weight.sub_(weight.mean(-2, keepdim=True))
    assert torch.allclose(tiny.forward(model, batch), before, rtol=1e-3, atol=1e-3)


class Plus(nn.Module):
    """Multiplies by some number plus its weight."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -2]))
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.offset + self.weight)


@pytest.mark.parametrize(("offset", "expected"), [(0, [0.5, -2]), (1, [1.5, -1])])
def test_a_gain_by_hand(offset: float, expected: list[float]) -> None:
    """The weight, or the weight and 1."""
    module = Plus(offset)
    weights = {"norm.weight": module.weight}
    gain = gain_of("norm", module, (torch.ones(2),), weights)
    assert gain == Gain("norm.weight", offset)
    assert gain.of(weights).tolist() == expected


@pytest.mark.parametrize(
    "module", [Plus(3), nn.Linear(2, 2), nn.Identity(), nn.LayerNorm(2, elementwise_affine=False)]
)
def test_what_is_no_norm_with_a_gain_has_none(module: nn.Module) -> None:
    """Something else is multiplied by, or nothing."""
    weights = {f"norm.{name}": tensor for name, tensor in module.named_parameters()}
    assert gain_of("norm", module, (torch.ones(1, 2),), weights) is None


def test_writers_by_hand() -> None:
    """h + A c(h)², c(h) the centred state: A writes; h + A h reads the mean, and nothing writes;
    of h + B tanh(A c(h)) B writes and A does not."""
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 3, 4, generator=random)
    weights = {name: torch.randn(4, 4, generator=random) for name in "AB"}

    def centred(h: Tensor) -> Tensor:
        return h - h.mean(-1, keepdim=True)

    alone = writers(lambda h, w: h + centred(h).square() @ w["A"].T, hidden, weights, ["A"])
    assert alone == frozenset({"A"})
    assert not writers(lambda h, w: h + h @ w["A"].T, hidden, weights, ["A"])
    deep = writers(
        lambda h, w: h + torch.tanh(centred(h) @ w["A"].T) @ w["B"].T, hidden, weights, "AB"
    )
    assert deep == frozenset({"B"})
