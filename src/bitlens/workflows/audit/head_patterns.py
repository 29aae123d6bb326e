"""Patterns of heads: where each looks on a few short texts, in the reference and in each twin.

A second, small sweep over the beginnings of two documents, and over random tokens said twice,
where heads that copy show what they do. Of the documents lens grids are made beside them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.data.corpus import Corpus
from bitlens.data.repeated_tokens import repeated
from bitlens.engine.analysis import TokenizerFacts
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import SweptModel
from bitlens.errors import DataError
from bitlens.models.sites import site
from bitlens.results.records import DetailTable, Value
from bitlens.workflows.audit.few_rows import read_rows
from bitlens.workflows.audit.lens_grids import LensGrids
from bitlens.workflows.session import Session

DOCUMENTS, LENGTH = 2, 48
"""So many documents are begun, so many tokens of each are shown."""
MOST_HEADS, MOST_COPYING = 48, 16
"""Heads of a twin whose patterns are kept, and how many of them because of what they do on the
random tokens; the others are those that moved most."""
COPIES = 0.4
"""A head whose reference looks so much where a head that copies would."""
STEPS = 255
"""A share is rounded to a 255th."""

Head = tuple[int, int]
"""Block and head."""
Moved = Mapping[Head, float]
"""How far each head's attention moved: the Jensen-Shannon divergence over all texts."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ShownText:
    """The beginning of a document, or random tokens said twice."""

    tokens: np.ndarray
    document: str
    offset: int
    period: int = 0
    """After how many tokens the random ones say themselves again; 0: it is no such text."""


def moved(values: Iterable[Value]) -> dict[Head, float]:
    """How far every head moved, of what the analysis `attention` found of a twin."""
    return {
        (site(v.site).depth, int(v.item.removeprefix("head "))): v.value
        for v in values
        if v.metric == "jsd" and v.item and v.value is not None
    }


def shown_texts(session: Session, facts: TokenizerFacts) -> list[ShownText]:
    """What patterns are shown on: the same for every twin, whichever are measured."""
    corpus = session.corpus
    texts = [
        ShownText(
            tokens=corpus.rows[row][:LENGTH],
            document=session.texts.document(int(corpus.document[row])),
            offset=int(corpus.starts[row]),
        )
        for row in _beginnings(corpus)
    ]
    bos = facts.bos is not None
    try:
        made = repeated(
            facts.tokens, facts.bos, facts.context, ((LENGTH - bos) // 2,), 1, facts.seed
        )
    except DataError:
        # Too few tokens, or too short a context, to say anything twice.
        return texts
    (row,) = made.rows
    period = len(row) // 2
    name = f"{period} random tokens, twice"
    return [*texts, ShownText(tokens=row, document=name, offset=0, period=period)]


def _beginnings(corpus: Corpus) -> list[int]:
    """Rows that begin a document: the first that are long enough, of copies one."""
    _, rows = np.unique(corpus.document, return_index=True)
    lengths = np.minimum(corpus.lengths[rows], LENGTH)
    order = rows[np.argsort(-lengths, kind="stable")]
    _, first = np.unique(corpus.unit[corpus.document[order]], return_index=True)
    return [int(row) for row in order[np.sort(first)][:DOCUMENTS]]


def patterns(
    session: Session,
    twins: Mapping[str, SweptModel],
    far: Mapping[str, Moved],
    texts: Sequence[ShownText],
    hidden_bytes: int,
) -> dict[str, list[DetailTable]]:
    """The tables `patterns`, `pattern_texts` and, of the documents among the texts, `grid` of every
    twin in `far`, which says how far its heads moved; `hidden_bytes`: of the hidden states that are
    held at a time."""
    read = _Patterns(texts=texts, far=far)
    sites = {f"pattern.{block}" for of in far.values() for block, _ in of}
    named = {name: twin for name, twin in twins.items() if name in far}
    rows = [text.tokens for text in texts]
    begun = {n: text.tokens for n, text in enumerate(texts) if not text.period}
    grids = LensGrids(session=session, twins=named, texts=begun)
    for step in read_rows(session, named, rows, sites | grids.sites, hidden_bytes):
        grids.take(step)
        for name, activations in step.activations.items():
            for at, values in activations.items():
                if at in sites and name not in step.again:
                    read.add(name, site(at).depth, values, step.batch.document)
        del step
    told = _told(texts, session)
    return {twin: [read.table(twin), told, grids.table(twin)] for twin in far}


@dataclass(frozen=True, eq=False, kw_only=True)
class _Patterns:
    """The patterns that were read, of every head that some twin may show."""

    texts: Sequence[ShownText]
    far: Mapping[str, Moved]
    held: dict[tuple[str, int, int, int], np.ndarray] = field(default_factory=dict)
    """By model, block, head and text: shares, a row a query one under the other."""
    copying: dict[Head, float] = field(default_factory=dict)
    """By head, the most that the reference pays where a head that copies looks."""

    def add(self, name: str, block: int, values: Tensor, document: Tensor) -> None:
        """What one model pays in one block: `[rows, heads, queries, keys]`. The reference comes
        first."""
        numbers = document.view(values.shape[0], -1)[:, 0].tolist()
        for row, number in enumerate(numbers):
            text = self.texts[number]
            length = len(text.tokens)
            pays = values[row, :, :length, :length].float()
            if name == REFERENCE and text.period:
                does = _copying(pays, text.period)
                self.copying.update({(block, h): float(s) for h, s in enumerate(does)})
            seen = torch.tril_indices(length, length, device=pays.device)
            steps = (pays[:, seen[0], seen[1]] * STEPS).round().to(torch.uint8).cpu().numpy()
            for head in self._wanted(name, block, len(steps)):
                self.held[(name, block, head, number)] = steps[head]

    def _wanted(self, name: str, block: int, heads: int) -> Iterator[int]:
        """Those that may be shown: where all cannot be, copies are known only after the sweep."""
        of = self.far if name == REFERENCE else (name,)
        for head in range(heads):
            likely = any((block, head) in self._likely[twin] for twin in of)
            if likely or self.copying.get((block, head), 0.0) > COPIES:
                yield head

    @cached_property
    def _likely(self) -> dict[str, set[Head]]:
        return {twin: set(_farthest(of)[:MOST_HEADS]) for twin, of in self.far.items()}

    def table(self, twin: str) -> DetailTable:
        """A row a head and text, the heads that moved most first."""
        order = _farthest(self.far[twin])
        copying = sorted(
            (head for head in order if self.copying.get(head, 0.0) > COPIES),
            key=lambda head: -self.copying[head],
        )[:MOST_COPYING]
        others = [head for head in order if head not in copying]
        chosen = {*copying, *others[: MOST_HEADS - len(copying)]}
        columns: dict[str, list[Any]] = {
            name: [] for name in ("text", "block", "head", "reference", "twin")
        }
        for block, head in (head for head in order if head in chosen):
            for number in range(len(self.texts)):
                columns["text"].append(number)
                columns["block"].append(block)
                columns["head"].append(head)
                for who, name in (("reference", REFERENCE), ("twin", twin)):
                    columns[who].append(self.held[(name, block, head, number)])
        return DetailTable("patterns", columns)


def _farthest(of: Moved) -> list[Head]:
    return sorted(of, key=lambda head: (-of[head], head))


def _copying(pays: Tensor, period: int) -> Tensor:
    """`[heads]`: what the second copy pays to the token after the same one before, to the one just
    before, or to the same one: the largest of the three means. `pays`: `[heads, queries, keys]`."""
    queries = torch.arange(pays.shape[1] - period, pays.shape[1], device=pays.device)
    targets = (queries - period + 1, queries - 1, queries - period)
    return torch.stack([pays[:, queries, keys].mean(dim=1) for keys in targets]).amax(dim=0)


def _told(texts: Sequence[ShownText], session: Session) -> DetailTable:
    return DetailTable(
        "pattern_texts",
        {
            "text": list(range(len(texts))),
            "document": [text.document for text in texts],
            "offset": [text.offset for text in texts],
            "tokens": [[session.texts.token(int(t)) for t in text.tokens] for text in texts],
        },
    )
