"""Ways to make a twin, one a file; importing the package registers them."""

from bitlens.compress import (
    awq,
    cast,
    checkpoint,
    codebook,
    controls,
    folded,
    fp8,
    gguf,
    gptq,
    hqq,
    int8,
    mixed,
    prune,
    quip,
    rtn,
    smoothquant,
    squeezellm,
)
from bitlens.compress.text import format, parse

__all__ = [
    "awq",
    "cast",
    "checkpoint",
    "codebook",
    "controls",
    "folded",
    "format",
    "fp8",
    "gguf",
    "gptq",
    "hqq",
    "int8",
    "mixed",
    "parse",
    "prune",
    "quip",
    "rtn",
    "smoothquant",
    "squeezellm",
]
