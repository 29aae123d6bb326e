"""What do the files of a folder of results hold? Every key, every column and its type.

They are data that somebody sends: a store is held against this once, when it is opened, and
whoever reads it then needs no doubts of its own. It is held against it when it is written, too.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from bitlens.errors import BitlensError, path_of, told
from bitlens.results.files.reading import read_bytes
from bitlens.results.records import SCHEMA, Check, Metric, TwinRecord

TEXT, NUMBER, COUNT, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
MOST_WHOLE = (1 << 63) - 1
"""Of a number without a fraction: what a column can hold."""


class Content(BaseModel):
    """What one JSON file, or a part of it, holds: these keys and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Versioned(Content):
    version: Annotated[int, Field(alias="schema", ge=SCHEMA, le=SCHEMA)]


class Tool(Content):
    version: str


class FittedSae(Content):
    """An SAE, and how well it fits."""

    label: str
    site: str
    hook: str
    architecture: str
    latents: Annotated[int, Field(ge=1)]
    fingerprint: str
    fvu: float | None
    l0: float


class AuditedModel(Content):
    """A model."""

    name: str
    revision: str | None
    fingerprint: str
    family: str
    blocks: Annotated[int, Field(ge=1, le=10_000)]
    width: int
    heads: Annotated[int, Field(ge=1, le=1_000_000)]
    vocabulary: int
    parameters: int
    bytes: int
    dtype: str
    compute: str
    device: str
    attention: str | None
    from_disk: bool
    remote_code: bool
    saes: tuple[FittedSae, ...]


class Evaluated(Content):
    """A text as a model read it."""

    name: str
    model: str
    seed: int
    documents: int
    tokens: int
    positions: int
    windows: int
    context: int
    bos: bool
    positions_rule: str
    token_hash: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TwinOf(TwinRecord):
    """A twin, and of which model."""

    model: str


CellId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class CellEntry(Content):
    """How a cell ended."""

    id: CellId
    model: str
    compression: str
    analysis: str
    seed: int
    status: Annotated[str, Field(pattern="^(done|failed)$")]
    reason: str | None


class AskedModel(Content):
    """`models.source.ModelSource`, as it is written down."""

    name: str
    revision: str | None
    dtype: str
    compute: str
    device: str
    device_map: str | None
    trust_remote_code: bool
    saes: tuple[str, ...]


class Asked(Content):
    """`study.Study`, as it is written down."""

    models: Annotated[tuple[AskedModel, ...], Field(min_length=1)]
    compressions: Annotated[tuple[str, ...], Field(min_length=1)]
    controls: tuple[str, ...]
    analyses: tuple[str, ...]
    text: str | None
    tokens: int
    calibration: str | None
    calibration_tokens: int
    context: int | None
    bos: str
    positions: str
    sites: tuple[str, ...]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    interval: str
    memory: str | None
    allow: tuple[str, ...]


class Manifest(Versioned):
    tool: Tool
    command: str
    models: Annotated[tuple[AuditedModel, ...], Field(min_length=1)]
    corpora: Annotated[tuple[Evaluated, ...], Field(min_length=1)]
    settings: Asked
    versions: dict[str, str]
    twins: Annotated[tuple[TwinOf, ...], Field(min_length=1)]
    checks: tuple[Check, ...]
    metrics: dict[str, Metric]
    cells: Annotated[tuple[CellEntry, ...], Field(min_length=1)]


class Machine(Content):
    processor: str
    cores: int | None
    threads: int
    memory: int
    gpu: str | None
    peak_gpu_bytes: int | None


class Run(Content):
    date: str
    seconds: float
    peak_bytes: int
    machine: Machine


class CellFile(Versioned):
    model: str
    compression: str
    analysis: str
    seed: int
    settings: dict[str, JsonValue]
    tables: tuple[str, ...]
    """What the analysis shows besides values, a file each."""


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=False))


def _columns(columns: Mapping[str, pa.DataType], absent: str = "") -> pa.Schema:
    """`absent`: those that may hold nothing; every other has something in every row."""
    may = absent.split()
    return pa.schema([pa.field(name, kind, name in may) for name, kind in columns.items()])


def _numbers(names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names.split(), NUMBER)


_PLACE = {"metric": TEXT, "site": TEXT, "item": TEXT}
VALUES = _columns(
    {**_PLACE, "value": NUMBER, "replicates": _list(NUMBER), "chance": NUMBER}
    | {"documents": COUNT, "reason": TEXT},
    absent="value chance reason",
)
"""Of a cell: one row a `records.Value`."""
ESTIMATES = _columns(
    {"model": TEXT, "compression": TEXT, "bits": NUMBER, "analysis": TEXT, **_PLACE}
    | {**_numbers("value low high"), "documents": COUNT, **_numbers("intact chance")}
    | {"worse": TEXT, "reason": TEXT, "seed": COUNT},
    absent="bits value low high intact chance worse reason",
)
CONTRASTS = _columns(
    {"model": TEXT, "compression": TEXT, "control": TEXT, "analysis": TEXT, **_PLACE}
    | {**_numbers("difference low high p q"), "documents": COUNT, "reason": TEXT, "seed": COUNT},
    absent="difference low high p q reason",
)
COVERAGE = _columns(
    {"model": TEXT, "compression": TEXT, "module": TEXT, "kind": TEXT, "compressed": FLAG}
    | {"format": TEXT, "bits": NUMBER, "group": COUNT, "parameters": COUNT, "bytes": COUNT}
    | {**_numbers("changed relative_error sqnr_db"), "reason": TEXT, "note": TEXT},
    absent="relative_error sqnr_db reason",
)
TABLES = {"estimates": ESTIMATES, "contrasts": CONTRASTS, "coverage": COVERAGE}

_SAE = {"sae": TEXT, "site": TEXT}
_OF_FEATURES = (
    "r r_low r_high gain offset concordance rate_reference rate_twin lost new f1 "
    "peak_reference peak_twin mean_reference"
)
_OF_HALVES = (
    "r_first r_second rate_first mean_first peak_first sparseness_first local_error_first "
    "decoder_norm encoder_norm bias nearest"
)
_OF_HEADS = "choosing reference twin twin_low twin_high chance"
_OF_TOKENS = "kl target_reference target_twin"
SHOWN = {
    "features": _columns(
        {**_SAE, "latent": COUNT, "state": TEXT, "sure": TEXT, **_numbers(_OF_FEATURES)},
        absent=_OF_FEATURES,
    ),
    "halves": _columns(
        {**_SAE, "latent": COUNT, "group": COUNT, **_numbers(_OF_HALVES)}, absent=_OF_HALVES
    ),
    "flow": _columns({**_SAE, "reference": TEXT, "twin": TEXT, "latents": COUNT}),
    "contexts": _columns(
        {**_SAE, "latent": COUNT, "found": TEXT, "rank": COUNT, "document": TEXT}
        | {"offset": COUNT, "peak": COUNT, "tokens": _list(TEXT)}
        | {"reference": pa.list_(NUMBER), "twin": pa.list_(NUMBER)}
    ),
    "trajectories": _columns(
        {"place": COUNT, "document": TEXT, "offset": COUNT, "before": _list(TEXT)}
        | {"target": TEXT, "block": COUNT, "kl": NUMBER, "top_reference": TEXT, "top_twin": TEXT}
        | _numbers("target_reference target_twin"),
        absent=_OF_TOKENS,
    ),
    "heads": _columns(
        {"block": COUNT, "head": COUNT, "kind": TEXT, **_numbers(_OF_HEADS)}, absent=_OF_HEADS
    ),
}
"""What analyses show besides values, a row a feature, a place, a head. Those that a plug-in shows
have the columns it gives them."""


def read_json(kind: type[Content], path: Path, remedy: str) -> dict[str, Any]:
    """What a file of ours holds, and it is all there. BitlensError that names what is not."""
    if not path.exists():
        raise damaged(path, "it is missing", remedy)
    refuse_other_version(path)
    try:
        content = json.loads(
            read_bytes(path), parse_constant=_refuse, parse_int=_whole, parse_float=_finite
        )
    except RecursionError as error:
        raise damaged(path, "it is nested too deeply", remedy) from error
    except ValueError as error:
        raise damaged(path, told(error), remedy) from error
    check_json(kind, content, path, remedy)
    return content


def refuse_other_version(path: Path) -> None:
    """BitlensError for a file of another version of bitlens; one that is broken is not."""
    try:
        content = json.loads(read_bytes(path))
    except (BitlensError, ValueError, RecursionError):
        return
    found = content.get("schema") if isinstance(content, dict) else None
    if type(found) is int and found != SCHEMA:
        raise BitlensError(
            f"{path} has schema {found}.",
            f"schema {SCHEMA}, which this version of bitlens writes and reads.",
            "the version of bitlens that wrote it, or another --out: nothing of it is lost.",
        )


def check_json(kind: type[Content], content: Any, path: Path, remedy: str) -> None:
    """BitlensError that names what is missing, is not known or is something else."""
    try:
        # Names may hold what is no text, half a surrogate; here it does not matter which.
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        held = kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = path_of([step for step in first["loc"] if isinstance(step, str | int)])
        raise damaged(path, f"{where or 'it'} {_wrong(first)}", remedy) from None
    # What has a default when it is made is written all the same.
    missing = _missing(held.model_dump(mode="json", by_alias=True), content, [])
    if missing is not None:
        raise damaged(path, f"{path_of(missing)} is missing", remedy)


def _wrong(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return "is not known to this version"
    return f"is not as it should be: {error['msg'][0].lower()}{error['msg'][1:]}"


def _missing(whole: Any, given: Any, at: list[str | int]) -> list[str | int] | None:
    """The place of the first key that is not given."""
    parts: list[tuple[str | int, Any]] = []
    if isinstance(whole, dict):
        for name in whole:
            if name not in given:
                return [*at, name]
        parts = list(whole.items())
    elif isinstance(whole, list):
        parts = list(enumerate(whole))
    found = (_missing(value, given[step], [*at, step]) for step, value in parts)
    return next((place for place in found if place is not None), None)


def damaged(path: Path, why: str, remedy: str) -> BitlensError:
    return BitlensError(f"{path} cannot be read: {why}.", "the file as bitlens wrote it.", remedy)


def mended(path: Path, again: str) -> str:
    """What brings a file back that is not as it was written; nothing is in the way of one that is
    not there. `again`: what makes it anew."""
    return f"delete {path} and {again}" if os.path.lexists(path) else again


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) < 30 else MOST_WHOLE + 1
    if abs(number) > MOST_WHOLE:
        raise ValueError(f"the number {digits[:30]} takes more than 64 bits")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:30]} is too large")
    return number
