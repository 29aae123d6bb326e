"""What is pasted into another tool so that it makes a plan, and how it says what it cannot."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bitlens.compression.compression import Compression
from bitlens.compression.mixture import KEEP, of_a_block
from bitlens.compression.spec import format_spec, parse_spec
from bitlens.errors import in_one_line
from bitlens.results.counts import count


@dataclass(frozen=True)
class Fragment:
    """A text to paste."""

    tool: str
    file: str
    """What a file with it may be called."""
    text: str
    """The first line is a comment that names what is not as in the plan, and what is there instead;
    it is all there is where the tool has nothing that the plan asks for."""


@dataclass(frozen=True)
class Put:
    """What a tool has for a compression."""

    setting: str | None
    """As it stands in the fragment; None: the matrix stays as it is."""
    instead: str = ""
    """What that is, mostly in words of ours; empty where it is what the plan has."""


ABSENT = Put(None, "stays as it is")
FUSED = Put(None, "stays as it is, because these experts are one parameter and no module")
FULL = "has -128 too, and 127.5 steps to the largest"
"""Of whole numbers of eight bits, what tools make of those that end at -127 and 127 here."""


@dataclass(frozen=True)
class Laid:
    """A plan by the settings of a tool."""

    matrices: dict[str, list[str]]
    """What gets each setting, the most frequent first."""
    kept: list[str]
    """What stays as it is, in the plan or for want of a setting."""
    comment: str
    """The first line."""

    @property
    def kept_of_blocks(self) -> list[str]:
        """For tools that leave embeddings and unembeddings alone unasked."""
        return [name for name in self.kept if of_a_block(name)]


def laid(
    tool: str,
    formats: Mapping[str, str],
    put: Callable[[Compression], Put],
    shell: bool = False,
    modules: bool = True,
) -> Laid:
    """The compressions of these matrices, by full module paths, as settings of a tool. Without
    `shell` it compresses matrices of blocks only; with `modules` it finds matrices by their
    modules, so that experts which are one parameter stay as they are."""
    known = {text: parse_spec(text) for text in set(formats.values()) - {KEEP}}
    placed = {text: (put(one), format_spec(one)) for text, one in known.items()}
    found: defaultdict[str, list[str]] = defaultdict(list)
    kept: list[str] = []
    changed: Counter[tuple[str, str]] = Counter()
    for name, text in formats.items():
        if text == KEEP:
            kept.append(name)
            continue
        here, spec = placed[text] if shell or of_a_block(name) else (ABSENT, name)
        if modules and _fused(name):
            here = FUSED
        if here.setting is None:
            kept.append(name)
        else:
            found[here.setting].append(name)
        if here.instead:
            # What else has its format may have its place: an embedding is told by its name.
            changed[spec if of_a_block(name) else name, here.instead] += 1
    order = sorted(found, key=lambda setting: (-len(found[setting]), setting))
    told = [
        f"{what} ({count(number, 'matrix')}) {instead}"
        for (what, instead), number in changed.items()
    ]
    comment = f"not as in the plan: {'; '.join(told)}." if told else "every format as in the plan."
    return Laid(
        {setting: found[setting] for setting in order}, kept, in_one_line(f"# {tool}, {comment}")
    )


def _fused(name: str) -> bool:
    """Whether a path ends in a parameter of all experts: `mlp.experts.gate_up_proj`."""
    return name.split(".")[-2:-1] == ["experts"]


def becomes(put: Compression, plan: Compression) -> str:
    """How it is said that one compression stands for another; nothing where they are the same."""
    return "" if put == plan else f"is {format_spec(put)}"


def regexes(names: Iterable[str]) -> list[str]:
    """Regular expressions that match these module paths whole, and no others: one for all that
    differ in the number of their block, and of these one for all that are in the same blocks."""
    blocks: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    alone = []
    for name in names:
        match = re.fullmatch(r"(.*?\.)(\d+)\.(.+)", name)
        if match:
            blocks[match[1], match[3]].append(match[2])
        else:
            alone.append(re.escape(name))
    ends: defaultdict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (start, end), numbers in blocks.items():
        ends[start, tuple(sorted(numbers, key=int))].append(end)
    return [
        rf"{re.escape(start)}{_one_of(numbers)}\.{_one_of(map(re.escape, found))}"
        for (start, numbers), found in ends.items()
    ] + alone


def _one_of(texts: Iterable[str]) -> str:
    found = list(texts)
    return found[0] if len(found) == 1 else f"({'|'.join(found)})"
