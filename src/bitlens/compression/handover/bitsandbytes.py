"""Settings of bitsandbytes in transformers: one format for the model, and what is skipped."""

from collections.abc import Callable, Mapping

from bitlens.compression.compression import Compression
from bitlens.compression.handover.fragment import ABSENT, Fragment, Laid, Put, becomes, laid
from bitlens.compression.handover.grids import whole_numbers
from bitlens.compression.methods.codebook import Codebook, Fp4, Nf4
from bitlens.compression.methods.int8 import Int8
from bitlens.compression.methods.w8a8 import ScaledEightBits

TOOL = "bitsandbytes"
UNEMBEDDING = "lm_head"
"""It is compressed where it is not named, and of tied matrices the plan names the embedding."""
_FOUR, _EIGHT = "load_in_4bit", "load_in_8bit"


def bitsandbytes(formats: Mapping[str, str]) -> Fragment:
    """Python: a `BitsAndBytesConfig`. It has one format for all: the one that stands for most
    matrices of the plan; the others stay as they are."""
    most = next(iter(laid(TOOL, formats, _put).matrices), None)
    plan = laid(TOOL, formats, _only(most))
    lines = [plan.comment]
    if most is not None:
        lines += ["from transformers import BitsAndBytesConfig", ""]
        lines += ["quantization_config = BitsAndBytesConfig("]
        lines += [f"    {part}," for part in most.split(", ")]
        lines += ["    llm_int8_skip_modules=[", *_skipped(plan), "    ],", ")"]
    return Fragment(TOOL, "quantization_config.py", "\n".join(lines) + "\n")


def _skipped(plan: Laid) -> list[str]:
    return [f"        {name!r}," for name in dict.fromkeys([*plan.kept, UNEMBEDDING])]


def _only(setting: str | None) -> Callable[[Compression], Put]:
    def put(compression: Compression) -> Put:
        found = _put(compression)
        return found if found.setting == setting else ABSENT

    return put


def _put(compression: Compression) -> Put:
    if isinstance(compression, Codebook):
        kind = type(compression)
        made = kind(double=compression.double)
        return _four(made, compression)
    if isinstance(compression, Int8):
        setting = f"{_EIGHT}=True, llm_int8_threshold={compression.threshold!r}"
        return Put(setting)
    grid = whole_numbers(compression)
    if grid is not None and grid.bits <= 4:
        return _four(Nf4(), compression)
    if (grid is not None and grid.bits == 8) or isinstance(compression, ScaledEightBits):
        return Put(f"{_EIGHT}=True, llm_int8_threshold=6.0", becomes(Int8(), compression))
    return ABSENT


def _four(made: Codebook, compression: Compression) -> Put:
    kind = "fp4" if isinstance(made, Fp4) else "nf4"
    setting = f"{_FOUR}=True, bnb_4bit_quant_type={kind!r}, bnb_4bit_use_double_quant={made.double}"
    return Put(setting, becomes(made, compression))
