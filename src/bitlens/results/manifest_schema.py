"""The contents of a store's JSON files: every key of them, and what it holds.

They are data that somebody sends: a store is held against this once, when it is opened, and
whoever reads it then needs no doubts of its own. It is held against it when it is written, too.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from bitlens.results.records import SCHEMA, Check, Metric, Stopped, TwinRecord

LATER = {
    "token_bytes",
    "until",
    "controls_on",
    "paired",
    "tasks",
    "labelled",
    "labelled_place",
    "categories",
    "chat_template",
    "system",
    "thinking",
    "benchmarks",
    "limit",
    "include_path",
    "confirm_run_unsafe_code",
}
"""Keys that a store of this schema need not have: those written before there was such a setting are
read as if it had been left at its default."""
LATER_IN_RUNS = {"conv1d", "top", "stages", "unstaged", "start"}
"""Those of a sensitivity run and of the plans made of it."""


class Content(BaseModel):
    """What one JSON file, or a part of it, holds: these keys and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Versioned(Content):
    """A file that says which version of bitlens it is of."""

    version: Annotated[int, Field(alias="schema", ge=SCHEMA, le=SCHEMA)]


class Tool(Content):
    """What wrote the store."""

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
    token_bytes: float | None = None
    """Bytes that the keys and values of a token take, in the dtype of the weights."""
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
    until: Stopped | None = None


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
    paired: CellId | None = None
    """The same on the documents of the controls, where those are fewer."""


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
    controls_on: str | None = None
    analyses: tuple[str, ...]
    tasks: tuple[str, ...] = ()
    text: str | None
    tokens: int
    until: str | None = None
    calibration: str | None
    calibration_tokens: int
    labelled: tuple[str, ...] = ()
    labelled_place: str = "last"
    context: int | None
    bos: str
    positions: str
    categories: str | None = None
    chat_template: bool = False
    system: str | None = None
    thinking: str = "auto"
    sites: tuple[str, ...]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    interval: str
    memory: str | None
    allow: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    limit: Annotated[int, Field(ge=1)] | None = None
    include_path: str | None = None
    confirm_run_unsafe_code: bool = False


class Manifest(Versioned):
    """`manifest.json`: what was run, the same from run to run."""

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
    """What it ran on."""

    processor: str
    cores: int | None
    threads: int
    memory: int
    gpu: str | None
    peak_gpu_bytes: int | None


class Run(Content):
    """`run.json`: what differs from run to run."""

    date: str
    seconds: float
    peak_bytes: int
    machine: Machine


class CellFile(Versioned):
    """`cell.json`: what a complete cell is of."""

    model: str
    compression: str
    analysis: str
    seed: int
    settings: dict[str, JsonValue]
    tables: tuple[str, ...]
    """What the analysis shows besides values, a file each."""
