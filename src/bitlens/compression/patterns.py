"""Shell patterns of module paths, and the matrices that a compression takes by them."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from bitlens.compression.compression import Compression
from bitlens.errors import BitlensError, InputError


def targets(names: Sequence[str], default: Iterable[str], compression: Compression) -> list[str]:
    """The matrices of a model that this compression takes, in the order of `names`.

    `names` are the module paths of all matrices, `default` those taken when nothing is included
    by pattern, or by `*`: the matrices of blocks, without routers. A pattern that matches nothing
    is refused.
    """
    for pattern in (*compression.include, *compression.exclude):
        if not any(matches(name, pattern) for name in names):
            raise _refused(f"The pattern {pattern!r} matches no matrix.", names)
    included = _matched(names, (p for p in compression.include if p != "*"))
    if not compression.include or "*" in compression.include:
        included |= set(default)
    chosen = included - _matched(names, compression.exclude)
    if not chosen:
        raise _refused("The patterns leave no matrix to compress.", names)
    return [name for name in names if name in chosen]


def left_alone(module: str, kind: str, compression: Compression) -> str:
    """Why is this module not among the targets? For the table of what was compressed."""
    if any(matches(module, pattern) for pattern in compression.exclude):
        return "left alone: excluded"
    if kind == "block" and compression.include:
        return "left alone: no pattern matches"
    return f"left alone: {kind}"


def matches(name: str, pattern: str) -> bool:
    """Does a shell pattern match this module path, or any tail of it that starts at a dot?"""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _matched(names: Iterable[str], patterns: Iterable[str]) -> set[str]:
    chosen = list(patterns)
    return {name for name in names if any(matches(name, pattern) for pattern in chosen)}


def _refused(found: str, names: Sequence[str]) -> BitlensError:
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return InputError(
        found,
        f"shell patterns of whole module paths or of their ends; there are {len(names)}: {shown}.",
        f"exclude=[*.{names[-1].rpartition('.')[2]}]",
    )
