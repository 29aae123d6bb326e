"""A recipe that compressed-tensors understands as the plan means it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import yaml

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.handover.llm_compressor import llm_compressor
from bitlens.models.matrices import LinearMap
from tests.support.handover import plan

tensors = pytest.importorskip("compressed_tensors.quantization", reason="compressed-tensors")


def groups(text: str) -> Iterator[tuple[str, Any]]:
    """The modifier and the scheme of every group of a recipe."""
    modifiers = yaml.safe_load(text)["quantization_stage"]["quantization_modifiers"]
    for modifier, settings in modifiers.items():
        for scheme in settings["config_groups"].values():
            yield modifier, tensors.QuantizationScheme.model_validate(scheme)


def test_every_matrix_is_in_the_group_of_its_format() -> None:
    """By the matching of compressed-tensors: bits, groups and what calibrates them; what is kept
    is in none, and ignored."""
    from compressed_tensors.utils.match import match_name

    others = {
        "mlp.down_proj": "gptq:bits=3,group=128,symmetric=false",
        "1": "rtn:bits=8,convention=gptq",
        "11.self_attn": "keep",
        "lm_head": "fp8:activations=none",
    }
    formats = plan("rtn:bits=4,group=64,convention=gptq", others)
    text = llm_compressor(formats).text
    expected = {
        "rtn:bits=4,group=64,convention=gptq": ("QuantizationModifier", 4, 64, "int", True),
        "gptq:bits=3,group=128,symmetric=false": ("GPTQModifier", 3, 128, "int", False),
        "rtn:bits=8,convention=gptq": ("QuantizationModifier", 8, None, "int", True),
        "fp8:activations=none": ("QuantizationModifier", 8, None, "float", True),
    }
    found = list(groups(text))
    for name, format_ in formats.items():
        here = [
            (modifier, w.num_bits, w.group_size, str(w.type), w.symmetric)
            for modifier, one in found
            for w in [one.weights]
            if any(match_name(name, target) for target in one.targets)
        ]
        assert here == ([expected[format_]] if format_ != "keep" else [])
        targets = [target for _, one in found for target in one.targets]
        assert not any(match_name(f"{name}_norm", target) for target in targets)
    modifiers = yaml.safe_load(text)["quantization_stage"]["quantization_modifiers"]
    for settings in modifiers.values():
        ignored = [n for n in formats if any(match_name(n, one) for one in settings["ignore"])]
        assert sorted(ignored) == sorted(n for n, one in formats.items() if one == "keep")
    assert text.startswith("# llm-compressor, every format as in the plan.\n")


@pytest.mark.parametrize(
    ("format_", "preset"),
    [
        ("nvfp4", "NVFP4A16"),
        ("nvfp4:activations=tensor", "NVFP4"),
        ("mxfp4", "MXFP4A16"),
        ("mxfp4:activations=block", "MXFP4"),
        ("mxfp6", "MXFP6A16"),
        ("mxfp8", "MXFP8A16"),
        ("fp8", "FP8_DYNAMIC"),
        ("fp8:scope=tensor,activations=tensor", "FP8"),
        ("fp8:scope=block,activations=block", "FP8_BLOCK"),
        ("w8a8", "W8A8"),
        ("rtn:bits=4,group=128,convention=gptq", "W4A16"),
        ("rtn:bits=4,group=128,symmetric=false", "W4A16_ASYM"),
    ],
)
def test_formats_with_a_name_there_are_what_that_name_means(format_: str, preset: str) -> None:
    """Against the library's own presets; observers aside, which say how a scale is found."""
    text = llm_compressor(plan(format_, {})).text
    ((_, scheme),) = groups(text)
    theirs = tensors.preset_name_to_scheme(preset, ["Linear"])
    for part in ("weights", "input_activations"):
        ours, other = getattr(scheme, part), getattr(theirs, part)
        left_out = {"observer", "observer_kwargs"}
        assert (ours and ours.model_dump(exclude=left_out)) == (
            other and other.model_dump(exclude=left_out)
        )
    assert ("not as in the plan" in text) == (format_ == "w8a8")


@pytest.mark.parametrize(
    ("format_", "instead"),
    [
        ("rtn:bits=4,group=32", "rtn:bits=4,group=32,convention=gptq"),
        ("rtn:bits=8", "rtn:bits=8,convention=gptq"),
        ("awq:bits=4,group=32", "rtn:bits=4,group=32,symmetric=false"),
        ("hqq:bits=3,group=32", "rtn:bits=3,group=32,symmetric=false"),
        ("gptq:bits=4,group=32", "gptq:bits=4,group=32,convention=gptq"),
    ],
)
def test_what_is_put_instead_is_what_the_library_does(format_: str, instead: str) -> None:
    """It is named in our words, and those make the same numbers as compressed-tensors' rounding by
    the scheme, but where a weight lies halfway."""
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    text = llm_compressor(plan(format_, {})).text
    assert f"# llm-compressor, not as in the plan: {format_} (84 matrices) is {instead}.\n" in text
    ((_, scheme),) = groups(text)
    if format_.startswith("gptq"):
        return
    weight = torch.randn(48, 128, generator=torch.Generator().manual_seed(0))
    made = parse_spec(instead).compress(MatrixGroup([LinearMap("a", weight)], 0))[0].weight
    parts = weight.unflatten(-1, (-1, scheme.weights.group_size or weight.shape[-1]))
    scale, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), scheme.weights)
    theirs = fake_quantize(weight, scale, zero, scheme.weights)
    assert ((made - theirs).abs() < 1e-5).float().mean() > 0.99


@pytest.mark.parametrize(
    ("format_", "told"),
    [
        ("nf4", "nf4 (84 matrices) stays as it is"),
        ("nvfp4:activations=token", "is nvfp4:activations=tensor"),
        ("mxfp4:exponent=floor", "mxfp4:exponent=floor (84 matrices) is mxfp4"),
        ("fp8:dtype=float8_e5m2", "fp8:dtype=float8_e5m2 (84 matrices) is fp8"),
        ("w8a8", "127.5 steps to the largest"),
        ("rtn:bits=4,scope=tensor", "stays as it is"),
        ("rtn:bits=4,axis=input", "stays as it is"),
    ],
)
def test_what_it_has_not_is_said(format_: str, told: str) -> None:
    """In the first line."""
    assert told in llm_compressor(plan(format_, {})).text.split("\n")[0]


@pytest.mark.against
def test_the_library_reads_the_recipe() -> None:
    """Its own modifiers, with the groups and what is ignored; GPTQ in the columns' own order."""
    library = pytest.importorskip("llmcompressor.recipe", reason="llm-compressor is absent")
    formats = plan("rtn:bits=4,group=64", {"mlp.down_proj": "gptq:bits=3", "11": "keep"})
    first, second = library.Recipe.create_instance(llm_compressor(formats).text).modifiers
    assert [type(one).__name__ for one in (first, second)] == [
        "QuantizationModifier",
        "GPTQModifier",
    ]
    assert [one.weights.num_bits for one in first.config_groups.values()] == [4]
    assert [one.weights.num_bits for one in second.config_groups.values()] == [3]
    assert second.actorder is None
    assert len(first.ignore) == len(second.ignore) == 3
