"""Settings of AutoRound: a scheme for most matrices, and `layer_config` for the others."""

from collections.abc import Mapping

from bitlens.compression.compression import Compression
from bitlens.compression.handover.fragment import ABSENT, Fragment, Put, laid
from bitlens.compression.handover.grids import whole_numbers
from bitlens.compression.methods.microscaling import Microscaling, Mxfp4, Mxfp8
from bitlens.compression.methods.nvfp4 import Nvfp4

TOOL = "AutoRound"
_TUNED = "has its rounding tuned"
_KEPT = "bits=16, data_type='float', act_bits=16, act_data_type='float'"


def auto_round(formats: Mapping[str, str]) -> Fragment:
    """Python: a base scheme and a `layer_config` by full names. Which of two neighbours a weight
    is rounded to is tuned, whatever the plan's method was."""
    plan = laid(TOOL, formats, _put)
    lines = [plan.comment]
    if plan.matrices:
        base, *others = plan.matrices
        lines += ["from auto_round import AutoRound", "", "layer_config = {}"]
        for setting in others:
            lines += _assigned(setting, plan.matrices[setting])
        lines += _assigned(_KEPT, plan.kept_of_blocks)
        lines += [f"scheme = dict({base})"]
        lines += ["# AutoRound(model, tokenizer, scheme=scheme, layer_config=layer_config)"]
    return Fragment(TOOL, "layer_config.py", "\n".join(lines) + "\n")


def _assigned(setting: str, names: list[str]) -> list[str]:
    if not names:
        return []
    listed = [f"    {name!r}," for name in names]
    return ["for name in [", *listed, "]:", f"    layer_config[name] = dict({setting})"]


def _put(compression: Compression) -> Put:
    grid = whole_numbers(compression)
    if grid is not None:
        # 8-bit codes with a zero point are refused: no runtime serves them.
        symmetric = grid.symmetric or grid.bits == 8
        told = _TUNED if symmetric == grid.symmetric else f"is symmetric and {_TUNED}"
        setting = f"bits={grid.bits}, group_size={grid.group or -1}, sym={symmetric}"
        return Put(f"{setting}, data_type='int', act_bits=16", told)
    if isinstance(compression, Mxfp4 | Mxfp8):
        return _floats(4 if isinstance(compression, Mxfp4) else 8, 32, "mx_fp", compression)
    if isinstance(compression, Nvfp4) and compression.activations != "token":
        return _floats(4, 16, "nv_fp", compression)
    return ABSENT


def _floats(bits: int, group: int, kind: str, compression: Microscaling | Nvfp4) -> Put:
    setting = f"bits={bits}, group_size={group}, sym=True, data_type={kind!r}"
    if compression.activations == "none":
        return Put(f"{setting}, act_bits=16", _TUNED)
    inputs = f"act_bits={bits}, act_group_size={group}, act_sym=True, act_dynamic=True"
    of_inputs = "nv_fp4_with_static_gs" if kind == "nv_fp" else kind
    return Put(f"{setting}, {inputs}, act_data_type={of_inputs!r}", _TUNED)
