"""The plan of a sweep: which tokens run together, which positions count, which are sampled, which
shard they are in.

Decided once, from the corpus and the settings alone: neither memory nor the order of anything
changes what is measured where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitlens.data.batches import Batch, least_batch, make_batches
from bitlens.data.categories import Categories
from bitlens.data.corpus import Corpus
from bitlens.data.groups import NONE, Groups
from bitlens.data.positions import Rule, counted
from bitlens.data.sample import batch_keys
from bitlens.engine.activations import Positions
from bitlens.engine.parts import parts
from bitlens.errors import InputError
from bitlens.results.records import FEWEST
from bitlens.results.stats.replicates import DRAWN, SHARDS, assign, bootstrap, leave_one_out
from bitlens.seeds import position_keys

Interval = Literal["jackknife", "bootstrap"]
CORPUS, SUBSET = "corpus", "subset"
"""Names of sets of documents: the texts, and those of them that branches run on."""
LONGEST_CONTEXT = 1024
BRANCH_SHARE, FEWEST_BRANCHED = 10, 2
"""Branches run on one document in ten, but on as many as an interval takes where there are as many;
on two at least. Every branch costs a forward of what it runs on."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenBatch:
    """Rows of tokens that run together; the same for every wave and memory."""

    number: int
    documents: str
    """`corpus`, or the name of the analysis whose own documents these are."""
    tokens: Tensor
    """`[rows, positions]`, padded on the right."""
    mask: Tensor | None
    """`[rows, positions]`, 1 for tokens; None where nothing is padded."""
    index: Tensor
    """`[n]`: the counted positions, flattened."""
    logits_index: Tensor
    """`[m]`: the counted positions that predict a token of their window."""
    subset: bool
    """Whether its documents are among those that branches run on."""
    part: int = 0
    """Which part of its set of documents it is in: what is summed up by itself."""
    document: Tensor
    """`[rows * positions]`, as the four below."""
    offset: Tensor
    target: Tensor
    key: Tensor
    length: Tensor
    """Tokens in the row."""
    mark: Tensor | None = None
    """`[rows * positions]`: which of its document's marks, 0 the first, each position belongs to,
    -1: none; None where no document is in a group."""


class PositionKeys(NamedTuple):
    """The keys by which positions of a set of documents are drawn, ascending."""

    counted: np.ndarray
    """`[counted positions]` int64."""
    predicting: np.ndarray
    """`[counted positions that predict a token]` int64."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DocumentSet:
    """Documents over which something is averaged, and how they are replicated."""

    shard: Tensor
    """`[documents of the corpus]`; only those in the set mean anything. Copies share one."""
    weights: np.ndarray
    """`[replicates + 1, shards]`, whatever the categories."""
    documents: int
    """Copies counted once."""
    keys: PositionKeys
    categories: Categories | None = None
    """Of which category every position is; None: nobody asked."""
    members: tuple[frozenset[int], ...] = ()
    """Of each category the units, documents or groups, that have a counted position of it."""
    group: Tensor | None = None
    """`[documents of the corpus]`: the first document of each one's group, itself for one in none;
    None where no document is in a group. So is `label`: which of the labels of the corpus it has,
    -1: none."""
    label: Tensor | None = None

    @property
    def base(self) -> int:
        """How many shards there are, the one of documents that are never left out included."""
        return int(self.weights.shape[1])

    @property
    def shards(self) -> int:
        """In how many parts sums are kept: shards, or shards of categories."""
        return self.base * (1 if self.categories is None else len(self.categories.labels))

    def documents_in(self, categories: Sequence[int]) -> int:
        """How many documents, copies counted once, have a position of one of these categories."""
        return len(frozenset[int]().union(*(self.members[number] for number in categories)))

    def threshold(self, size: int, *, predicting: bool) -> int:
        """The key that lets exactly `size` positions through, or all where there are no more."""
        keys = self.keys.predicting if predicting else self.keys.counted
        return int(np.iinfo(np.int64).max if len(keys) <= size else keys[size - 1])


@dataclass(frozen=True, eq=False)
class Plan:
    """What one sweep reads."""

    batches: tuple[TokenBatch, ...]
    sets: Mapping[str, DocumentSet]
    """By name: the corpus, the seeded part of it that branches run on, and the documents of
    analyses that read their own."""

    @property
    def positions(self) -> int:
        """Counted positions of the corpus."""
        return len(self.sets[CORPUS].keys.counted)

    def positions_of(self, batch: TokenBatch, index: Tensor, documents: str) -> Positions:
        """Where the flattened positions `index` of a batch are, in the shards of one set."""
        of = self.sets[documents]
        document = batch.document[index]
        shard = of.shard[document]
        if of.categories is not None:
            shard = shard + of.base * _category(of.categories, batch, index)
        return Positions(
            document=document,
            shard=shard,
            shards=of.shards,
            offset=batch.offset[index],
            target=batch.target[index],
            key=batch.key[index],
            token=batch.tokens.flatten()[index],
            length=batch.length[index],
            group=None if of.group is None else of.group[document],
            label=None if of.label is None else of.label[document],
            mark=None if batch.mark is None else batch.mark[index],
        )


def _category(categories: Categories, batch: TokenBatch, index: Tensor) -> Tensor:
    """`[n]`: the category of each of the flattened positions `index` of a batch."""
    place = index % batch.tokens.shape[1]
    found = categories.at(batch.document[index].cpu().numpy(), place.cpu().numpy())
    return torch.from_numpy(found).to(index.device)


def context_of(asked: int | None, model: str, longest: int | None) -> int:
    """How many tokens are read at a time? `longest`: what the model can, where it has a bound.
    InputError where more are asked for."""
    longest = longest or LONGEST_CONTEXT
    context = asked or min(longest, LONGEST_CONTEXT)
    if context > longest:
        raise InputError(
            f"The context is {context} tokens, but {model} reads {longest}.",
            f"at most {longest}.",
            f"--context {longest}",
        )
    return context


def make_plan(
    corpus: Corpus,
    rule: Rule,
    seed: int,
    batch_tokens: int,
    interval: Interval = "jackknife",
    device: torch.device | str = "cpu",
    own: Mapping[str, tuple[Corpus, int]] | None = None,
) -> Plan:
    """Batches, shards and samples of a corpus. `own`: by analysis, documents of its own and how
    many of them, the first, are never left out."""
    how = _How(rule, seed, interval, torch.device(device))
    n = len(corpus.document_names)
    present = np.bincount(corpus.document, minlength=n) > 0
    chosen = _subset(np.unique(corpus.unit[present]), n, seed, corpus.groups) & present
    batches = how.batches(CORPUS, corpus, batch_tokens, chosen)
    of_subset = [b for b in batches if b.subset]
    unit = corpus.unit
    sets = {
        CORPUS: how.categorised(
            how.document_set(batches, corpus, member=present, unit=unit), batches, corpus, unit
        ),
        SUBSET: how.document_set(of_subset, corpus, member=chosen, unit=unit),
    }
    for name, (documents, fixed) in (own or {}).items():
        theirs = replace(how, rule="content").batches(name, documents, batch_tokens)
        # These were drawn for the purpose: none is a copy.
        unit = documents.together
        sets[name] = how.document_set(theirs, documents, member=unit >= 0, unit=unit, fixed=fixed)
        batches += theirs
    numbered = [replace(batch, number=number) for number, batch in enumerate(batches)]
    return Plan(tuple(numbered), sets)


def _subset(
    documents: np.ndarray, names: int, seed: int, groups: Groups | None = None
) -> np.ndarray:
    """`[names]`: a seeded tenth of these documents, or as many as an interval takes; of fewer, two;
    of a group its first document is given, and the others come along."""
    fewest = max(FEWEST if len(documents) >= FEWEST else 0, FEWEST_BRANCHED)
    size = max(min(fewest, len(documents)), -(-len(documents) // BRANCH_SHARE))
    keys = position_keys(seed, documents, np.full_like(documents, -1))
    chosen = np.zeros(names, dtype=bool)
    chosen[documents[np.argsort(keys)[:size]]] = True
    # Of copies the first is read, of a group every document.
    return chosen if groups is None else chosen | (chosen[groups.together] & (groups.first != NONE))


@dataclass(frozen=True)
class _How:
    """What decides about batches and sets besides their documents."""

    rule: Rule
    seed: int
    interval: Interval
    device: torch.device

    def batches(
        self, name: str, corpus: Corpus, batch_tokens: int, subset: np.ndarray | None = None
    ) -> list[TokenBatch]:
        """The batches of a corpus, of so many tokens or as many as its largest group has."""
        rows = make_batches(corpus, max(batch_tokens, least_batch(corpus)), subset)
        made = [self._token_batch(batch, name, corpus) for batch in rows]
        # Of every set by itself: documents of an analysis' own change no digit of another.
        numbers = parts([batch.tokens.numel() for batch in made])
        return [replace(batch, part=number) for batch, number in zip(made, numbers, strict=True)]

    def _token_batch(self, batch: Batch, name: str, corpus: Corpus) -> TokenBatch:
        place = batch.offset[:, None] + np.arange(batch.tokens.shape[1])
        target = batch.target
        counts = counted(
            batch.tokens, batch.lengths, self.rule, corpus.bos_id, corpus.ends[batch.row]
        )
        predicts = counts & (target >= 0)
        if self.rule == "last":
            # Nothing follows it that it could predict; it is predicted by the one before it.
            predicts = np.zeros_like(counts)
            predicts[:, :-1] = counts[:, 1:]
        document = np.broadcast_to(batch.document[:, None], place.shape)
        length = np.broadcast_to(batch.lengths[:, None], place.shape)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array)).to(self.device)

        return TokenBatch(
            number=0,
            documents=name,
            tokens=tensor(batch.tokens),
            mask=tensor(batch.mask.astype(np.int64)) if batch.padded else None,
            index=tensor(np.flatnonzero(counts)),
            logits_index=tensor(np.flatnonzero(predicts)),
            subset=batch.subset,
            document=tensor(document.ravel()),
            offset=tensor(place.ravel()),
            target=tensor(target.ravel()),
            key=tensor(batch_keys(batch, self.seed).ravel()),
            length=tensor(length.ravel()),
            mark=None if batch.mark is None else tensor(batch.mark.ravel()),
        )

    def document_set(
        self,
        batches: Sequence[TokenBatch],
        corpus: Corpus,
        *,
        member: np.ndarray,
        unit: np.ndarray,
        fixed: int = 0,
    ) -> DocumentSet:
        """Shards and replicates of the documents in `member`, the first `fixed` of which are in
        every replicate. Whole units are left out, or drawn again: `unit` of each document."""
        documents = np.flatnonzero(member)[fixed:]
        sizes = np.bincount(corpus.document, weights=corpus.lengths, minlength=len(member))
        units, of = np.unique(unit[documents], return_inverse=True)
        together = np.bincount(of, weights=sizes[documents]).astype(int)
        shards = DRAWN if self.interval == "bootstrap" else SHARDS
        shard = np.zeros(len(member), dtype=np.int64)
        # Documents stand in the order of a hash of their text, so their numbers are keys.
        kinds = None if corpus.categories is None else corpus.categories.of
        classes = None if kinds is None else kinds[units].tolist()
        shard[documents] = assign(together.tolist(), units.tolist(), shards, classes)[of]
        occupied = np.zeros(shard[documents].max() + 1, dtype=bool)
        seen = [_gathered(batches, "document", predicting=p) for p in (False, True)]
        occupied[shard[np.intersect1d(np.concatenate(seen), documents)]] = True
        keys = (np.sort(_gathered(batches, "key", predicting=p)) for p in (False, True))
        weights = (
            bootstrap(occupied, seed=self.seed)
            if self.interval == "bootstrap"
            else leave_one_out(occupied)
        )
        if fixed:
            shard[:fixed] = weights.shape[1]
            weights = np.hstack([weights, np.ones((len(weights), 1))])
        group = label = None
        if corpus.groups is not None:
            group, label = (
                torch.from_numpy(of).to(self.device)
                for of in (corpus.together, corpus.groups.label)
            )
        return DocumentSet(
            shard=torch.from_numpy(shard).to(self.device),
            weights=weights,
            documents=len(units),
            keys=PositionKeys(*keys),
            group=group,
            label=label,
        )

    def categorised(
        self, found: DocumentSet, batches: Sequence[TokenBatch], corpus: Corpus, unit: np.ndarray
    ) -> DocumentSet:
        """A set with the categories of the corpus, where it has any."""
        categories = corpus.categories
        if categories is None:
            return found
        # Halves of the shards are told by even and odd numbers, in each category alike.
        weights = np.pad(found.weights, ((0, 0), (0, found.base % 2)), constant_values=1.0)
        members: list[set[int]] = [set() for _ in categories.labels]
        for batch in batches:
            document = batch.document[batch.index].cpu().numpy()
            kinds = _category(categories, batch, batch.index).cpu().numpy()
            for kind, of in np.unique(np.stack([kinds, unit[document]]), axis=1).T.tolist():
                members[kind].add(of)
        held = tuple(frozenset(of) for of in members)
        return replace(found, weights=weights, categories=categories, members=held)


def _gathered(batches: Sequence[TokenBatch], name: str, *, predicting: bool) -> np.ndarray:
    """A field of the counted positions of all batches, or of those that predict a token."""
    index = [b.logits_index if predicting else b.index for b in batches]
    parts = [getattr(b, name)[of] for b, of in zip(batches, index, strict=True)]
    return torch.cat(parts).cpu().numpy()
