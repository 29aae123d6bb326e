"""Top positions of features, and which of them are shown: on a few documents that hold places of as
many features as can be."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from bitlens.data.corpus import Corpus
from bitlens.engine.places import unpacked
from bitlens.results.records import DetailTable

MOST = 64
"""Contexts come from so many documents at most."""
SHARE, FEWEST = 8, 2
"""Where they must be read again, from one in eight, but from so many where there are."""
SHOWN = 3
"""Top positions shown of a feature in each model."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Places:
    """Top positions of an audit's features in one twin, an entry of each array each."""

    sae: np.ndarray
    site: np.ndarray
    latent: np.ndarray
    of_twin: np.ndarray
    """Whose top position it is: the twin's, or the reference's."""
    rank: np.ndarray
    """From 0, among all positions of the text."""
    document: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, shown: DetailTable) -> "Places":
        """As the analysis found them: those of a feature in a model together, the highest first."""
        columns = {name: np.asarray(values) for name, values in shown.columns.items()}
        of_twin = columns["found"] == "twin"
        document, offset = unpacked(columns["position"])
        same = np.ones(len(of_twin), dtype=bool)
        for column in (columns["sae"], columns["latent"], of_twin):
            same[1:] &= column[1:] == column[:-1]
        place = np.arange(len(same))
        first = np.maximum.accumulate(np.where(same & (place > 0), 0, place))
        return cls(
            sae=columns["sae"],
            site=columns["site"],
            latent=columns["latent"].astype(np.int64),
            of_twin=of_twin,
            rank=place - first,
            document=document,
            offset=offset,
        )

    def __len__(self) -> int:
        return len(self.latent)

    def some(self, chosen: np.ndarray) -> "Places":
        """Those of a mask or in an order."""
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def feature(self) -> np.ndarray:
        """Which feature each is of, as a number."""
        return numbered(self.sae, self.latent)

    def rows(self, corpus: Corpus) -> np.ndarray:
        """Which row of the corpus holds each."""
        return corpus.rows_at(self.document, self.offset)

    def to_show(self, documents: np.ndarray) -> "Places":
        """Of those in these documents, the highest of each feature in each model, and the same
        positions' ranks in the other model."""
        kept = self.some(np.isin(self.document, documents))
        kept = kept.some(np.lexsort((kept.rank, kept.of_twin, kept.feature)))
        run = numbered(kept.feature, kept.of_twin)
        first = np.searchsorted(run, run)
        high = np.arange(len(kept)) - first < SHOWN
        position = numbered(kept.feature, kept.document, kept.offset)
        return kept.some(np.isin(position, position[high]))


def few(documents: int) -> int:
    """How many of so many documents are read again."""
    return min(MOST, max(FEWEST, documents // SHARE))


def numbered(*columns: np.ndarray) -> np.ndarray:
    """A number for each different row, in their order."""
    found = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        _, found = np.unique(found * max(1, len(values)) + inverse, return_inverse=True)
    return found


def documents(places: Sequence[Places], room: int) -> np.ndarray:
    """So many documents at most that hold places of as many features as can be: each the one that
    adds most, high ranks counting more."""
    whole = {f.name: np.concatenate([getattr(p, f.name) for p in places]) for f in fields(Places)}
    twin = np.repeat(np.arange(len(places)), [len(p) for p in places])
    # The reference's are the same for all twins.
    whose = np.where(whole["of_twin"], twin + 1, 0)
    key = numbered(whole["sae"], whole["latent"], whose)
    names, document = np.unique(whole["document"], return_inverse=True)
    order = np.lexsort((whole["rank"], key, document))
    key, document, rank = key[order], document[order], whole["rank"][order]
    best = np.ones(len(key), dtype=bool)
    best[1:] = (key[1:] != key[:-1]) | (document[1:] != document[:-1])
    key, document, gain = key[best], document[best], 1 / (1 + rank[best])
    left = np.ones(key.max() + 1 if len(key) else 0, dtype=bool)
    chosen: list[int] = []
    while len(chosen) < room:
        gains = np.bincount(document, gain * left[key], minlength=len(names))
        if not len(gains) or not gains.max():
            break
        chosen.append(int(gains.argmax()))
        left[key[document == chosen[-1]]] = False
    return names[chosen]
