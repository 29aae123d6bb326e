"""Settings of a compression, and the values that they may have."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bitlens.compression.compression import Compression
from bitlens.errors import BitlensError, InputError

Rules = tuple[tuple[str, Compression], ...]
"""Patterns of module paths, each with a compression. Written without the setting's name."""

DEEPEST = 8
"""Brackets within brackets; noise:like=[mixed:*=[rtn:bits=4]] has two."""
_DESCRIBED: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true"),
    int: ("a whole number", "4"),
    float: ("a finite number", "0.5"),
    str: (
        "text without spaces around it, whose brackets pair up; in brackets if it has commas",
        "[a,b]",
    ),
    tuple[str, ...]: ("shell patterns in brackets, with commas between them", "[*.q_proj,*.fc1]"),
    Rules: ("patterns, each with a compression in brackets", "*.fc1=[rtn:bits=8],*=[rtn:bits=4]"),
}


@dataclass(frozen=True)
class Setting:
    """A setting of a compression."""

    name: str
    type: Any
    """Of a value that is given; one whose default is None may be left out."""
    default: Any
    """`dataclasses.MISSING` where a value must be given."""

    @property
    def expected(self) -> str:
        """The values that it may have, in words."""
        if get_origin(self.type) is Literal:
            return f"one of {', '.join(get_args(self.type))}"
        if holds_compression(self.type):
            return "a compression in brackets"
        return _DESCRIBED[self.type][0]

    @property
    def example(self) -> str:
        """How is it written with one of these values?"""
        if get_origin(self.type) is Literal:
            return f"{self.name}={get_args(self.type)[0]}"
        if holds_compression(self.type):
            return f"{self.name}=[rtn:bits=4]"
        if self.type == Rules:
            return _DESCRIBED[Rules][1]
        return f"{self.name}={_DESCRIBED[self.type][1]}"

    def check(self, compression: str, value: object) -> None:
        """May it have this value in that compression? Raises where it may not."""
        left_out = value is None and self.default is None
        if not left_out and not _allowed(value, self.type):
            raise self.wrong(compression, value)

    def wrong(self, compression: str, value: object) -> BitlensError:
        """The error for a value that it may not have."""
        return InputError(
            f"{compression}: {self.name} is {value!r}.",
            f"{self.expected}.",
            f"{compression}:{self.example}",
        )


@cache
def settings_of(cls: type[Compression]) -> Mapping[str, Setting]:
    """The settings that this compression takes, by name, in canonical order: its own, then
    those that every compression has. Worked out once: the types of annotations take a while."""
    shared = {field.name for field in fields(Compression)}
    types = get_type_hints(cls)
    settings = [
        Setting(field.name, _given(types[field.name]), field.default)
        for field in sorted(fields(cls), key=lambda field: field.name in shared)
        if field.init
    ]
    return MappingProxyType({setting.name: setting for setting in settings})


def check(compression: Compression) -> None:
    """Has every setting a value it may have? For `__post_init__`: Python is held to the rules
    of the text form, so that whatever can be made can be written and read back."""
    for setting in settings_of(type(compression)).values():
        setting.check(compression.name, getattr(compression, setting.name))


def holds_compression(kind: Any) -> bool:
    """Is the value of a setting of this type another compression?"""
    return isinstance(kind, type) and issubclass(kind, Compression)


def split(text: str) -> list[str]:
    """The pieces between the commas that stand outside brackets; none in an empty text."""
    return list(_pieces(text)) if text else []


def pairs_up(text: str) -> bool:
    """Has every bracket its other half?"""
    try:
        split(text)
    except BitlensError:
        return False
    return True


def is_one_piece(text: Any) -> bool:
    """Can it stand between commas as it is?"""
    return isinstance(text, str) and pairs_up(text) and split(text) == [text]


def _pieces(text: str) -> Iterator[str]:
    depth = start = 0
    for place, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if depth < 0:
            break
        if depth > DEEPEST:
            raise InputError(
                f"{text[:40]!r}... has brackets more than {DEEPEST} deep.",
                "a compression, or one within another.",
                "noise:like=[rtn:bits=4]",
            )
        if character == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    if depth:
        raise InputError(
            f"The brackets in {text!r} do not pair up.",
            "a ] for every [, and a [ before every ].",
            "noise:like=[rtn:bits=4]",
        )
    yield text[start:].strip()


def _given(kind: Any) -> Any:
    """Of `float | None`, float."""
    kinds = [one for one in get_args(kind) if one is not NoneType]
    # A union with a Literal is of typing's own kind, one of classes of Python's.
    union = isinstance(kind, UnionType) or get_origin(kind) is Union
    return kinds[0] if union and len(kinds) == 1 else kind


def _allowed(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind == tuple[str, ...]:
        return isinstance(value, tuple) and all(is_one_piece(item) for item in value)
    if kind == Rules:
        return isinstance(value, tuple) and all(_is_rule(item) for item in value)
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) and value == value.strip() != "" and pairs_up(value)
    return isinstance(value, kind)


def _is_rule(value: Any) -> bool:
    if not (isinstance(value, tuple) and len(value) == 2):
        return False
    pattern, compression = value
    return is_one_piece(pattern) and "=" not in pattern and isinstance(compression, Compression)
