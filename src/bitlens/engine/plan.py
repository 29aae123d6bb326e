"""The plan of a sweep: which tokens run together, which positions count, which are sampled, which
shard they are in.

Decided once, from the corpus and the settings alone: neither memory nor the order of anything
changes what is measured where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bitlens.data.batches import Batch, least_batch, make_batches
from bitlens.data.corpus import Corpus
from bitlens.data.groups import NONE, Groups
from bitlens.data.positions import Rule, counted
from bitlens.data.sample import batch_keys
from bitlens.engine.activations import Positions
from bitlens.errors import InputError
from bitlens.results.stats.replicates import DRAWN, SHARDS, assign, bootstrap, leave_one_out
from bitlens.seeds import position_keys

Interval = Literal["jackknife", "bootstrap"]
CORPUS, SUBSET = "corpus", "subset"
"""Names of sets of documents: the texts, and those of them that forks run on."""
LONGEST_CONTEXT = 1024
FORK_SHARE, FEWEST_FORKED = 8, 32
"""Forks run on one document in eight, or on so many where there are."""


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
    """Whether its documents are among those that forks run on."""
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


@dataclass(frozen=True, eq=False, kw_only=True)
class DocumentSet:
    """Documents over which something is averaged, and how they are replicated."""

    shard: Tensor
    """`[documents of the corpus]`; only those in the set mean anything. Copies share one."""
    weights: np.ndarray
    """`[replicates + 1, shards]`."""
    documents: int
    """Copies counted once."""
    keys: Mapping[bool, np.ndarray]
    """(of predicting positions?) to the keys of all its positions, ascending."""
    group: Tensor | None = None
    """`[documents of the corpus]`: the first document of each one's group, itself for one in none;
    None where no document is in a group. So is `label`: which of the labels of the corpus it has,
    -1: none."""
    label: Tensor | None = None

    @property
    def shards(self) -> int:
        """How many shards the documents are in."""
        return int(self.weights.shape[1])

    def threshold(self, size: int, *, predicting: bool) -> int:
        """The key that lets exactly `size` positions through, or all where there are no more."""
        keys = self.keys[predicting]
        return int(np.iinfo(np.int64).max if len(keys) <= size else keys[size - 1])


@dataclass(frozen=True, eq=False)
class Plan:
    """What one sweep reads."""

    batches: tuple[TokenBatch, ...]
    sets: Mapping[str, DocumentSet]
    """By name: the corpus, the seeded part of it that forks run on, and the documents of
    analyses that read their own."""

    @property
    def positions(self) -> int:
        """Counted positions of the corpus."""
        return len(self.sets[CORPUS].keys[False])

    def positions_of(self, batch: TokenBatch, index: Tensor, documents: str) -> Positions:
        """Where the flattened positions `index` of a batch are, in the shards of one set."""
        of = self.sets[documents]
        document = batch.document[index]
        return Positions(
            document=document,
            shard=of.shard[document],
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


def context_of(asked: int | None, model: str, longest: int | None) -> int:
    """How many tokens are read at a time? `longest`: what the model can, where it has a bound."""
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
    n = len(corpus.document_names)
    present = np.bincount(corpus.document, minlength=n) > 0
    chosen = _subset(np.unique(corpus.unit[present]), n, seed, corpus.groups) & present
    batches = _batches(CORPUS, corpus, rule, seed, batch_tokens, device, chosen)
    of_subset = [b for b in batches if b.subset]
    sets = {
        CORPUS: _document_set(
            batches, corpus, present, corpus.unit, fixed=0, seed=seed, interval=interval
        ),
        SUBSET: _document_set(
            of_subset, corpus, chosen, corpus.unit, fixed=0, seed=seed, interval=interval
        ),
    }
    for name, (documents, fixed) in (own or {}).items():
        theirs = _batches(name, documents, "content", seed, batch_tokens, device)
        # These were drawn for the purpose: none is a copy.
        unit = documents.together
        sets[name] = _document_set(
            theirs, documents, unit >= 0, unit, fixed=fixed, seed=seed, interval=interval
        )
        batches += theirs
    numbered = [replace(batch, number=number) for number, batch in enumerate(batches)]
    return Plan(tuple(numbered), sets)


def _batches(
    name: str,
    corpus: Corpus,
    rule: Rule,
    seed: int,
    batch_tokens: int,
    device: torch.device | str,
    subset: np.ndarray | None = None,
) -> list[TokenBatch]:
    rows = make_batches(corpus, max(batch_tokens, least_batch(corpus)), subset)
    return [_token_batch(b, i, name, corpus, rule, seed, device) for i, b in enumerate(rows)]


def _subset(
    documents: np.ndarray, names: int, seed: int, groups: Groups | None = None
) -> np.ndarray:
    """`[names]`: a seeded eighth of these documents, 32 at least where there are as many; of a
    group its first document is given, and the others come along."""
    size = max(min(FEWEST_FORKED, len(documents)), -(-len(documents) // FORK_SHARE))
    keys = position_keys(seed, documents, np.full_like(documents, -1))
    chosen = np.zeros(names, dtype=bool)
    chosen[documents[np.argsort(keys)[:size]]] = True
    # Of copies the first is read, of a group every document.
    return chosen if groups is None else chosen | (chosen[groups.together] & (groups.first != NONE))


def _token_batch(
    batch: Batch,
    number: int,
    name: str,
    corpus: Corpus,
    rule: Rule,
    seed: int,
    device: torch.device | str,
) -> TokenBatch:
    place = batch.offset[:, None] + np.arange(batch.tokens.shape[1])
    target = batch.target
    counts = counted(batch.tokens, batch.lengths, rule, corpus.bos_id, corpus.ends[batch.row])
    predicts = counts & (target >= 0)
    if rule == "last":
        # Nothing follows it that it could predict; it is predicted by the one before it.
        predicts = np.zeros_like(counts)
        predicts[:, :-1] = counts[:, 1:]
    document = np.broadcast_to(batch.document[:, None], place.shape)
    length = np.broadcast_to(batch.lengths[:, None], place.shape)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    return TokenBatch(
        number=number,
        documents=name,
        tokens=tensor(batch.tokens),
        mask=tensor(batch.mask.astype(np.int64)) if batch.padded else None,
        index=tensor(np.flatnonzero(counts)),
        logits_index=tensor(np.flatnonzero(predicts)),
        subset=batch.subset,
        document=tensor(document.ravel()),
        offset=tensor(place.ravel()),
        target=tensor(target.ravel()),
        key=tensor(batch_keys(batch, seed).ravel()),
        length=tensor(length.ravel()),
        mark=None if batch.mark is None else tensor(batch.mark.ravel()),
    )


def _document_set(
    batches: Sequence[TokenBatch],
    corpus: Corpus,
    member: np.ndarray,
    unit: np.ndarray,
    fixed: int,
    seed: int,
    interval: Interval,
) -> DocumentSet:
    """Shards and replicates of the documents in `member`, the first `fixed` of which are in every
    replicate. Whole units are left out, or drawn again: `unit` of each document."""
    documents = np.flatnonzero(member)[fixed:]
    sizes = np.bincount(corpus.document, weights=corpus.lengths, minlength=len(member))
    units, of = np.unique(unit[documents], return_inverse=True)
    together = np.bincount(of, weights=sizes[documents]).astype(int)
    shards = DRAWN if interval == "bootstrap" else SHARDS
    shard = np.zeros(len(member), dtype=np.int64)
    # Documents stand in the order of a hash of their text, so their numbers are keys.
    shard[documents] = assign(together.tolist(), units.tolist(), shards)[of]
    occupied = np.zeros(shard[documents].max() + 1, dtype=bool)
    keys = {}
    for predicting in (False, True):
        index = [b.logits_index if predicting else b.index for b in batches]
        seen = torch.cat([b.document[i] for b, i in zip(batches, index, strict=True)]).cpu().numpy()
        occupied[shard[np.intersect1d(seen, documents)]] = True
        taken = torch.cat([b.key[i] for b, i in zip(batches, index, strict=True)])
        keys[predicting] = np.sort(taken.cpu().numpy())
    weights = bootstrap(occupied, seed=seed) if interval == "bootstrap" else leave_one_out(occupied)
    if fixed:
        shard[:fixed] = weights.shape[1]
        weights = np.hstack([weights, np.ones((len(weights), 1))])
    device = batches[0].tokens.device
    placed = torch.from_numpy(shard).to(device)
    if corpus.groups is None:
        return DocumentSet(shard=placed, weights=weights, documents=len(units), keys=keys)
    group, label = (
        torch.from_numpy(of).to(device) for of in (corpus.together, corpus.groups.label)
    )
    return DocumentSet(
        shard=placed, weights=weights, documents=len(units), keys=keys, group=group, label=label
    )
