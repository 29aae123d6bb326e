"""Settings of torchao in transformers: a configuration for each regular expression."""

from collections.abc import Mapping

from bitlens.compression.compression import Compression
from bitlens.compression.handover.fragment import (
    ABSENT,
    FULL,
    Fragment,
    Put,
    becomes,
    laid,
    regexes,
)
from bitlens.compression.handover.grids import whole_numbers
from bitlens.compression.methods.w8a8 import Fp8, W8a8

TOOL = "torchao"
_NAMES = (
    "Float8DynamicActivationFloat8WeightConfig",
    "Float8WeightOnlyConfig",
    "FqnToConfig",
    "Int8DynamicActivationInt8WeightConfig",
    "IntxWeightOnlyConfig",
    "MappingType",
    "PerAxis",
    "PerGroup",
    "PerRow",
)


def torchao(formats: Mapping[str, str]) -> Fragment:
    """Python: an `FqnToConfig`, which older versions call `ModuleFqnToConfig`. Everything is plain
    rounding; what no expression matches stays as it is, and so do those with None."""
    plan = laid(TOOL, formats, _put)
    lines = [plan.comment]
    if plan.matrices:
        text = "\n".join(plan.matrices)
        names = [name for name in _NAMES if name in text or name == "FqnToConfig"]
        lines += ["import torch", f"from torchao.quantization import {', '.join(names)}"]
        lines += ["from transformers import TorchAoConfig", ""]
        lines += ["quantization_config = TorchAoConfig(", "    FqnToConfig(", "        {"]
        for setting, matrices in [*plan.matrices.items(), ("None", plan.kept_of_blocks)]:
            lines += [f"            {f're:{one}'!r}: {setting}," for one in regexes(matrices)]
        lines += ["        }", "    )", ")"]
    return Fragment(TOOL, "quantization_config.py", "\n".join(lines) + "\n")


def _put(compression: Compression) -> Put:
    grid = whole_numbers(compression)
    if grid is not None:
        scales = f"PerGroup({grid.group})" if grid.group else "PerAxis(0)"
        mapping = "SYMMETRIC" if grid.symmetric else "ASYMMETRIC"
        setting = (
            f"IntxWeightOnlyConfig(weight_dtype=torch.int{grid.bits}, granularity={scales},"
            f" mapping_type=MappingType.{mapping})"
        )
        return Put(setting, becomes(grid.rounded, compression))
    if isinstance(compression, Fp8) and (compression.scope, compression.dtype) == (
        "row",
        "float8_e4m3fn",
    ):
        if compression.activations == "none":
            return Put("Float8WeightOnlyConfig()")
        if compression.activations == "token":
            return Put("Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())")
    if compression == W8a8():
        return Put("Int8DynamicActivationInt8WeightConfig()", FULL)
    return ABSENT
