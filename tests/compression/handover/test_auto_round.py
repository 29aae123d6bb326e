"""Settings of AutoRound: names and values as its `layer_config` takes them."""

from typing import Any

import pytest

from bitlens.compression.handover.auto_round import auto_round
from tests.support.handover import plan, run

KEYS = {
    *("bits", "group_size", "sym", "data_type", "act_bits", "act_group_size", "act_sym"),
    *("act_data_type", "act_dynamic"),
}
"""Of those that `QuantizationScheme` of auto-round 0.16 has."""


def settings(text: str, name: str) -> dict[str, Any]:
    """What stands for a matrix: an entry of its own, or the scheme."""
    found = run(text, auto_round={"AutoRound": None})
    return found.layer_config.get(name, found.scheme)


def test_every_matrix_of_a_block_has_its_settings() -> None:
    """Bits, group and symmetry; 16 bits of what is kept; nothing of the shell, which it leaves
    alone."""
    others = {"mlp.down_proj": "rtn:bits=8", "1": "gptq:bits=3,group=32,symmetric=false"}
    formats = plan("rtn:bits=4,group=64", {**others, "11.self_attn": "keep", "5.mlp": "nf4"})
    text = auto_round(formats).text
    expected = {
        "rtn:bits=4,group=64": (4, 64, True),
        "rtn:bits=8": (8, -1, True),
        "gptq:bits=3,group=32,symmetric=false": (3, 32, False),
    }
    for name, format_ in formats.items():
        if ".layers." in name:
            found = settings(text, name)
            assert set(found) <= KEYS
            if format_ in ("keep", "nf4"):
                assert (found["bits"], found["data_type"]) == (16, "float")
            else:
                wanted = expected[format_]
                assert (found["bits"], found["group_size"], found["sym"]) == wanted
    assert "embed_tokens" not in text
    assert "lm_head" not in text


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("mxfp4", {"bits": 4, "group_size": 32, "data_type": "mx_fp", "act_bits": 16}),
        (
            "mxfp8:activations=block",
            {"bits": 8, "data_type": "mx_fp", "act_bits": 8, "act_data_type": "mx_fp"},
        ),
        ("nvfp4", {"bits": 4, "group_size": 16, "data_type": "nv_fp", "act_bits": 16}),
        (
            "nvfp4:activations=tensor",
            {"act_bits": 4, "act_group_size": 16, "act_data_type": "nv_fp4_with_static_gs"},
        ),
        ("rtn:bits=8,symmetric=false", {"bits": 8, "sym": True}),
    ],
)
def test_floats_and_what_no_runtime_serves(format_: str, expected: dict[str, Any]) -> None:
    """Blocks with their inputs; eight bits with a zero point become symmetric."""
    text = auto_round(plan(format_, {})).text
    found = settings(text, "model.layers.0.mlp.up_proj")
    assert set(found) <= KEYS
    assert found | expected == found
    assert "has its rounding tuned" in text or "and has its rounding tuned" in text


@pytest.mark.against
def test_the_library_resolves_it_as_the_plan_says() -> None:
    """Its own resolver, over a model of linear layers of these names."""
    pytest.importorskip("auto_round", reason="auto-round is absent")
    from auto_round.compressors.config_resolution import resolve_scheme_value
    from auto_round.compressors.layer_config_resolver import resolve_layer_config
    from torch import nn

    formats = plan("rtn:bits=4,group=64", {"mlp.down_proj": "rtn:bits=8", "11.self_attn": "keep"})
    found = run(auto_round(formats).text, auto_round={"AutoRound": None})
    model = nn.Module()
    for name in formats:
        *path, leaf = name.split(".")
        place: nn.Module = model
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        place.add_module(leaf, nn.Linear(64, 64, device="meta"))
    resolved = resolve_layer_config(
        model=model,
        scheme=resolve_scheme_value(found.scheme, {}),
        layer_config=found.layer_config,
        scale_dtype="fp16",
        supported_types=(nn.Linear,),
        inner_supported_types=(),
        quant_block_list=[[f"model.layers.{block}" for block in range(12)]],
        ignore_layers="",
        quant_lm_head=False,
        enable_gguf_official_mixed=False,
        is_mllm=False,
        fill_default_value=True,
    )
    bits = {"rtn:bits=4,group=64": 4, "rtn:bits=8": 8, "keep": 16}
    for name, format_ in formats.items():
        if ".layers." in name:
            assert dict(resolved).get(name, found.scheme)["bits"] == bits[format_]
