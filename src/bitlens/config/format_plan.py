"""A plan of formats as it is written down: which format each unit of a model is to have, and what
that promises."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from bitlens.compression.mixture import KEEP, mixture
from bitlens.config.parsing import Form, Settings, distinct, read_settings, unknown
from bitlens.errors import BitlensError, InputError, in_one_line
from bitlens.results.files.writing import write

KEY = "units"
PLAN = Form(
    "a plan in YAML: a model, units with their formats, and what they promise.",
    "bitlens plan RUN --budget 4.5 --out plan.yaml writes one.",
)
_ABOVE = "# A plan of formats. `bitlens audit` and `bitlens compress` take it as\n# {}\n"
_UNIT = "{format: rtn:bits=4, matrices: [model.layers.0.mlp.down_proj]}"


def _mixable(text: str) -> str:
    """A compression that may stand in a mixture, in its canonical text."""
    if text == KEEP:
        return text
    from bitlens.compression import format_spec, parse_spec

    try:
        (part,) = parse_spec(f"mixed:*=[{text}]").parts
        return format_spec(part)
    except BitlensError as error:
        raise PydanticCustomError("bitlens", "refused", {"error": error}) from None


Name = Annotated[str, Field(min_length=1)]


class PlannedUnit(Settings):
    """Matrices that get one format."""

    format: Annotated[str, AfterValidator(_mixable)] = Field(examples=["rtn:bits=4,group=64"])
    """A compression, or `keep`: they stay as they are."""
    matrices: Annotated[tuple[Name, ...], AfterValidator(distinct)] = Field(
        min_length=1, examples=["[model.layers.0.mlp.down_proj]"]
    )
    """By their full module paths."""


class FormatPlan(Settings):
    """A format for every matrix of a model that could be compressed, unit by unit.

    What is promised is the sum of effects that were measured one at a time; a plan is worth what
    an audit of it finds.
    """

    model: str = Field(min_length=1, examples=["gpt2"])
    """The model that the effects were measured in."""
    run: str = Field(min_length=1, examples=["out/sensitivity"])
    """The folder of results that they were taken from."""
    measure: str = Field(min_length=1, examples=["kl"])
    """What is protected."""
    budget: float = Field(gt=0, allow_inf_nan=False, examples=[4.5])
    """Bits per weight that were allowed."""
    bits: float = Field(gt=0, allow_inf_nan=False, examples=[4.49])
    """Bits per weight of the plan, scales and zeros included, tied weights once."""
    effect: float = Field(allow_inf_nan=False, examples=[0.031])
    """The promised effect on the measure, in its own unit."""
    units: dict[str, PlannedUnit] = Field(min_length=1, examples=[f"blocks.0.down: {_UNIT}"])
    """By name. Every matrix that could be compressed is of one of them."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        homes: dict[str, str] = {}
        for name, unit in self.units.items():
            for matrix in unit.matrices:
                if matrix in homes:
                    raise InputError(
                        f"The matrix {matrix} is of two units, {homes[matrix]} and {name}.",
                        "every matrix once.",
                        "take it out of one of them.",
                    )
                homes[matrix] = name
        return self

    @property
    def formats(self) -> dict[str, str]:
        """The format of every matrix, or `keep`."""
        return {matrix: unit.format for unit in self.units.values() for matrix in unit.matrices}


def as_mixed(plan: FormatPlan) -> str:
    """The compression `mixed:...` that makes this plan's twin, with as few patterns as were found.
    BitlensError where everything is kept."""
    return mixture(plan.formats)


def write_plan(plan: FormatPlan, path: Path) -> None:
    """Write it as YAML, with its compression in a comment above. BitlensError where that cannot be
    written."""
    values = plan.model_dump(mode="json")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    write(path, (_ABOVE.format(in_one_line(as_mixed(plan))) + text).encode())


def read_plan(path: str | Path) -> FormatPlan:
    """The plan in a YAML file, of at most a mebibyte. BitlensError for what is unknown or wrong,
    with the line it stands in."""
    values, where = read_settings(path, PLAN)
    _known(values, FormatPlan, where)
    written = values.get(KEY)
    if not isinstance(written, dict) or not written:
        raise InputError(f"{path} has no units.", *PLAN)
    units = {}
    for name, entry in written.items():

        def at(location: Any, name: Any = name) -> str:
            return where((KEY, name, *location))

        if not isinstance(name, str) or not isinstance(entry, dict):
            raise InputError(f"{at(())} is {entry!r:.80}.", "a format and its matrices.", _UNIT)
        _known(entry, PlannedUnit, at)
        units[name] = PlannedUnit.model_validate(entry, context=at)
    return FormatPlan.model_validate({**values, KEY: units}, context=where)


def _known(values: Mapping[Any, Any], of: type[Settings], where: Any) -> None:
    """A misspelt key is told before what is missing for it."""
    for name in values:
        if name not in of.model_fields:
            raise unknown(where((name,)), str(name), list(of.model_fields))
