"""A recipe of llm-compressor: groups of matrices by regular expression, each with a scheme of
compressed-tensors."""

import json
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
from bitlens.compression.methods.gptq import Gptq
from bitlens.compression.methods.microscaling import Microscaling, Mxfp4, Mxfp6, Mxfp8
from bitlens.compression.methods.nvfp4 import Nvfp4
from bitlens.compression.methods.w8a8 import Fp8, ScaledEightBits, W8a8

TOOL = "llm-compressor"
_ROUNDING, _GPTQ = "QuantizationModifier", "GPTQModifier"


def llm_compressor(formats: Mapping[str, str]) -> Fragment:
    """A recipe in YAML. What is calibrated by GPTQ stands under its modifier, all else is rounded;
    of AWQ and HQQ the grid is left."""
    plan = laid(TOOL, formats, _put, shell=True)
    lines = [plan.comment]
    if plan.matrices:
        lines += ["quantization_stage:", "  quantization_modifiers:"]
    number = 0
    for modifier in (_ROUNDING, _GPTQ):
        settings = [s for s in plan.matrices if s.startswith(modifier)]
        if not settings:
            continue
        lines.append(f"    {modifier}:")
        # Left out, columns would be taken in the order of their activations.
        lines += ["      actorder: null"] if modifier == _GPTQ else []
        if plan.kept:
            lines += ["      ignore:", *_listed(plan.kept, 8)]
        lines.append("      config_groups:")
        for setting in settings:
            lines += [f"        group_{number}:", "          targets:"]
            lines += _listed(plan.matrices[setting], 12)
            lines += [f"          {part}" for part in setting.split("\n")[1:]]
            number += 1
    return Fragment(TOOL, "recipe.yaml", "\n".join(lines) + "\n")


def _listed(names: list[str], indent: int) -> list[str]:
    # Its expressions are matched from the beginning, and not to the end.
    return [f"{' ' * indent}- {json.dumps(f're:{one}$')}" for one in regexes(names)]


def _put(compression: Compression) -> Put:
    grid = whole_numbers(compression)
    if grid is not None:
        by_gptq = isinstance(compression, Gptq)
        arguments = {"num_bits": grid.bits, "type": "int", "symmetric": grid.symmetric}
        arguments |= (
            {"strategy": "group", "group_size": grid.group}
            if grid.group
            else {"strategy": "channel"}
        )
        made = grid.calibrated if by_gptq else grid.rounded
        return _scheme(_GPTQ if by_gptq else _ROUNDING, arguments, becomes(made, compression))
    if isinstance(compression, ScaledEightBits):
        return _eight_bits(compression)
    if isinstance(compression, Microscaling):
        return _microscaling(compression)
    if isinstance(compression, Nvfp4):
        weights = _blocks(4, "tensor_group", 16, "float8_e4m3fn")
        inputs = {**weights, "dynamic": "local", "observer": "static_minmax"}
        if compression.activations == "none":
            return _scheme(_ROUNDING, weights, "")
        instead = becomes(Nvfp4(activations="tensor"), compression)
        return _scheme(_ROUNDING, weights, instead, inputs)
    return ABSENT


def _eight_bits(compression: ScaledEightBits) -> Put:
    number = "float" if isinstance(compression, Fp8) else "int"
    kind: dict[str, object] = {"num_bits": 8, "type": number, "symmetric": True}
    strategies = {"row": "channel", "tensor": "tensor", "block": "block"}
    weights = {**kind, "strategy": strategies[compression.scope]}
    if compression.scope == "block":
        weights["block_structure"] = [128, 128]
    inputs = {
        "none": {},
        "token": {**kind, "strategy": "token", "dynamic": True},
        "tensor": {**kind, "strategy": "tensor", "dynamic": False},
        "block": {**kind, "strategy": "group", "group_size": 128, "dynamic": True},
    }[compression.activations]
    instead = ""
    if isinstance(compression, W8a8):
        instead = FULL
    elif isinstance(compression, Fp8):
        made = Fp8(scope=compression.scope, activations=compression.activations)
        instead = becomes(made, compression)
    return _scheme(_ROUNDING, weights, instead, inputs)


def _microscaling(compression: Microscaling) -> Put:
    bits, kind = next(
        found for found in ((4, Mxfp4), (6, Mxfp6), (8, Mxfp8)) if isinstance(compression, found[1])
    )
    weights = _blocks(bits, "group", 32, "uint8")
    inputs = {**weights, "dynamic": True} if compression.activations == "block" else {}
    made = kind(activations=compression.activations)
    return _scheme(_ROUNDING, weights, becomes(made, compression), inputs)


def _blocks(bits: int, strategy: str, group: int, scales: str) -> dict[str, object]:
    return {
        "num_bits": bits,
        "type": "float",
        "symmetric": True,
        "strategy": strategy,
        "group_size": group,
        "scale_dtype": f"torch.{scales}",
        "zp_dtype": f"torch.{scales}",
    }


def _scheme(
    modifier: str,
    weights: Mapping[str, object],
    instead: str,
    inputs: Mapping[str, object] | None = None,
) -> Put:
    """YAML takes JSON for a mapping in one line."""
    lines = [modifier, f"weights: {json.dumps(weights)}"]
    if inputs:
        lines.append(f"input_activations: {json.dumps(inputs)}")
    return Put("\n".join(lines), instead)
