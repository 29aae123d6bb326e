"""Settings of GPTQModel: a base for most matrices, and `dynamic` for the others by regular
expression."""

from collections.abc import Mapping

from bitlens.compression.compression import Compression
from bitlens.compression.handover.fragment import ABSENT, Fragment, Put, becomes, laid, regexes
from bitlens.compression.handover.grids import whole_numbers

TOOL = "GPTQModel"


def gptqmodel(formats: Mapping[str, str]) -> Fragment:
    """Python: a `QuantizeConfig`. The most frequent setting is the base; what stays as it is has a
    pattern that begins with `-:`. Everything is calibrated by GPTQ, plain rounding too."""
    plan = laid(TOOL, formats, _put)
    lines = [plan.comment]
    if plan.matrices:
        base, *others = plan.matrices
        lines += ["from gptqmodel import QuantizeConfig", "", "quantize_config = QuantizeConfig("]
        lines += [f"    {part}," for part in base.split(", ")]
        lines += ["    desc_act=False,", "    act_group_aware=False,", "    damp_percent=0.01,"]
        dynamic = [
            f"        {f'+:^{one}$'!r}: dict({setting}),"
            for setting in others
            for one in regexes(plan.matrices[setting])
        ]
        dynamic += [f"        {f'-:^{one}$'!r}: {{}}," for one in regexes(plan.kept_of_blocks)]
        lines += ["    dynamic={", *dynamic, "    },", ")"] if dynamic else [")"]
    return Fragment(TOOL, "quantize_config.py", "\n".join(lines) + "\n")


def _put(compression: Compression) -> Put:
    grid = whole_numbers(compression)
    if grid is None:
        return ABSENT
    setting = f"bits={grid.bits}, group_size={grid.group or -1}, sym={grid.symmetric}"
    return Put(setting, becomes(grid.calibrated, compression))
