"""What is to be audited? A grid of models, compressions, analyses and seeds, and how to measure.

A study comes from Python or from a YAML file; either way every setting is checked before
anything is loaded, and whatever is wrong is a BitlensError that says where.
"""

import reprlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from re import fullmatch
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from bitlens.demo import calibration_path, evaluation_path, model_path, sae_paths
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.registry import nearest
from bitlens.sae.hub import FORM, find, is_release

DEMO = "demo"
"""The word for the model and for the evaluation texts that ship with bitlens."""
LARGEST_FILE = 1 << 20
"""Bytes; a study is written by hand."""
_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**n for n, letter in enumerate("KMGT", 1)},
    **{f"{letter}iB": 1024**n for n, letter in enumerate("KMGT", 1)},
}


def parse_bytes(text: str) -> int:
    """How many bytes are `8GB`, `512MB`, `1.5GiB`? GB are powers of 1,000, GiB of 1,024."""
    match = fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)\s*", text)
    if match is None or match[2] not in _UNITS or not float(match[1]):
        raise BitlensError(
            f"The memory is {text!r}.",
            f"a number above 0 and its unit, one of {', '.join(_UNITS)}.",
            "8GB",
        )
    return int(Decimal(match[1]) * _UNITS[match[2]])


@contextmanager
def _located() -> Iterator[None]:
    """Lets pydantic add to an error of ours at which setting it was."""
    try:
        yield
    except BitlensError as error:
        raise PydanticCustomError("bitlens", "refused", {"error": error}) from None


def _named(source: Any) -> Any:
    return ModelSource(source) if isinstance(source, str) else source


def _embedded(source: ModelSource) -> ModelSource:
    """The word for the embedded model as its folder, and with its SAEs where none are named."""
    if source.name != DEMO:
        return source
    saes = source.saes or tuple(str(path) for path in sae_paths())
    return replace(source, name=str(model_path()), saes=saes)


def _canonical(compression: Any) -> Any:
    from bitlens.compress import format, parse
    from bitlens.compress.compression import Compression

    if isinstance(compression, Compression):
        return format(compression)
    if not isinstance(compression, str):
        return compression
    with _located():
        return format(parse(compression))


def _registered(names: tuple[str, ...]) -> tuple[str, ...]:
    from bitlens.analyses import ANALYSES

    with _located():
        return tuple(ANALYSES[name].name for name in names) or tuple(ANALYSES)


def _source(text: str) -> str:
    return str(evaluation_path()) if text == DEMO else text


def _calibrated_on(text: str) -> str:
    return str(calibration_path()) if text == DEMO else text


def _word(value: Any) -> Any:
    """YAML reads yes and no as true and false."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _measurable(memory: str) -> str:
    with _located():
        parse_bytes(memory)
    return memory


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for n, value in enumerate(values):
        if value in values[:n]:
            name = value.name if isinstance(value, ModelSource) else value
            error = BitlensError(f"{name} is given twice.", "each once.", "leave one out.")
            raise PydanticCustomError("bitlens", "refused", {"error": error})
    return values


class Study(BaseModel):
    """A grid of models x compressions x analyses x seeds, and how it is measured.

    Frozen. Every setting is checked when it is made: BitlensError for what is unknown or wrong.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        revalidate_instances="always",
        use_attribute_docstrings=True,
    )

    models: Annotated[
        tuple[Annotated[ModelSource, BeforeValidator(_named), AfterValidator(_embedded)], ...],
        AfterValidator(_distinct),
    ] = Field(min_length=1, examples=["[gpt2]"])
    """The references: hub ids, folders or demo, the model that ships with bitlens; or mappings of
    name, revision, dtype, device, device_map and trust_remote_code."""
    compressions: Annotated[
        tuple[Annotated[str, BeforeValidator(_canonical)], ...], AfterValidator(_distinct)
    ] = Field(min_length=1, examples=['["rtn:bits=4,group=64"]'])
    """What the twins are made by, as text: rtn:bits=4,group=64."""
    controls: Annotated[
        tuple[Literal["cast", "noise", "nothing"], ...], AfterValidator(_distinct)
    ] = Field(("cast", "noise"), examples=["[cast, noise]"])
    """What every compression is compared with: a cast to 16 bits, weight noise of the same size,
    and nothing, the reference again."""
    analyses: Annotated[tuple[str, ...], AfterValidator(_registered), AfterValidator(_distinct)] = (
        Field((), examples=["[behaviour]"])
    )
    """Which questions are asked; none named: all."""
    text: Annotated[str, AfterValidator(_source)] = Field(DEMO, examples=["texts.jsonl"])
    """What is read: a file, a folder, hf:owner/name:config:split:column, or demo, the texts that
    ship with bitlens."""
    tokens: StrictInt = Field(65_536, ge=0, examples=[65_536])
    """At most so many tokens; 0: the whole text."""
    calibration: Annotated[str, AfterValidator(_calibrated_on)] | None = Field(
        None, examples=["calibration.jsonl"]
    )
    """Documents that GPTQ, AWQ and their like are calibrated on, as text is given; they must be
    apart from it. By default, of the texts that ship with bitlens, those meant for it."""
    calibration_tokens: StrictInt = Field(131_072, ge=0, examples=[131_072])
    """At most so many tokens of calibration; 0: all of it."""
    context: StrictInt | None = Field(None, ge=2, examples=[512])
    """Tokens read at a time; by default as many as the model can, 1,024 at most."""
    bos: Annotated[Literal["auto", "yes", "no"], BeforeValidator(_word)] = Field(
        "auto", examples=["auto"]
    )
    """Whether each window begins with BOS; auto: as the tokenizer wants it."""
    positions: Literal["content", "all", "last"] = Field("content", examples=["content"])
    """Which positions count. content: no padding, no BOS, no first position; last: the last token
    of each document, of whose prediction behaviour and lens then speak."""
    sites: tuple[str, ...] = Field((), examples=["[resid.*]"])
    """Where geometry and attention look: resid.*, attn.3, blocks.6.hook_resid_post,
    model.layers.6; none named: everywhere."""
    seeds: Annotated[tuple[Annotated[StrictInt, Field(ge=0)], ...], AfterValidator(_distinct)] = (
        Field((0,), min_length=1, examples=["[0]"])
    )
    """Roots of all that is random: samples, shards, noise."""
    interval: Literal["jackknife", "bootstrap"] = Field("jackknife", examples=["jackknife"])
    """How intervals are made: by leaving out shards of documents, or drawing documents again."""
    memory: Annotated[str, AfterValidator(_measurable)] | None = Field(None, examples=["8GB"])
    """How much memory to use: 8GB, 512MB, 1.5GiB; by default a share of what is free."""
    allow: tuple[Literal["identical", "overlap", "poor-fit"], ...] = Field(
        (), examples=["[identical]"]
    )
    """Refusals to override. identical: a twin that equals its reference; overlap: calibration
    documents that are evaluated too; poor-fit: an SAE that leaves most of the activations
    unexplained."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(
        cls, values: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Self:
        """pydantic's errors as ours. The context says where in a file a setting stands."""
        try:
            return check(values)
        except ValidationError as error:
            raise _explained(error.errors()[0], info.context or _path) from None

    def to_dict(self) -> dict[str, Any]:
        """Every setting as plain values, the same on every machine: home folders become `~`."""
        settings = self.model_dump(mode="json")
        settings["text"] = _public(self.text, evaluation_path())
        if self.calibration:
            settings["calibration"] = _public(self.calibration, calibration_path())
        for model in settings["models"]:
            model["name"] = _public(model["name"], model_path())
            # The embedded model comes with its own again.
            own = [str(path) for path in sae_paths()]
            saes = [] if model["saes"] == own else model["saes"]
            model["saes"] = [sae.replace(str(Path.home()), "~") for sae in saes]
        return settings


def _public(source: str, embedded: Path) -> str:
    """A source without what is this machine's business."""
    return DEMO if source == str(embedded) else source.replace(str(Path.home()), "~")


def audit_of(model: str, to: Any, **settings: Any) -> Study:
    """The study of one model and one compression or several.

    `settings` are those of a Study and of a ModelSource, by name.
    """
    known = {field.name for field in fields(ModelSource)} - {"name"}
    allowed = [name for name in Study.model_fields if name not in ("models", "compressions")]
    for name in settings:
        if name not in (*allowed, *known):
            raise _unknown(name, name, [*allowed, *sorted(known)])
    source = {name: settings.pop(name) for name in known & settings.keys()}
    compressions = (to,) if isinstance(to, str) else tuple(to)
    return Study.model_validate(
        {"models": ({"name": model, **source},), "compressions": compressions, **settings}
    )


def refuse_absent_saes(study: Study, option: str = "") -> None:
    """Loading a model takes long: an SAE that is not there is said before.

    `option`: the word that named them; without it, their place in the file of the study.
    """
    for m, source in enumerate(study.models):
        for n, name in enumerate(source.saes):
            folder = Path(name)
            if is_release(name):
                find(name)
                continue
            if folder.exists():
                continue
            near = nearest(folder.name, [p.name for p in folder.parent.glob("*/")])
            raise BitlensError(
                f"{option or _path(('models', m, 'saes', n))}: there is no folder {name}.",
                f"a folder with an SAE, or {FORM}.",
                near or "another path; it counts from the folder the command runs in.",
            )


def load_study(path: str | Path) -> Study:
    """The study in a YAML file: the fields of Study by name, unknown keys and keys given twice
    refused. Paths in it are relative to the folder the command runs in."""
    text = _read(Path(path))
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
        if tree is not None:
            _refuse_repeated(tree, str(path), set())
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _not_yaml(f"{path}{line} is not YAML: {error.problem or error.context}.") from None
    except RecursionError:
        raise _not_yaml(f"{path} is nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _not_yaml(f"{path} is not YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise _not_yaml(f"{path} holds {_shown(values)}.")

    def where(location: Sequence[str | int]) -> str:
        line = _line(tree, location)
        return f"{path}, line {line}: {_path(location)}" if line else f"{path}: {_path(location)}"

    return Study.model_validate(values, context=where)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise _not_yaml(f"{path} is larger than {LARGEST_FILE:,} bytes.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise BitlensError(
            f"{path} cannot be read: {error.strerror}.", "a study in YAML.", near or "another path."
        ) from None
    except UnicodeDecodeError as error:
        raise _not_yaml(f"{path} is not UTF-8: {error.reason}.") from None


def _not_yaml(found: str) -> BitlensError:
    return BitlensError(
        found,
        "a study in YAML: settings with their values.",
        "models: [gpt2] on one line and compressions: ['rtn:bits=4'] on the next.",
    )


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
                raise BitlensError(
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


def _path(location: Sequence[str | int]) -> str:
    """`models[1].dtype`."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location]
    return "".join(steps).lstrip(".")


def _explained(error: ErrorDetails, where: Callable[[Sequence[str | int]], str]) -> BitlensError:
    """One error of pydantic as what was found, what was expected and what to do."""
    place, kind = where(error["loc"]), error["type"]
    name = str(error["loc"][0]) if error["loc"] else ""
    if kind == "bitlens":
        inner = error["ctx"]["error"]
        return BitlensError(f"{place}: {inner.found}", inner.expected, inner.remedy)
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        within = [f.name for f in fields(ModelSource)] if len(error["loc"]) > 1 else None
        known = within or list(Study.model_fields)
        return _unknown(place, str(error["loc"][-1]), known)
    examples = Study.model_fields[name].examples if name else None
    example = f"for example {examples[0]}" if examples else "bitlens audit --help"
    if kind in ("missing", "missing_argument", "too_short"):
        return BitlensError(f"{place} is not given.", "at least one.", example)
    found = f"{place} is {_shown(error['input'])}."
    if kind == "tuple_type":
        return BitlensError(found, "a list.", example)
    if kind == "dataclass_type":
        return BitlensError(found, "a name, or a mapping with a name.", example)
    if kind == "string_type":
        return BitlensError(found, "text.", "in YAML, put it in quotes.")
    if kind == "literal_error":
        words = error["ctx"]["expected"].replace("'", "")
        near = nearest(str(error["input"]), words.replace(" or ", ", ").split(", "))
        return BitlensError(found, f"one of {words}.", near or example)
    expected = error["msg"].removeprefix("Input should be ")
    return BitlensError(found, f"{expected}.", example)


def _unknown(place: str, name: str, known: Sequence[str]) -> BitlensError:
    return BitlensError(
        f"{place} is not a setting.",
        f"one of {', '.join(known)}.",
        nearest(name, known) or "leave it out.",
    )
