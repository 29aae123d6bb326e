"""Settings of torchao: the first expression that stands for a module's whole path decides."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.handover.torchao import torchao
from bitlens.models.matrices import LinearMap
from tests.support.handover import exactly, first, plan, run

OTHERS = {
    "mlp.down_proj": "rtn:bits=8,convention=gptq",
    "1": "rtn:bits=3,group=32,symmetric=false",
    "11.self_attn": "keep",
    "5.mlp": "nf4",
    "0.self_attn": "fp8:activations=none",
}
MOST = "rtn:bits=4,group=32,convention=gptq"


def stood_in(text: str) -> dict[str, Any]:
    """The expressions with what their configuration is called, and its arguments."""

    def called(name: str) -> Any:
        return lambda *given, **named: (name, *given, *named.values())

    configs = {name: called(name) for name in text.split("import ")[2].split("\n")[0].split(", ")}
    configs |= {"FqnToConfig": dict, "MappingType": mapping}
    found = run(text, torchao__quantization=configs, transformers={"TorchAoConfig": dict})
    return {pattern.removeprefix("re:"): one for pattern, one in found.quantization_config.items()}


class mapping:
    SYMMETRIC, ASYMMETRIC = "symmetric", "asymmetric"


def test_every_matrix_of_a_block_has_its_configuration() -> None:
    """As in the plan; None, or no expression, of what stays as it is; none of the shell."""
    formats = plan(MOST, OTHERS)
    text = torchao(formats).text
    patterns = stood_in(text)
    found = first(patterns, exactly, formats)
    integers, groups = "IntxWeightOnlyConfig", ("PerGroup", 32)
    # torch does not tell type checkers of all its dtypes.
    three, four = (getattr(torch, f"int{bits}") for bits in (3, 4))
    expected = {
        MOST: (integers, four, groups, "symmetric"),
        OTHERS["mlp.down_proj"]: (integers, torch.int8, ("PerAxis", 0), "symmetric"),
        OTHERS["1"]: (integers, three, groups, "asymmetric"),
        OTHERS["0.self_attn"]: ("Float8WeightOnlyConfig",),
    }
    for name, format_ in formats.items():
        assert found.get(name) == expected.get(format_)
    assert not any("embed" in pattern for pattern in patterns)
    assert text.startswith("# torchao, not as in the plan: nf4 (3 matrices) stays as it is.\n")


@pytest.mark.parametrize(
    ("format_", "told"),
    [
        ("rtn:bits=4,group=32", "is rtn:bits=4,group=32,convention=gptq"),
        ("gptq:bits=4,group=32,symmetric=false", "is rtn:bits=4,group=32,symmetric=false"),
        ("fp8", "every format as in the plan"),
        ("w8a8", "has -128 too"),
        ("fp8:scope=tensor", "stays as it is"),
        ("nvfp4", "stays as it is"),
    ],
)
def test_what_it_has_not_is_said(format_: str, told: str) -> None:
    """In the first line."""
    assert told in torchao(plan(format_, {})).text.split("\n")[0]


@pytest.mark.against
@pytest.mark.parametrize("format_", [MOST, *OTHERS.values()])
def test_the_library_makes_the_same_weights(format_: str) -> None:
    """Of one matrix by the fragment's configuration, but where a weight lies halfway."""
    library = pytest.importorskip("torchao.quantization", reason="torchao is absent")
    config = run(torchao(plan(MOST, OTHERS)).text).quantization_config.quant_type
    assert isinstance(config, library.FqnToConfig)
    name = next(name for name, one in plan(MOST, OTHERS).items() if one == format_)
    weight = torch.randn(32, 128, generator=torch.Generator().manual_seed(0))
    model = nn.Module()
    place = model
    for part in name.split(".")[:-1]:
        place.add_module(part, nn.Module())
        place = place.get_submodule(part)
    linear = nn.Linear(128, 32, bias=False)
    linear.weight.data = weight.clone()
    place.add_module(name.rpartition(".")[2], linear)
    library.quantize_(model, config, filter_fn=None)
    theirs = model.get_submodule(name).weight
    if format_ in ("keep", "nf4"):
        assert torch.equal(theirs, weight)
        return
    made = parse_spec(format_).compress(MatrixGroup([LinearMap("a", weight)], 0))[0].weight
    assert ((theirs.dequantize() - made).abs() < 1e-5).float().mean() > 0.99
    assert isinstance(config.fqn_to_config, dict | OrderedDict)
