"""The text form of compressions: `rtn:bits=4,group=64`, `noise:like=[rtn:bits=4]`."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from re import fullmatch
from typing import Any

from bitlens.compression.compression import COMPRESSIONS, Compression
from bitlens.compression.spec_settings import (
    Rules,
    Setting,
    holds_compression,
    is_one_piece,
    pairs_up,
    settings_of,
    split,
)
from bitlens.errors import InputError
from bitlens.registry import nearest


def parse_spec(text: str) -> Compression:
    """The compression that is written as `name`, or `name:setting=value,setting=value`.

    Lists, nested compressions and text with commas stand in brackets; a positional setting may come
    first without its name; where there are rules, what is no setting is a pattern.
    `parse_spec(format(c)) == c` for every `c`. InputError for a setting that there is not, is given
    twice, is missing, or has no such value.
    """
    _refuse_foreign(text)
    name, _, written = text.strip().partition(":")
    cls = COMPRESSIONS[name]
    settings = settings_of(cls)
    values, pieces = _read_rules(cls, settings, split(written))
    for place, piece in enumerate(pieces):
        key, equals, value = (part.strip() for part in piece.partition("="))
        if cls.positional and place == 0 and key not in settings:
            key, equals, value = cls.positional, "=", piece
        if not equals:
            raise InputError(
                f"{name}: {piece!r} is not a setting with its value.",
                "setting=value, with a comma before the next; text with commas in brackets.",
                _example(name, settings),
            )
        if key not in settings:
            raise InputError(
                f"{name} has no setting called {key!r}.",
                f"one of {', '.join(settings)}.",
                nearest(key, settings) or _example(name, settings),
            )
        if key in values:
            raise InputError(f"{name}: {key} is given twice.", "one value.", f"{key}={value}")
        values[key] = _read(name, settings[key], value)
    for key, setting in settings.items():
        if setting.default is MISSING and key not in values:
            raise InputError(
                f"{name} is given without {key}.",
                f"{setting.expected}.",
                _example(name, settings),
            )
    return cls(**values)


_ELSEWHERE = (
    (r"(?:gguf:)?(q[458]_[01]|tq[12]_0|mxfp4)", "gguf:type={0}"),
    (r"(?:gguf:)?(q3_k_[sml]|q[45]_k_[sm])", "gguf:mix={0}"),
    (r"(?:gguf:)?(q[26]_k)", "gguf:mix={0}, or gguf:type={0}: every matrix alike"),
    (r"(?:gguf:)?(q[345]_k)", "gguf:mix={0}_m, or gguf:type={0}: every matrix alike"),
    (
        r"(?:gguf:)?i?q([1-8])_.*",
        "gguf:mix=q4_k_m, or checkpoint:FILE.gguf, a file that llama.cpp wrote: IQ-formats are not"
        " made here",
    ),
    (r"w8a8(?:[-_]int8)?", "w8a8, smoothquant, or int8 (LLM.int8)"),
    (r"w4a4|nvfp4[-_]?w4a4", "nvfp4:activations=tensor, or mxfp4:activations=block"),
    (r"nvfp4[-_]?(?:a16|w4a16)", "nvfp4"),
    (r"w8a8[-_]fp8|w8a16[-_]fp8|(?:fp|float)8.*", "fp8"),
    (r"w4a16|awq[-_]?int4", "awq:bits=4,group=128, gptq:bits=4,group=128 or rtn:bits=4,group=128"),
    (r"(?:load[-_]in[-_])4bit|bnb[-_]?4bit|qlora", "nf4"),
    (r"(?:load[-_]in[-_])8bit|bnb[-_]?8bit|bnb|bitsandbytes|llm\.int8(?:\(\))?", "int8"),
    (r"(?:w|u?int|i|)([2-8])(?:a16|[-_ ]?bits?)?", "rtn:bits={0},group=128"),
    (r"bf16|bfloat16", "cast:dtype=bfloat16"),
    (r"fp16|float16|f16|half", "cast:dtype=float16"),
    (r"[./~].*|.*\.(?:gguf|safetensors)", "checkpoint:PATH"),
)
"""How other tools call what is meant, in small letters, and what to write here."""


def _refuse_foreign(text: str) -> None:
    """What other tools write is refused with what it is called here, and so is a path that could
    be written nowhere."""
    name, _, written = text.strip().partition(":")
    if not text.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InputError(
            f"{text} holds bytes that are no UTF-8.",
            "a name that can be written down in results.",
            "rename that file or folder.",
        )
    if name in COMPRESSIONS and not (name == "gguf" and written and "=" not in written):
        return
    for pattern, here in _ELSEWHERE:
        if match := fullmatch(pattern, text.strip().lower()):
            raise InputError(
                f"{text!r} is no compression.",
                f"its name here, one of {', '.join(COMPRESSIONS)}, with its settings.",
                here.format(*match.groups()),
            )


def format_spec(compression: Compression) -> str:
    """How is this compression written? Only what differs from the defaults, in canonical order."""
    settings = settings_of(type(compression))
    written = [
        ("" if setting.type == Rules else f"{setting.name}=") + _write(value, setting.type)
        for setting in settings.values()
        if (value := getattr(compression, setting.name)) != setting.default
    ]
    if compression.positional and written:
        first = written[0].removeprefix(f"{compression.positional}=")
        if first.partition("=")[0].strip() not in settings:
            written[0] = first
    return compression.name + (":" + ",".join(written) if written else "")


def _example(name: str, settings: Mapping[str, Setting]) -> str:
    needed = [setting.example for setting in settings.values() if setting.default is MISSING]
    return f"{name}:{','.join(needed)}" if needed else name


def _read_rules(
    cls: type[Compression], settings: Mapping[str, Setting], pieces: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """The rules among the pieces, which are what is no setting where there are any; the rest."""
    setting = next((setting for setting in settings.values() if setting.type == Rules), None)
    taken = {field.name for field in fields(cls)}
    rules = [piece for piece in pieces if piece.partition("=")[0].strip() not in taken]
    if setting is None or not rules:
        return {}, pieces
    rest = [piece for piece in pieces if piece not in rules]
    return {setting.name: _read(cls.name, setting, ",".join(rules))}, rest


def _read(compression: str, setting: Setting, text: str) -> Any:
    try:
        value = _converted(text, setting.type)
    except ValueError:
        raise setting.wrong(compression, text) from None
    setting.check(compression, value)
    return value


def _converted(text: str, kind: Any) -> Any:
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if kind is int or kind is float:
        return kind(text)
    if kind == tuple[str, ...]:
        return tuple(split(_inside_brackets(text)))
    if holds_compression(kind):
        return parse_spec(_inside_brackets(text))
    if kind == Rules:
        return tuple(_rule(piece) for piece in split(text))
    return _inside_brackets(text) if kind is str and _is_enclosed(text) else text


def _rule(text: str) -> tuple[str, Compression]:
    pattern, _, compression = (part.strip() for part in text.partition("="))
    return pattern, parse_spec(_inside_brackets(compression))


def _is_enclosed(text: str) -> bool:
    """`[a],[b]` begins and ends with brackets, but not with the same pair."""
    return text.startswith("[") and text.endswith("]") and pairs_up(text[1:-1])


def _inside_brackets(text: str) -> str:
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(text)
    return text[1:-1]


def _write(value: Any, kind: Any) -> str:
    if kind is bool:
        return str(value).lower()
    if kind is float:
        return repr(float(value))
    if kind == tuple[str, ...]:
        return f"[{','.join(value)}]"
    if kind is str and (_is_enclosed(value) or not is_one_piece(value)):
        return f"[{value}]"
    if holds_compression(kind):
        return f"[{format_spec(value)}]"
    if kind == Rules:
        return ",".join(f"{pattern}=[{format_spec(compression)}]" for pattern, compression in value)
    return str(value)
