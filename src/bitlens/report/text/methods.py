"""What the name of a compression's method says, in a few plain words."""

from bitlens.report.text.numbers import figure

METHODS = {
    "awq": "AWQ: columns that matter are made larger, then rounded",
    "cast": "stored in a smaller floating-point type",
    "checkpoint": "made elsewhere, read from its files",
    "folded": "norms folded into the weights first",
    "fp4": "four-bit floats",
    "fp8": "eight-bit floats, weights and inputs",
    "gguf": "block formats of llama.cpp",
    "gptq": "GPTQ: rounded column by column, later ones make up",
    "hqq": "HQQ: rounded, zero points where the error is least",
    "int8": "LLM.int8: outliers apart from the rest",
    "kv": "keys and values in few bits",
    "mixed": "matrices compressed differently",
    "mxfp4": "four-bit floats, 32 to a power of two",
    "mxfp6": "six-bit floats, 32 to a power of two",
    "mxfp8": "eight-bit floats, 32 to a power of two",
    "nf4": "NormalFloat: sixteen quantiles of a normal distribution",
    "noise": "random noise as large as another's error",
    "nothing": "nothing changed at all",
    "nvfp4": "four-bit floats, 16 to an eight-bit scale",
    "prune": "weights that matter least set to zero",
    "quip": "QuIP: rounded in a random basis",
    "rotated": "compressed in a rotated basis",
    "rtn": "round to nearest",
    "smoothquant": "SmoothQuant: hard inputs eased, then eight bits",
    "squeezellm": "SqueezeLLM: a few values a row, outliers apart",
    "w8a8": "eight-bit whole numbers, weights and inputs",
}
"""By the name that a compression's text form begins with. A plug-in's has none."""


def spelt_out(compression: str) -> str:
    """`rtn:bits=4` is `round to nearest`; empty where the method is not one of bitlens' own."""
    return METHODS.get(compression.partition(":")[0], "")


def smaller(whole: int, own: int | None) -> str:
    """`2.84 times smaller`; empty where nothing was stored, or in no less."""
    return f"{figure(whole / own)} times smaller" if own and own < whole else ""
