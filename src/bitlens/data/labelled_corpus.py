"""Labelled texts as a model reads them: which documents are learned from, which are read, and what
each set's two classes are called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitlens.data.copies import joined
from bitlens.data.corpus import Corpus
from bitlens.data.groups import Groups
from bitlens.data.labelled import LabelledTexts, distinct_names
from bitlens.data.texts import Documents
from bitlens.results.counts import count
from bitlens.seeds import generator

TRAINED_ON = 0.6
"""The share of each set's groups that is learned from; the others are read."""
BETWEEN = "\t"
"""Between the name of a set and a label, in the labels of the corpus."""


@dataclass(frozen=True, kw_only=True)
class ClassPair:
    """The two classes of a set."""

    name: str
    """The set's."""
    positive: str
    """What the class is called that a monitor watches for."""
    negative: str
    labels: tuple[int, int]
    """The numbers of the negative and of the positive class among the labels of the corpus."""


@dataclass(frozen=True, eq=False)
class LabelledCorpus:
    """The documents of all sets, those that are learned from first."""

    corpus: Corpus
    """One row a document, with the labels of `sets`."""
    training: int
    """How many documents, the first, are learned from."""
    sets: tuple[ClassPair, ...]


def as_texts(sets: Sequence[LabelledTexts]) -> Documents:
    """All sets as one source whose labels name the set too. BitlensError for sets of one name."""
    distinct_names(sets)
    return Documents(
        ", ".join(one.name for one in sets),
        tuple(
            document._replace(
                name=f"{one.name}, {document.name}",
                label=f"{one.name}{BETWEEN}{document.label}",
                group=f"{one.name}{BETWEEN}{document.group}",
            )
            for one in sets
            for document in one.documents
        ),
        marked=True,
    )


def in_parts(corpus: Corpus, sets: Iterable[LabelledTexts], seed: int) -> LabelledCorpus:
    """The corpus of `as_texts` with the documents that are learned from, a seeded share of each
    set's groups, before the others. Of a document longer than the context its beginning stays.
    Documents of which the same is read are in one group, whatever the file says: copies on both
    sides of training and test would be read by heart."""
    assert corpus.groups is not None
    number = {label: n for n, label in enumerate(corpus.groups.labels)}
    pairs = tuple(
        ClassPair(
            name=one.name,
            positive=one.positive,
            negative=one.negative,
            labels=(
                number[f"{one.name}{BETWEEN}{one.negative}"],
                number[f"{one.name}{BETWEEN}{one.positive}"],
            ),
        )
        for one in sets
    )
    cut = len(np.unique(corpus.document[corpus.starts > 0]))
    notes = (
        *corpus.notes[-1:],
        *(
            [f"Only the beginning of labelled texts was read in {count(cut, 'case')}."]
            if cut
            else []
        ),
    )
    first = replace(
        corpus,
        rows=tuple(r for r, start in zip(corpus.rows, corpus.starts, strict=True) if start == 0),
        document=corpus.document[corpus.starts == 0],
        starts=corpus.starts[corpus.starts == 0],
        groups=corpus.groups.select(corpus.starts == 0),
        notes=notes,
    )
    groups = _with_copies(first)
    first = replace(first, groups=groups)
    learned = _learned(groups, pairs, seed)
    order = np.argsort(~learned, kind="stable")
    return LabelledCorpus(renumbered(first, order), int(learned.sum()), pairs)


def _with_copies(corpus: Corpus) -> Groups:
    """The groups of a corpus of one row a document, equal rows of a set put together. Near copies
    stay apart: prompts in one long template are nearly equal, and are not one text."""
    groups = corpus.groups
    assert groups is not None
    names = [label.partition(BETWEEN)[0] for label in groups.labels]
    known: dict[tuple[str, bytes], int] = {}
    same = np.arange(len(groups.label))
    for row, document in zip(corpus.rows, corpus.document.tolist(), strict=True):
        same[document] = known.setdefault((names[groups.label[document]], row.tobytes()), document)
    return replace(groups, first=joined(groups.together, same))


def _learned(groups: Groups, pairs: Sequence[ClassPair], seed: int) -> NDArray[np.bool_]:
    """`[documents]`: which are learned from. Within a set, groups of one class apart from groups of
    the other, so that both parts have both; of groups of both classes the same share."""
    learned = np.zeros(len(groups.label), dtype=bool)
    for pair in pairs:
        draw = generator(seed, "labelled", pair.name)
        member = np.isin(groups.label, pair.labels)
        units = np.unique(groups.together[member])
        for kind in np.unique(groups.label[units]):
            some = draw.permutation(units[groups.label[units] == kind])
            chosen = some[: round(TRAINED_ON * len(some))]
            learned |= np.isin(groups.together, chosen)
    return learned


def renumbered(corpus: Corpus, order: NDArray[np.int64]) -> Corpus:
    """The corpus whose document n is the document `order[n]` of this one, with its one row; what
    is not in the order is left out."""
    groups = corpus.groups
    assert groups is not None
    row_of = np.full(len(corpus.document_names), -1)
    row_of[corpus.document] = np.arange(len(corpus.rows))
    rows = row_of[order]
    # A group is called by its first document, which may be another one now.
    _, of = np.unique(groups.together[order], return_inverse=True)
    first = np.full(of.max() + 1, len(order))
    np.minimum.at(first, of, np.arange(len(order)))
    return replace(
        corpus,
        rows=tuple(corpus.rows[n] for n in rows),
        document=np.arange(len(order)),
        starts=corpus.starts[rows],
        document_names=tuple(corpus.document_names[n] for n in order),
        groups=Groups(
            first=first[of],
            label=groups.label[order],
            labels=groups.labels,
            mark=tuple(groups.mark[n] for n in rows),
        ),
    )
