"""Refusals of a model that is not whole: every parameter has its weights, and every tensor of its
files a parameter.

What is missing transformers makes up at random, and what it does not know it passes over.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bitlens.errors import ModelError

_BUFFERS = re.compile(
    r"(^|\.)(rotary(_emb)?\.inv_freq|(self_)?attn(\.attention)?\.(masked_)?bias"
    r"|(self_)?attention\.(masked_)?bias|causal_mask|position_ids)$"
)
"""What older libraries saved beside the weights: masks and frequencies, which follow from the
configuration."""
_EXPECTED = "a tensor for every parameter of the model, of its shape, and no others."
_NAMED = 4


def require_complete(name: str, report: Mapping[str, Any]) -> None:
    """`report`: what `from_pretrained` says with `output_loading_info`. Tied weights, and what a
    family says it can do without, it has left out already. ModelError for weights that are missing,
    of another shape, or too many."""
    unexpected = [key for key in report["unexpected_keys"] if not _BUFFERS.search(key)]
    reshaped = [
        f"{key} ({list(found)} instead of {list(expected)})"
        for key, found, expected in report["mismatched_keys"]
    ]
    missing = report["missing_keys"]
    if missing:
        also = f"; what it holds besides: {listed(unexpected)}" if unexpected else ""
        raise ModelError(
            f"{name} has no weights for {listed(missing)}{also}.",
            _EXPECTED,
            _about_prefix(missing, unexpected)
            or "fetch all of its files again. A model without its head (an embedding or a reward "
            "model) is no language model.",
        )
    if reshaped:
        raise ModelError(
            f"{name} has weights of other shapes than its config.json says: {listed(reshaped)}.",
            _EXPECTED,
            "fetch config.json and the weights again: they are of two models.",
        )
    if unexpected:
        raise ModelError(
            f"{name} holds tensors that its architecture does not know: {listed(unexpected)}.",
            _EXPECTED,
            "the model as it was published: another config.json, or weights that something was "
            "added to (scales of a quantization, adapters, heads).",
        )


def require_joined(name: str, report: str) -> None:
    """`report`: the table that transformers prints, where it could not make one parameter of
    several tensors (an expert each); what it then raises names none."""
    rows = [line.split("|") for line in report.splitlines() if "CONVERSION" in line]
    parameters = [row[0].strip() for row in rows if len(row) > 1]
    if parameters:
        raise ModelError(
            f"{name} lacks some of the tensors that {listed(parameters)} is made of, or has them "
            "in other shapes.",
            _EXPECTED,
            "fetch all of its files again.",
        )


def listed(names: Collection[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


def _about_prefix(missing: Collection[str], unexpected: Sequence[str]) -> str:
    """Do all names begin with the same word too many, as when a wrapper was saved?"""
    words = unexpected[0].split(".") if unexpected else []
    for number in range(1, len(words)):
        prefix = ".".join(words[:number]) + "."
        if {key.removeprefix(prefix) for key in unexpected} >= set(missing):
            return (
                f"every name begins with {prefix!r}: save the model that is inside the wrapper, "
                "or take that off the names."
            )
    return ""
