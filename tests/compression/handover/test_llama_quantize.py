"""A command that llama-quantize reads as the plan means it: the first expression found in a
tensor's name decides."""

import re
import shlex

import pytest

from bitlens.compression.handover.llama_quantize import llama_quantize, tensors
from tests.support.handover import plan

gguf = pytest.importorskip("gguf", reason="gguf is absent (bitlens[gguf])")


def types(text: str, names: list[str]) -> dict[str, str]:
    """The type of each tensor, as llama.cpp's llama_tensor_get_type chooses it with --pure."""
    command, *given = shlex.split(text.replace("\\\n", ""), comments=True)
    assert command == "llama-quantize"
    assert given[0] == "--pure"
    options, (_, _, base) = given[1:-3], given[-3:]
    assert options[::2] == ["--tensor-type"] * (len(options) // 2)
    rules = [option.split("=", 1) for option in options[1::2]]
    for _, kind in rules:
        assert kind.upper() in gguf.GGMLQuantizationType.__members__
    assert f"MOSTLY_{base}" in gguf.LlamaFileType.__members__
    return {
        name: next((kind for rule, kind in rules if re.search(rule, name)), base) for name in names
    }


def test_every_tensor_has_its_type() -> None:
    """What is kept is f16; block 1 is not 11."""
    others = {"mlp.down_proj": "gguf:type=q6_k", "1": "gguf:type=q8_0", "11.self_attn": "keep"}
    formats = plan("gguf:type=q4_k", {**others, "lm_head": "gguf:type=q6_k"})
    text = llama_quantize(formats).text
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 12)
    called = {name: f"{theirs.get_name(name)}.weight" for name in formats}
    found = types(text, list(called.values()))
    expected = {"gguf:type=q4_k": "Q4_K_S", "keep": "f16"}
    for name, format_ in formats.items():
        assert found[called[name]] == expected.get(format_, format_.rpartition("=")[2])
    assert text.startswith("# llama-quantize, every format as in the plan.\nllama-quantize --pure")


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("LLAMA", [f"model.layers.1.self_attn.{one}_proj" for one in "qkvo"]),
        ("QWEN2", [f"model.layers.1.mlp.{one}_proj" for one in ("gate", "up", "down")]),
        ("GPT2", [f"transformer.h.1.{one}" for one in ("attn.c_attn", "attn.c_proj")]),
        ("GPT2", [f"transformer.h.1.mlp.{one}" for one in ("c_fc", "c_proj")]),
        ("GPT2", ["transformer.wte", "transformer.wpe", "lm_head"]),
        (
            "GPTNEOX",
            [
                f"gpt_neox.layers.1.{one}"
                for one in (
                    "attention.query_key_value",
                    "attention.dense",
                    "mlp.dense_h_to_4h",
                    "mlp.dense_4h_to_h",
                )
            ]
            + ["gpt_neox.embed_in", "embed_out"],
        ),
        ("PHI2", [f"model.layers.1.{one}" for one in ("self_attn.dense", "mlp.fc1", "mlp.fc2")]),
        ("PHI3", ["model.layers.1.self_attn.qkv_proj", "model.layers.1.mlp.gate_up_proj"]),
        ("FALCON", [f"transformer.h.1.self_attention.{one}" for one in ("dense",)]),
        ("QWEN2MOE", ["model.layers.1.mlp.experts.down_proj"]),
        ("QWEN2MOE", [f"model.layers.1.mlp.shared_expert.{one}_proj" for one in ("gate", "down")]),
    ],
)
def test_tensors_are_called_as_llama_cpp_calls_them(architecture: str, names: list[str]) -> None:
    """By its own table, family by family."""
    theirs = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture), 4)
    assert [tensors(name) for name in names] == [[theirs.get_name(name)] for name in names]


def test_fused_experts_are_two_tensors() -> None:
    """llama.cpp keeps gate and up apart."""
    assert tensors("model.layers.7.mlp.experts.gate_up_proj") == [
        "blk.7.ffn_gate_exps",
        "blk.7.ffn_up_exps",
    ]


@pytest.mark.parametrize(
    ("format_", "kind", "told"),
    [
        ("rtn:bits=3,group=64", "Q3_K_S", "is gguf:type=q3_k"),
        ("gptq:bits=5", "Q5_K_S", "is gguf:type=q5_k"),
        ("rtn:bits=7", "Q8_0", "is gguf:type=q8_0"),
        ("mxfp4", "MXFP4_MOE", "is gguf:type=mxfp4"),
        ("fp8", "Q8_0", "is gguf:type=q8_0"),
        ("int8", "Q8_0", "is gguf:type=q8_0"),
        ("gguf:type=mxfp4", "MXFP4_MOE", "every format as in the plan"),
        ("gguf:type=tq2_0", "TQ2_0", "every format as in the plan"),
        ("gguf:mix=q4_k_m", "Q4_K_S", "is gguf:type=q4_k"),
    ],
)
def test_what_it_has_not_is_the_nearest_by_bits(format_: str, kind: str, told: str) -> None:
    """And said."""
    text = llama_quantize(plan(format_, {})).text
    assert types(text, ["blk.0.attn_q.weight"]) == {"blk.0.attn_q.weight": kind}
    assert told in text.split("\n")[0]


def test_tensors_that_are_not_known_are_named() -> None:
    """They are left to llama.cpp."""
    formats = {**plan("gguf:type=q4_0", {}), "model.layers.0.mixer.in_proj": "gguf:type=q8_0"}
    first, rest = llama_quantize(formats).text.split("\n", 1)
    assert first.endswith("what llama.cpp calls model.layers.0.mixer.in_proj: left to it.")
    assert "mixer" not in rest


def test_a_plan_of_floats_alone_is_no_command() -> None:
    """llama-quantize heeds types of tensors only where the file's type is quantized."""
    assert llama_quantize(plan("cast:dtype=float16", {})).text.count("\n") == 1
