"""Names of places in a model: ours, and those of other tools resolved to ours."""

import difflib
import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitlens.errors import InputError
from bitlens.registry import nearest
from bitlens.results.counts import count

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

KINDS = ("resid", "attn", "mlp", "heads", "neurons", "pattern")
"""Kinds of sites every block has; `embed` and `logits` exist once."""

WRITTEN = "written"
"""What the heads of a block write, head by head. Nobody names it: it is read, and shown, where
`heads` is."""

_TRANSFORMER_LENS = {
    "hook_resid_post": "resid",
    "hook_out": "resid",
    "hook_attn_out": "attn",
    "hook_mlp_out": "mlp",
    "attn.hook_z": "heads",
    "attn.hook_pattern": "pattern",
    "mlp.hook_post": "neurons",
}
_FOLDERS = {
    r"layer_(\d+)(?:/.+)?": "resid",
    r"resid(?:_post|_out)?_layer_?(\d+)": "resid",
    r"resid_pre_layer_?(\d+)": "resid_pre",
    r"attn(?:_out)?_layer_?(\d+)": "attn",
    r"mlp(?:_out)?_layer_?(\d+)": "mlp",
}
"""How Gemma Scope (the residual stream's) and dictionary_learning call folders of SAEs."""


@dataclass(frozen=True)
class Site:
    """A named place; `depth` is the block that makes it (-1 for the embedding)."""

    kind: str
    depth: int

    @property
    def name(self) -> str:
        """As the site is written: `resid.3`, `embed`, `logits`."""
        return self.kind if self.kind in ("embed", "logits") else f"{self.kind}.{self.depth}"


def site(name: str) -> Site:
    """The site of one of our own canonical names (`resid.3`)."""
    kind, _, depth = name.partition(".")
    return Site(kind, int(depth) if depth else (-1 if kind == "embed" else 1 << 30))


def shown_as(name: str) -> str:
    """The site under which what is read at one is selected and shown."""
    return f"heads.{site(name).depth}" if site(name).kind == WRITTEN else name


def all_sites(layout: "Layout", kinds: tuple[str, ...] = KINDS) -> list[str]:
    """Every block's sites of these kinds, in the order the sweep meets them."""
    return [f"{kind}.{n}" for n in range(layout.depth) for kind in kinds]


def resolve(pattern: str, layout: "Layout") -> list[str]:
    """Which sites does a user's name mean? Shell patterns of our names (`resid.*`), Python's slices
    of block numbers (`resid.::4` every fourth, `resid.-2:` the last two, `resid.-1` the last), the
    names of TransformerLens (`blocks.6.hook_resid_post`), module paths (`model.layers.6`, `h.6`)
    and folders of published SAEs (`layer_12/width_16k/average_l0_82`, `resid_post_layer_3`).

    Raises BitlensError for names that mean nothing here, with the nearest that do.
    """
    known = ["embed", *all_sites(layout), "logits"]
    matched = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
    matched = matched or _from_slice(pattern, layout.depth)
    if matched:
        return matched
    foreign = (
        _from_transformer_lens(pattern)
        or _from_module_path(pattern, layout)
        or _from_folder(pattern)
    )
    if foreign in known:
        return [foreign]
    raise InputError(
        f"There is no site {pattern!r} in a model of {count(layout.depth, 'block')}.",
        f"embed, logits, or one of {', '.join(KINDS)} with a block number from 0 to "
        f"{layout.depth - 1} (resid.{layout.depth - 1}, attn.*, resid.::4), or a name such as "
        f"blocks.0.hook_resid_post or {layout.block_name(0)}.",
        _meant(pattern, known) or "resid.*",
    )


def _meant(pattern: str, known: list[str]) -> str:
    """Which name did a misspelt one probably mean? Of a misspelt kind, the same places of the right
    one: `resid.*` for `residd.*`."""
    kind, _, places = pattern.partition(".")
    close = difflib.get_close_matches(kind, KINDS, n=1)
    if places and close and kind not in KINDS:
        return f"Did you mean {close[0]}.{places}?"
    return nearest(pattern, known)


def hook_of(name: str) -> str:
    """What does TransformerLens call one of our sites? `blocks.3.hook_resid_post` for resid.3."""
    place = site(name)
    hooks = {kind: hook for hook, kind in reversed(_TRANSFORMER_LENS.items())}
    return "hook_embed" if place.kind == "embed" else f"blocks.{place.depth}.{hooks[place.kind]}"


def _from_slice(pattern: str, depth: int) -> list[str]:
    """In the order of the blocks, whichever way the slice counts; none where it is empty."""
    match = re.fullmatch(r"(\w+|\*)\.(-\d+|-?\d*:-?\d*(?::-?\d*)?)", pattern)
    if not match:
        return []
    if ":" not in match[2]:
        numbers = [n for n in range(depth) if n - depth == int(match[2])]
    else:
        begin, end, step = (int(n) if n else None for n in f"{match[2]}:".split(":")[:3])
        numbers = [] if step == 0 else list(range(depth)[begin:end:step])
    return [f"{kind}.{n}" for n in sorted(numbers) for kind in KINDS if match[1] in (kind, "*")]


def _from_transformer_lens(name: str) -> str | None:
    if name == "hook_embed":
        return "embed"
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name) or re.fullmatch(r"(resid_pre)\.(\d+)", name)
    if not match:
        return None
    if match[1] == "resid_pre" or match[2] == "hook_resid_pre":
        return _before(int(match[2] if match[1] == "resid_pre" else match[1]))
    kind = _TRANSFORMER_LENS.get(match[2])
    return f"{kind}.{int(match[1])}" if kind else None


def _before(depth: int) -> str:
    """What goes into this block."""
    return f"resid.{depth - 1}" if depth else "embed"


def _from_folder(name: str) -> str | None:
    for pattern, kind in _FOLDERS.items():
        match = re.fullmatch(pattern, name)
        if match:
            depth = int(match[1])
            return _before(depth) if kind == "resid_pre" else f"{kind}.{depth}"
    return None


def _from_module_path(name: str, layout: "Layout") -> str | None:
    """A module's site is its output; sparsify leaves out the model's own name: `layers.6`."""
    parts = layout.blocks_path.split(".")
    for prefix in (".".join(parts[n:]) for n in range(len(parts))):
        match = re.fullmatch(rf"{re.escape(prefix)}\.(\d+)(?:\.(.+))?", name)
        if match and int(match[1]) < layout.depth:
            depth = int(match[1])
            block = layout.block_layouts[depth]
            kind = {None: "resid", block.attention: "attn", block.pattern: "attn", block.mlp: "mlp"}
            return f"{kind[match[2]]}.{depth}" if match[2] in kind else None
    return None
