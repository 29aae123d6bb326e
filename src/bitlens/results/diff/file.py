"""The file of a run of `diff`: what was asked, every number with its interval, and what a reader
looks at: features, texts, tokens and documents."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from bitlens.results.export import as_csv
from bitlens.results.files.writing import write
from bitlens.results.json_files import AGAIN, json_bytes, read_json
from bitlens.results.manifest_schema import Content, Tool, Versioned
from bitlens.results.records import SCHEMA

NAME = "diff.json"
REPORT = "report.html"
TABLE = "numbers.csv"
SAES = "saes"
"""The folder of the dictionaries that were learnt."""
TWIN, NOISE, RANDOM = "twin", "noise", "random"
"""Whose difference a number is of: the twin's own, that of weight noise of the twin's size, or of
random directions with the twin's lengths and (nearly) second moments."""


class DifferenceNumber(Content):
    """A number of one difference at one site."""

    site: str
    twin: str
    of: str
    """`twin`, `noise` or `random`."""
    metric: str
    value: float | None
    low: float | None
    high: float | None
    documents: int
    reason: str | None


class CurvePoint(Content):
    """So large a share of a difference is at so large a share of the positions."""

    site: str
    twin: str
    of: str
    positions: float
    share: float


class TokenPush(Content):
    """What a direction does to the logit of a token, against the mean over all tokens."""

    token: str
    logit: float


class MarkedContext(Content):
    """Where a feature of a difference fires: a text with one token marked."""

    document: str
    before: str
    token: str
    after: str
    code: float


class NearestLatent(Content):
    """The latent of an SAE of the reference whose decoder points most the same way."""

    sae: str
    latent: int
    cosine: float
    chance: float
    """The largest cosine that a random direction has with any latent, median of many."""


class DifferenceFeature(Content):
    """A latent of a dictionary of a twin's difference."""

    site: str
    twin: str
    latent: int
    share: float
    """How much more of the difference would be unexplained without it."""
    low: float | None
    high: float | None
    fires: float
    """At which share of the positions."""
    code: float
    """Its mean code where it fires, in the activations' units."""
    promoted: tuple[TokenPush, ...]
    suppressed: tuple[TokenPush, ...]
    nearest: NearestLatent | None
    contexts: tuple[MarkedContext, ...]


class MeanPush(Content):
    """The logit lens of a twin's mean difference."""

    site: str
    twin: str
    promoted: tuple[TokenPush, ...]
    suppressed: tuple[TokenPush, ...]


class PlaceShare(Content):
    """A token, or a document, with its share of a difference and of the positions."""

    site: str
    twin: str
    kind: str
    """`token` or `document`."""
    name: str
    share: float
    positions: float
    count: int


class DifferenceFile(Versioned):
    """Everything of a run."""

    tool: Tool
    command: str
    name: str
    """The model's."""
    fingerprint: str
    text: str
    sites: tuple[str, ...]
    twins: tuple[str, ...]
    noise: dict[str, str]
    """By twin, the noise that it is held against."""
    latents: int
    k: int
    epochs: int
    steps: int
    batch: int
    rate: float
    learnt: int
    """Positions learnt from."""
    held: int
    """Positions measured on."""
    documents_learnt: int
    documents_held: int
    rows: tuple[DifferenceNumber, ...]
    curves: tuple[CurvePoint, ...]
    features: tuple[DifferenceFeature, ...]
    means: tuple[MeanPush, ...]
    places: tuple[PlaceShare, ...]
    notes: tuple[str, ...]


def write_diff(folder: Path, content: dict[str, Any]) -> None:
    """Write the file, and its numbers as a table."""
    whole = {"schema": SCHEMA, **content}
    write(folder / TABLE, as_csv(pa.Table.from_pylist(content["rows"])))
    write(folder / NAME, json_bytes(DifferenceFile, whole, folder / NAME))


def read_diff(folder: Path) -> dict[str, Any]:
    """The file of a run. BitlensError for what is damaged."""
    return read_json(DifferenceFile, folder / NAME, AGAIN)
