"""Laws of sites: our names, those of TransformerLens and module paths mean one place."""

from types import SimpleNamespace

import pytest

from bitlens.errors import BitlensError
from bitlens.models.sites import all_sites, resolve, site
from tests.support import tiny

each_family = pytest.mark.parametrize("family", tiny.NAMES)


def test_names_round_trip() -> None:
    """A site's name says its kind and depth, and back; embedding and logits stand at the ends."""
    layout = tiny.layout("llama")
    for name in ["embed", *all_sites(layout), "logits"]:
        assert site(name).name == name
    assert (site("mlp.11").kind, site("mlp.11").depth) == ("mlp", 11)
    assert site("embed").depth == -1
    assert site("logits").depth >= layout.depth


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("embed", ["embed"]),
        ("logits", ["logits"]),
        ("resid.1", ["resid.1"]),
        ("resid.*", ["resid.0", "resid.1", "resid.2"]),
        ("*.1", ["resid.1", "attn.1", "mlp.1", "heads.1", "neurons.1", "pattern.1"]),
        ("resid.-1", ["resid.2"]),
        ("mlp.-3", ["mlp.0"]),
        ("resid.::2", ["resid.0", "resid.2"]),
        ("resid.-2:", ["resid.1", "resid.2"]),
        ("attn.1:9", ["attn.1", "attn.2"]),
        ("resid.:-1", ["resid.0", "resid.1"]),
        ("resid.::-2", ["resid.0", "resid.2"]),
        ("*.-1:", ["resid.2", "attn.2", "mlp.2", "heads.2", "neurons.2", "pattern.2"]),
        ("hook_embed", ["embed"]),
        ("blocks.1.hook_resid_post", ["resid.1"]),
        ("blocks.1.hook_out", ["resid.1"]),
        ("blocks.1.hook_resid_pre", ["resid.0"]),
        ("blocks.0.hook_resid_pre", ["embed"]),
        ("resid_pre.2", ["resid.1"]),
        ("resid_pre.0", ["embed"]),
        ("blocks.2.hook_attn_out", ["attn.2"]),
        ("blocks.2.hook_mlp_out", ["mlp.2"]),
        ("blocks.2.attn.hook_z", ["heads.2"]),
        ("blocks.2.attn.hook_pattern", ["pattern.2"]),
        ("blocks.2.mlp.hook_post", ["neurons.2"]),
        ("model.layers.1", ["resid.1"]),
        ("layers.1", ["resid.1"]),
        ("model.layers.1.self_attn", ["attn.1"]),
        ("layers.1.mlp", ["mlp.1"]),
        ("layer_2/width_16k/average_l0_82", ["resid.2"]),
        ("layer_2", ["resid.2"]),
        ("resid_post_layer_2", ["resid.2"]),
        ("resid_out_layer2", ["resid.2"]),
        ("resid_pre_layer_2", ["resid.1"]),
        ("resid_pre_layer_0", ["embed"]),
        ("attn_out_layer_1", ["attn.1"]),
        ("mlp_out_layer1", ["mlp.1"]),
    ],
)
def test_other_tools_names_mean_our_sites(name: str, means: list[str]) -> None:
    """Every accepted spelling, on a model of three blocks."""
    assert resolve(name, tiny.layout("llama")) == means


@each_family
def test_module_paths_mean_what_the_module_gives(family: str) -> None:
    """A block's own path means its output, attention's and the MLP's what they add."""
    layout = tiny.layout(family)
    for depth, names in enumerate(layout.block_layouts):
        block = layout.block_name(depth)
        assert resolve(block, layout) == [f"resid.{depth}"]
        assert resolve(f"{block}.{names.attention}", layout) == [f"attn.{depth}"]
        assert resolve(f"{block}.{names.mlp}", layout) == [f"mlp.{depth}"]
        # Seen from inside the base model, as sparsify does: h.1, layers.1.
        inner = block.split(".", 1)[1]
        assert resolve(inner, layout) == [f"resid.{depth}"]
        assert resolve(f"{inner}.{names.mlp}", layout) == [f"mlp.{depth}"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resdi.1", "resid.1"),
        ("resid.3", "resid"),
        ("resid.-4", "resid"),
        ("resid.::0", "resid"),
        ("resid.2:1", "resid"),
        ("resid.1:2:3:4", "resid"),
        ("resid.every4", "resid"),
        ("embed.::2", "embed"),
        ("blocks.3.hook_resid_post", "resid.*"),
        ("blocks.1.hook_resid_mid", "resid.*"),
        ("resid_pre.9", "resid"),
        ("model.layers.7", "resid.*"),
        ("model.layers.1.mlp.up_proj", "resid.*"),
        ("layer_9/width_16k/average_l0_82", "resid.*"),
        ("resid_mid_layer_1", "resid.1"),
        ("", "resid.*"),
    ],
)
def test_a_name_that_means_nothing_is_refused(name: str, hint: str) -> None:
    """The error shows the name, how far the blocks go, and something that would work."""
    with pytest.raises(BitlensError) as caught:
        resolve(name, tiny.layout("llama"))
    assert repr(name) in caught.value.found
    assert "3 blocks" in caught.value.found
    assert "from 0 to 2" in caught.value.expected
    assert "blocks.0.hook_resid_post" in caught.value.expected
    assert "model.layers.0" in caught.value.expected
    assert hint in caught.value.remedy


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (48, [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 46, 47]),
        (40, [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 38, 39]),
    ],
)
def test_every_fourth_block_and_the_last_two_are_two_slices(
    depth: int, expected: list[int]
) -> None:
    """The rule of an earlier study, whose own list for 48 blocks this is."""
    layout = SimpleNamespace(depth=depth)
    named = {name for rule in ("resid.::4", "resid.-2:") for name in resolve(rule, layout)}
    assert sorted(site(name).depth for name in named) == expected


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("residd.*", "Did you mean resid.*?"),
        ("residd.::2", "Did you mean resid.::2?"),
        ("ressid.1", "Did you mean resid.1?"),
        ("atn.*", "Did you mean attn.*?"),
        ("resid.99", "Did you mean resid."),
        ("qqq", "resid.*"),
    ],
)
def test_a_misspelt_kind_means_the_same_places_of_the_right_one(pattern: str, meant: str) -> None:
    """Not one block of it; a misspelt number means a block that is there."""
    with pytest.raises(BitlensError) as caught:
        resolve(pattern, tiny.layout("llama"))
    assert caught.value.remedy.startswith(meant)
