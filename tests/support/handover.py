"""A plan for other tools, and what a fragment of Python says when it runs."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

KINDS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
NAMES = [f"model.layers.{block}.{kind}" for block in range(12) for kind in KINDS]


def plan(most: str, others: Mapping[str, str]) -> dict[str, str]:
    """Twelve blocks of a Llama in one format, its embedding and unembedding as they are, and
    others by the ends of their paths; a block by its number."""
    formats = dict.fromkeys(NAMES, most) | dict.fromkeys(("model.embed_tokens", "lm_head"), "keep")
    for end, format_ in others.items():
        found = [name for name in formats if f".{name}.".find(f".{end}.") >= 0]
        assert found, end
        formats |= dict.fromkeys(found, format_)
    return formats


def run(text: str, **modules: Mapping[str, Any]) -> SimpleNamespace:
    """The names that a fragment sets; `modules` stand in for libraries, by their names with `__`
    for dots."""
    stand_ins = {}
    for name, members in modules.items():
        module = ModuleType(name.replace("__", "."))
        module.__dict__.update(members)
        stand_ins[module.__name__] = module
    found: dict[str, Any] = {}
    with patch.dict(sys.modules, stand_ins):
        exec(text, found)
    return SimpleNamespace(**{k: v for k, v in found.items() if k != "__builtins__"})


def first(
    patterns: Mapping[str, Any], matching: Callable[[str, str], Any], names: Iterable[str]
) -> dict[str, Any]:
    """What the first pattern that matches says of each name; nothing of what none matches."""
    return {
        name: next(patterns[one] for one in patterns if matching(one, name))
        for name in names
        if any(matching(one, name) for one in patterns)
    }


def exactly(pattern: str, name: str) -> bool:
    """A regular expression that stands for the whole name."""
    return re.fullmatch(pattern, name) is not None
