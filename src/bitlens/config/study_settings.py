"""What each setting of a study may be: read, checked, and said in one way.

Whatever is wrong is a BitlensError; pydantic adds to it at which setting it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from re import fullmatch
from typing import Annotated, Any

from pydantic import Field, StrictInt
from pydantic_core import PydanticCustomError

from bitlens.config.precision import Precision
from bitlens.config.share import share_of
from bitlens.data.benchmarks.asked import AskedBenchmark
from bitlens.demo import calibration_path, evaluation_path, model_path, sae_paths
from bitlens.errors import BitlensError, InputError
from bitlens.models.source import EMBEDDED, ModelSource
from bitlens.sae.formats.releases import FORM

Whole = Annotated[StrictInt, Field(le=2**63 - 1)]
"""What the files of a store can hold."""
DEMO = EMBEDDED
"""The word for the model and for the evaluation texts that ship with bitlens."""
_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**n for n, letter in enumerate("KMGT", 1)},
    **{f"{letter}iB": 1024**n for n, letter in enumerate("KMGT", 1)},
}


def parse_bytes(text: str) -> int:
    """How many bytes are `8GB`, `512MB`, `1.5GiB`? GB are powers of 1,000, GiB of 1,024. InputError
    for anything else."""
    match = fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)\s*", text)
    if match is None or match[2] not in _UNITS or not float(match[1]):
        raise InputError(
            f"The memory is {text!r}.",
            f"a number above 0 and its unit, one of {', '.join(_UNITS)}.",
            "8GB",
        )
    return int(Decimal(match[1]) * _UNITS[match[2]])


_NAMED = {
    "model": ("a folder, a hub id, or demo.", "a shell variable may be empty: write the name out."),
    "sae": (f"a folder with an SAE, or {FORM}.", "leave it out where no SAE is meant."),
}


@contextmanager
def located() -> Iterator[None]:
    """Lets pydantic add to an error of ours at which setting it was."""
    try:
        yield
    except BitlensError as error:
        raise PydanticCustomError("bitlens", "refused", {"error": error}) from None


def named(source: Any) -> Any:
    """A model by its name alone, or as it is given."""
    return ModelSource(source) if isinstance(source, str) else source


def embedded(source: ModelSource) -> ModelSource:
    """The word for the embedded model as its folder, and with its SAEs where none are named. What
    is empty would be the folder the command runs in."""
    for what, name in (("model", source.name), *(("sae", sae) for sae in source.saes)):
        if not name.strip():
            error = InputError(f"The {what} is named by an empty text.", *_NAMED[what])
            raise PydanticCustomError("bitlens", "refused", {"error": error})
    if source.name != DEMO:
        return source
    saes = source.saes or tuple(str(path) for path in sae_paths())
    return replace(source, name=str(model_path()), saes=saes)


UNREAD = object()
"""In place of compressions while all else of a study is checked."""


def canonical(compression: Any) -> Any:
    """A compression as its text. BitlensError, with the setting, for what is none."""
    if compression is UNREAD:
        return ""
    from bitlens.compression import format_spec, parse_spec
    from bitlens.compression.compression import Compression

    if isinstance(compression, Compression):
        return format_spec(compression)
    if not isinstance(compression, str):
        return compression
    with located():
        return format_spec(parse_spec(compression))


def registered(names: tuple[str, ...]) -> tuple[str, ...]:
    """Analyses by name; where none is named, all but those that must be asked for. BitlensError for
    an unknown one."""
    from bitlens.analyses import ANALYSES, ON_REQUEST

    with located():
        for name in names:
            ANALYSES.require(name)
    return names or tuple(name for name in ANALYSES if name not in ON_REQUEST)


def known_tasks(names: tuple[str, ...]) -> tuple[str, ...]:
    """Tasks of circuits by their text. BitlensError for an unknown one, or two of one name."""
    from bitlens.data.circuit_tasks.tasks import asked, refuse_one_name

    with located():
        tasks = tuple(map(asked, names))
        refuse_one_name(tasks)
        return tuple(task.text for task in tasks)


def is_embedded(source: ModelSource) -> bool:
    """Is this the model that ships with bitlens?"""
    return source.name == str(model_path())


def source_of(text: str) -> str:
    """Texts by what they are read from. InputError for an empty name."""
    _require(text)
    return str(evaluation_path()) if text == DEMO else text


def calibrated_on(text: str) -> str:
    """Calibration documents by what they are read from. InputError for an empty name."""
    _require(text)
    return str(calibration_path()) if text == DEMO else text


def _require(text: str) -> None:
    """Texts that are named by nothing would be those of the folder the command runs in."""
    with located():
        if not text.strip():
            raise InputError(
                "The texts are named by an empty text.",
                "a file, a folder, or hf:OWNER/NAME.",
                "a shell variable may be empty: write the name out, or leave the option out.",
            )


def word(value: Any) -> Any:
    """YAML reads yes and no as true and false."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def benchmark(text: str) -> str:
    """A benchmark as it is asked for. InputError for what is none."""
    with located():
        AskedBenchmark.parse(text)
    return text


def measurable(memory: str) -> str:
    """An amount of memory as text. InputError for what is none."""
    with located():
        parse_bytes(memory)
    return memory


def precise(until: str) -> str:
    """A number and how sure it must be, `kl:5%`. InputError for what is none."""
    with located():
        Precision.parse(until)
    return until.strip()


def part(share: str) -> str:
    """A share or a number of documents, `25%`, `100`. InputError for what is none."""
    with located():
        share_of(share, 1)
    return share.strip()
