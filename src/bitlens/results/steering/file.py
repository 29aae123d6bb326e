"""The file of a steering run: what was asked, of what model, and every number with its interval."""

from pathlib import Path
from typing import Any

from bitlens.results.files.writing import write
from bitlens.results.json_files import AGAIN, json_bytes, read_json
from bitlens.results.manifest_schema import Content, Tool, Versioned
from bitlens.results.records import SCHEMA

NAME = "steering.json"
REPORT = "report.html"
VECTOR = "vector.safetensors"


class SteeredNumber(Content):
    """A number of one model."""

    model: str
    """`reference`, or a twin's text form."""
    direction: str
    """`vector`; `random 1` and so on of the same length, `random` of all of these together, whose
    documents are directions; or `ablation` of the vector."""
    metric: str
    multiplier: float | None
    value: float | None
    low: float | None
    high: float | None
    documents: int
    reason: str | None


class SearchedDirection(Content):
    """A direction that was looked at, with the means over the prompts for choosing."""

    site: str
    token: int
    """From the end of a prompt, -1 the last."""
    bypass: float | None
    """Log-odds of the answers where it is taken out."""
    induced: float | None
    """Log-odds of the answers where it is added to other prompts."""
    kl: float | None
    """Nats by which predictions on other prompts change where it is taken out."""
    against: str
    """Why it may not be chosen; empty where it may."""


class SteeringFile(Versioned):
    """Everything of a run."""

    tool: Tool
    command: str
    name: str
    """The model's."""
    fingerprint: str
    site: str
    vector: str
    """Where it comes from."""
    norm: float
    """Its length."""
    norm_share: float
    """Over the mean length of what it is added to."""
    positive: str
    """What the class is called that it points to."""
    negative: str
    answers: tuple[str, ...]
    """The tokens whose log-odds are the effect."""
    prompts: int
    neutral: str
    twins: tuple[str, ...]
    controls: tuple[str, ...]
    candidates: tuple[SearchedDirection, ...] = ()
    """All directions that were looked at, the chosen one first; none where none was looked for."""
    rows: tuple[SteeredNumber, ...]
    notes: tuple[str, ...]


def write_steering(folder: Path, content: dict[str, Any]) -> None:
    """Write the file."""
    whole = {"schema": SCHEMA, **content}
    write(folder / NAME, json_bytes(SteeringFile, whole, folder / NAME))


def read_steering(folder: Path) -> dict[str, Any]:
    """The file of a run. BitlensError for what is damaged."""
    return read_json(SteeringFile, folder / NAME, AGAIN)
