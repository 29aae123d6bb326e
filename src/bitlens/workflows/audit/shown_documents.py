"""Documents to read token by token: those that suffer most, those in the middle, and any.

How far apart the two predictions of every token are, and the five likeliest tokens of each. Of
short texts from the predictions that the sweep kept; of long ones by a second, small sweep over
documents that the first one chose, by the reference and the twins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.predictions import likeliest
from bitlens.data.corpus import Corpus
from bitlens.engine.activations import Activations
from bitlens.engine.analysis import CorpusReader
from bitlens.engine.places import unpacked
from bitlens.engine.plan import CORPUS, Plan
from bitlens.engine.runs import REFERENCE
from bitlens.engine.step import Step
from bitlens.engine.swept_model import SweptModel
from bitlens.results.records import DetailTable
from bitlens.seeds import position_keys
from bitlens.workflows.audit.few_rows import read_rows
from bitlens.workflows.session import Session

TOKENS = "tokens"
"""The table of every token of the documents that are shown."""
EACH, ONE_IN, FEWEST = 20, 20, 2
"""So many documents of each of the three kinds at most, one in twenty of all where that is fewer;
at least two of each."""
WINDOW = 256
"""Tokens shown of a document, its first ones."""
_DRAW = -3
"""What the keys of documents drawn at random are made with, in the place of an offset."""


def picks(documents: Mapping[str, Any], corpus: Corpus, seed: int) -> dict[int, list[str]]:
    """Which documents of a twin are shown, and why (`worst`, `median`, `random`), the worst first.

    `documents`: the table that `behaviour` leaves of it. Copies are shown once. Nothing but the
    twin's own numbers, the text and the seed decides, so a cell holds the same whatever ran
    beside it.
    """
    every = np.arange(len(corpus.unit))
    copied = (corpus.unit != every) & (corpus.together == every)
    number, kl = (np.asarray(documents[name]) for name in ("number", "kl"))
    number, kl = number[~copied[number]], kl[~copied[number]]
    each = min(EACH, max(FEWEST, len(number) // ONE_IN), len(number))
    order = number[np.lexsort((number, -kl))]
    middle = (len(order) - each) // 2
    drawn = number[np.argsort(position_keys(seed, number, np.full_like(number, _DRAW)))]
    kinds = {
        "worst": order[:each],
        "median": order[middle : middle + each],
        "random": drawn[:each],
    }
    why = {n: [kind for kind, of in kinds.items() if n in of] for n in order.tolist()}
    return {n: found for n, found in why.items() if found}


def named_documents(
    table: DetailTable, why: Mapping[int, list[str]], texts: CorpusReader
) -> DetailTable:
    """The table of documents with their names, and why some of them are shown."""
    columns = dict(table.columns)
    number = columns.pop("number")
    names = [texts.document(int(n)) for n in number]
    shown = [why.get(int(n), []) for n in number]
    return DetailTable(table.name, {"number": number, "document": names, **columns, "shown": shown})


def shown_tokens(
    session: Session,
    plan: Plan,
    twins: Mapping[str, SweptModel],
    wanted: Mapping[str, Sequence[int]],
    known: Mapping[str, DetailTable],
    hidden_bytes: int,
) -> dict[str, DetailTable]:
    """The table `tokens` of every twin. `wanted`: by twin, the documents that are shown of it, in
    their order; `plan`: what says which positions count; `known`: by twin, the predictions that
    the sweep kept, where it did: at positions that count; `hidden_bytes`: of the hidden states that
    are held at a time."""
    rows = {n: _Window.of(session.corpus, n) for of in wanted.values() for n in of}
    reader = _TokenReader(session=session, twins=twins, wanted=wanted, windows=rows)
    if wanted.keys() <= known.keys():
        for twin in wanted:
            reader.take(twin, known[twin])
    else:
        reader.read(hidden_bytes)
    counts = _counted(plan, rows)
    return {
        twin: DetailTable(TOKENS, reader.columns(twin, numbers, counts))
        for twin, numbers in wanted.items()
    }


@dataclass(frozen=True)
class _Window:
    """What is shown of a document: its first rows, and how many tokens of each."""

    rows: Mapping[int, int]

    @classmethod
    def of(cls, corpus: Corpus, document: int) -> "_Window":
        left, rows = WINDOW, {}
        for row in np.flatnonzero(corpus.document == document).tolist():
            # Predicting takes a token before it; BOS is one, and no text.
            rows[row] = min(len(corpus.rows[row]), left + corpus.bos)
            left -= rows[row] - corpus.bos
            if left < 1:
                break
        return cls(rows)


@dataclass(frozen=True, kw_only=True)
class _Prediction:
    """What a model puts first at some positions, and what it thinks of the true next token."""

    ids: np.ndarray
    """`[n, five]`."""
    shares: np.ndarray
    """`[n, five]`: their probabilities."""
    target: np.ndarray
    """`[n]`: the probability of the true token."""

    @classmethod
    def of(cls, log_probabilities: Tensor, target: Tensor) -> "_Prediction":
        found = likeliest(Activations(log_probabilities), target)
        return cls(**{name: of.cpu().numpy() for name, of in found.items()})


Place = tuple[int, int]
"""A row of the corpus and a token in it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _TokenReader:
    """The small sweep over the documents that are shown."""

    session: Session
    twins: Mapping[str, SweptModel]
    wanted: Mapping[str, Sequence[int]]
    windows: Mapping[int, _Window]
    found: dict[str, dict[Place, tuple[_Prediction, int]]] = field(default_factory=dict)
    """By model, where the prediction of a token stands."""
    kl: dict[str, dict[Place, float]] = field(default_factory=dict)
    """By twin."""

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {row: count for of in self.windows.values() for row, count in of.rows.items()}

    @torch.no_grad()
    def read(self, hidden_bytes: int) -> None:
        """Read every row that is shown."""
        twins = {name: self.twins[name] for name in self.wanted}
        corpus = self.session.corpus
        rows = [corpus.rows[row][:count] for row, count in self._rows.items()]
        for step in read_rows(self.session, twins, rows, {"logits"}, hidden_bytes):
            if "logits" in step.activations.get(REFERENCE, ()):
                self._take(step)
            del step

    def take(self, twin: str, known: DetailTable) -> None:
        """The predictions of one twin and of the reference that the sweep kept."""
        corpus, columns = self.session.corpus, known.columns
        document, offset = unpacked(columns["place"])
        mine = np.isin(document, list(self.wanted[twin]))
        row = corpus.rows_at(document[mine], offset[mine])
        after = offset[mine] - corpus.starts[row] + 1
        places = list(zip(row.tolist(), after.tolist(), strict=True))
        for name, who in ((REFERENCE, "reference"), (twin, "twin")):
            parts = {of: columns[f"{of}_{who}"][mine] for of in ("ids", "shares", "target")}
            self._keep(name, places, _Prediction(**parts))
        self.kl.setdefault(twin, {}).update(zip(places, columns["kl"][mine].tolist(), strict=True))

    def _take(self, step: Step) -> None:
        """The predictions of the tokens after some positions."""
        numbers = list(self._rows)
        rows = step.batch.document[step.index].tolist()
        offsets = step.batch.offset[step.index].tolist()
        places = [(numbers[row], at + 1) for row, at in zip(rows, offsets, strict=True)]
        target = step.batch.target[step.index]
        p = torch.log_softmax(step.activations[REFERENCE]["logits"].float(), dim=-1)
        self._keep(REFERENCE, places, _Prediction.of(p, target))
        for twin in self.wanted:
            q = torch.log_softmax(step.activations[twin]["logits"].float(), dim=-1)
            self._keep(twin, places, _Prediction.of(q, target))
            kl = torch.linalg.vecdot(p.exp(), p - q).tolist()
            self.kl.setdefault(twin, {}).update(zip(places, kl, strict=True))

    def _keep(self, name: str, places: Sequence[Place], made: _Prediction) -> None:
        self.found.setdefault(name, {}).update({at: (made, n) for n, at in enumerate(places)})

    @cached_property
    def _text(self) -> Any:
        """What a token says, each asked for once."""
        return cache(self.session.texts.token)

    def columns(
        self, twin: str, documents: Sequence[int], counts: set[tuple[int, int]]
    ) -> dict[str, list[Any]]:
        """One row a token, document by document."""
        corpus = self.session.corpus
        columns: dict[str, list[Any]] = {}
        for document in documents:
            for row, count in self.windows[document].rows.items():
                for place in range(int(corpus.bos), count):
                    offset = int(corpus.starts[row]) + place
                    values = {
                        "number": document,
                        "offset": offset,
                        "token": self._text(int(corpus.rows[row][place])),
                        "counts": (document, offset) in counts,
                        "kl": self.kl[twin].get((row, place)),
                        **self._prediction(REFERENCE, "reference", (row, place)),
                        **self._prediction(twin, "twin", (row, place)),
                    }
                    for name, value in values.items():
                        columns.setdefault(name, []).append(value)
        return columns

    def _prediction(self, model: str, who: str, at: Place) -> dict[str, Any]:
        """Nothing of a token that nothing stands before."""
        if at not in self.found[model]:
            empty: dict[str, Any] = {f"{name}_{who}": [] for name in ("ids", "top", "shares")}
            return {f"target_{who}": None, **empty}
        of, n = self.found[model][at]
        ids = of.ids[n].tolist()
        return {
            f"target_{who}": float(of.target[n]),
            f"ids_{who}": ids,
            f"top_{who}": [self._text(number) for number in ids],
            f"shares_{who}": of.shares[n].tolist(),
        }


def _counted(plan: Plan, documents: Mapping[int, Any]) -> set[tuple[int, int]]:
    """Tokens, by document and offset, whose predictions count in the means."""
    shown = torch.tensor(sorted(documents))
    found: set[tuple[int, int]] = set()
    for batch in plan.batches:
        if batch.documents == CORPUS:
            index = batch.logits_index.cpu()
            document, offset = batch.document.cpu()[index], batch.offset.cpu()[index]
            mine = torch.isin(document, shown)
            after = (offset[mine] + 1).tolist()
            found.update(zip(document[mine].tolist(), after, strict=True))
    return found
