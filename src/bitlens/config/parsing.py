"""Settings read from a YAML file and checked: whatever is wrong is a BitlensError that says where
it stands, what was expected and what to do."""

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from bitlens.errors import BitlensError, InputError, path_of, told
from bitlens.models.source import ModelSource
from bitlens.registry import nearest, nearest_file
from bitlens.results.files.reading import read_bytes

LARGEST_FILE = 1 << 20
"""Bytes; a study is written by hand."""

Where = Callable[[Sequence[str | int]], str]
"""How it is said where a setting stands."""


class Form(NamedTuple):
    """What a file should be, for whoever gave another."""

    expected: str
    example: str


STUDY = Form(
    "a study in YAML: settings with their values.",
    "models: [gpt2] on one line and compressions: ['rtn:bits=4'] on the next.",
)


class Settings(BaseModel):
    """Settings that are checked when they are made, and frozen then.

    BitlensError for what is unknown or wrong; the examples of fields stand in it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        revalidate_instances="always",
        use_attribute_docstrings=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain(
        cls, values: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Self:
        """pydantic's errors as ours. The context says where in a file a setting stands."""
        try:
            checked: Self = check(values)
            return checked
        except ValidationError as error:
            raise _explained(cls, error.errors()[0], info.context or path_of) from None


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a list of settings. PydanticCustomError, around an InputError, where one is
    there twice."""
    for n, value in enumerate(values):
        if value in values[:n]:
            name = value.name if isinstance(value, ModelSource) else value
            error = InputError(f"{name} is given twice.", "every value once.", "leave one out.")
            raise PydanticCustomError("bitlens", "refused", {"error": error})
    return values


def read_settings(path: str | Path, form: Form = STUDY) -> tuple[dict[str, Any], Where]:
    """What a YAML file holds, keys given twice refused, and how to say where in it a setting
    stands."""
    text = _read(Path(path), form)
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
        if tree is not None:
            _refuse_repeated(tree, str(path), set())
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _not_yaml(
            f"{path}{line} is not YAML: {error.problem or error.context}.", form
        ) from None
    except RecursionError:
        raise _not_yaml(f"{path} is nested too deeply.", form) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _not_yaml(f"{path} is not YAML: {told(error)}.", form) from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise _not_yaml(f"{path} holds {_shown(values)}.", form)

    def where(location: Sequence[str | int]) -> str:
        line = _line(tree, location)
        return (
            f"{path}, line {line}: {path_of(location)}" if line else f"{path}: {path_of(location)}"
        )

    return values, where


def _read(path: Path, form: Form) -> str:
    if not path.exists():
        raise InputError(
            f"There is no {path}.",
            f"{form.expected.partition(':')[0]}.",
            nearest_file(path) or "another path; it counts from the folder the command runs in.",
        )
    try:
        return read_bytes(path, LARGEST_FILE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_yaml(f"{path} is not UTF-8: {error.reason}.", form) from None


def _not_yaml(found: str, form: Form) -> BitlensError:
    return InputError(found, *form)


def _refuse_repeated(node: yaml.Node, path: str, seen: set[int]) -> None:
    """YAML would let the last of two equal keys win, in silence."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated(item, path, seen)
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and keys.count(key.value) > 1:
                raise InputError(
                    f"{path}, line {key.start_mark.line + 1}: {key.value} is given twice.",
                    "every setting once.",
                    "leave one out; several values stand in one list.",
                )
            _refuse_repeated(value, path, seen)


def _line(node: yaml.Node | None, location: Sequence[str | int]) -> int | None:
    """The line on which a setting stands, counted from 1; None where it is not written."""
    line = None
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == step]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = [(value, value) for value in node.value[step : step + 1]]
        else:
            return line
        if not found:
            return line
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def _shown(value: Any) -> str:
    """A value, short however large it is."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring = 2, 80
    return short.repr(value)


def _explained(cls: type[BaseModel], error: ErrorDetails, where: Where) -> BitlensError:
    """One error of pydantic as what was found, what was expected and what to do."""
    place, kind = where(error["loc"]), error["type"]
    name = str(error["loc"][0]) if error["loc"] else ""
    if kind == "bitlens":
        inner = error["ctx"]["error"]
        found = f"{place}: {inner.found}" if place else inner.found
        return InputError(found, inner.expected, inner.remedy)
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        within = [f.name for f in fields(ModelSource)] if len(error["loc"]) > 1 else None
        known = within or list(cls.model_fields)
        return unknown(place, str(error["loc"][-1]), known)
    examples = cls.model_fields[name].examples if name else None
    example = f"for example {examples[0]}" if examples else "bitlens audit --help"
    if kind in ("missing", "missing_argument", "too_short"):
        return InputError(f"{place or name} is not given.", "at least one.", example)
    found = f"{place} is {_shown(error['input'])}."
    if kind == "tuple_type":
        return InputError(found, "a list, even of one: [...].", example)
    if kind == "dataclass_type":
        return InputError(found, "a name, or a mapping with a name.", example)
    if kind == "string_type":
        return InputError(
            found, "text: a name, a path or the like.", 'in YAML, put it in quotes: "7".'
        )
    if kind == "literal_error":
        words = error["ctx"]["expected"].replace("'", "")
        near = nearest(str(error["input"]), words.replace(" or ", ", ").split(", "))
        return InputError(found, f"one of {words}.", near or example)
    expected = error["msg"].removeprefix("Input should be ")
    return InputError(found, f"{expected}.", example)


def unknown(place: str, name: str, known: Sequence[str]) -> BitlensError:
    """There is no setting of this name."""
    return InputError(
        f"{place} is not a setting.",
        f"one of {', '.join(known)}.",
        nearest(name, known) or "leave it out.",
    )
