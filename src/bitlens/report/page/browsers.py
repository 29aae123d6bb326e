"""What a reader looks things up in on the page: heads, features and documents, twin by twin.

They hold text and numbers, never markup, and are read by the page's views alone.
"""

from dataclasses import dataclass
from typing import Any

from bitlens.report.page.columns import Value

Row = dict[str, Any]
"""A row of a table of the store."""


@dataclass(frozen=True, kw_only=True)
class HeadPattern:
    """Where a head looks on each text, in the reference and in a twin: shares in 255ths, what each
    token pays to itself and to those before it, one after the other."""

    block: int
    head: int
    reference: tuple[bytes, ...]
    """One a text."""
    twin: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class HeadPatterns:
    """Heads to choose from, each with its two patterns and their difference; not in Markdown."""

    name: str
    model: str
    texts: tuple[tuple[str, tuple[str, ...]], ...]
    """Where each is from, and its tokens."""
    twins: tuple[tuple[str, tuple[HeadPattern, ...]], ...]
    """Of each twin, the head that moved most first."""
    shown: int = 0
    """Which twin at first."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureEvidence:
    """What single features of an SAE fire on and how strongly: rows of the store, with the columns
    of `table_schema.SHOWN`."""

    contexts: tuple[tuple[str, tuple[Row, ...]], ...]
    """By twin, a row a top position."""
    firings: tuple[tuple[str, tuple[Row, ...]], ...]
    """By twin, a row a feature."""
    directions: tuple[Row, ...]
    """A row a latent."""


@dataclass(frozen=True)
class FeatureRows:
    """An SAE's features in one twin: how many are active, and a row for each that was compared."""

    twin: str
    active: int
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, kw_only=True)
class FeatureBrowser:
    """Every compared feature of an SAE, twin by twin: searched, sorted, and counted at any
    threshold on the page; left out of Markdown."""

    name: str
    sae: str
    """As an address names it."""
    columns: tuple[tuple[str, str], ...]
    """(field of the table, title), the first `latent`."""
    twins: tuple[FeatureRows, ...]
    shown: int = 0
    """Which twin at first."""
    caption: str = ""
    evidence: FeatureEvidence | None = None


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a model predicts at each token of a text; nothing at one that nothing stands before."""

    ids: tuple[tuple[int, ...], ...]
    """The likeliest tokens, by number."""
    texts: tuple[tuple[str, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    """Their probabilities."""
    target: tuple[float | None, ...]
    """The probability of the token that stands there."""


@dataclass(frozen=True, kw_only=True)
class ReadDocument:
    """The beginning of a document, token by token, and what the reference predicts."""

    number: int
    name: str
    tokens: tuple[str, ...]
    offsets: tuple[int, ...]
    """Where in the document each stands."""
    counts: tuple[bool, ...]
    """Whether its prediction counts in the means."""
    reference: Predicted


@dataclass(frozen=True, kw_only=True)
class DocumentReading:
    """A document as a twin reads it."""

    document: ReadDocument
    kinds: tuple[str, ...]
    """Why it is shown: `worst`, `median`, `random`."""
    rank: int
    """1: no document is farther from the reference."""
    kl: float
    """The mean, of all positions that count, shown or not."""
    positions: int
    changed: int
    """At how many of them another token comes first."""
    by_token: tuple[float | None, ...]
    """KL of the prediction of each token."""
    twin: Predicted


@dataclass(frozen=True, kw_only=True)
class DocumentBrowser:
    """Documents to read token by token, twin by twin; left out of Markdown."""

    name: str
    model: str
    twins: tuple[tuple[str, tuple[DocumentReading, ...]], ...]
    """Of each twin, the farthest document first."""
    total: int
    """How many documents were measured."""
    shown: int = 0
    """Which twin at first."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class LensStretch:
    """Tokens of a document, and what two models would say at each of them after every block."""

    document: str
    tokens: tuple[str, ...]
    blocks: tuple[int, ...]
    tops: tuple[tuple[tuple[str, str, float | None], ...], ...]
    """(the reference's first token, the twin's, KL in nats), by block and token."""


@dataclass(frozen=True, kw_only=True)
class LensBrowser:
    """Blocks by tokens: what would be said where, twin by twin; left out of Markdown."""

    name: str
    model: str
    twins: tuple[tuple[str, tuple[LensStretch, ...]], ...]
    shown: int = 0
    """Which twin at first."""
    caption: str = ""
