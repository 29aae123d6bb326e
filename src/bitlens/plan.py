"""Which tokens run together, which positions count, which are sampled, which shard they are in?

Decided once, from the corpus and the settings alone: neither memory nor the order of anything
changes what is measured where.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bitlens.data.batches import Batch, make_batches
from bitlens.data.corpus import Corpus
from bitlens.data.positions import Rule, counted
from bitlens.data.sample import batch_keys
from bitlens.readings import Positions
from bitlens.seeds import position_keys
from bitlens.stats.replicates import SHARDS, assign, bootstrap, leave_one_out

Interval = Literal["jackknife", "bootstrap"]
FORK_SHARE = 8
"""Forks run on one document in eight."""


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Rows of tokens that run together; the same for every wave and memory."""

    number: int
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


@dataclass(frozen=True, eq=False)
class DocumentSet:
    """Documents over which something is averaged, and how they are replicated."""

    shard: Tensor
    """`[documents of the corpus]`; only those in the set mean anything."""
    weights: np.ndarray
    """`[replicates + 1, shards]`."""
    documents: int
    thresholds: dict[tuple[bool, int], int]
    """(of predicting positions?, sample size) to the largest key in the sample."""

    @property
    def shards(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True, eq=False)
class Plan:
    """What one sweep reads."""

    batches: tuple[TokenBatch, ...]
    all: DocumentSet
    subset: DocumentSet
    """The seeded eighth of the documents that forks run on."""
    positions: int
    """Counted positions."""

    def positions_of(self, batch: TokenBatch, index: Tensor, subset: bool) -> Positions:
        """Where the flattened positions `index` of a batch are, in the shards of one set."""
        documents = self.subset if subset else self.all
        document = batch.document[index]
        return Positions(
            document,
            documents.shard[document],
            documents.shards,
            batch.offset[index],
            batch.target[index],
            batch.key[index],
        )


def make_plan(
    corpus: Corpus,
    rule: Rule,
    seed: int,
    batch_tokens: int,
    samples: Sequence[int],
    interval: Interval = "jackknife",
    device: torch.device | str = "cpu",
) -> Plan:
    """Batches, shards and samples of a corpus. `samples`: the sample sizes analyses ask for."""
    n = len(corpus.document_names)
    present = np.bincount(corpus.document, minlength=n) > 0
    chosen = _subset(present, seed)
    rows = make_batches(corpus, max(batch_tokens, int(corpus.lengths.max())), chosen)
    batches = [_token_batch(b, i, corpus, rule, seed, device) for i, b in enumerate(rows)]
    of_subset = [b for b in batches if b.subset]
    everyone, some = (
        _document_set(of, corpus, member, seed, samples, interval, device)
        for of, member in ((batches, present), (of_subset, chosen))
    )
    return Plan(tuple(batches), everyone, some, sum(len(b.index) for b in batches))


def _subset(present: np.ndarray, seed: int) -> np.ndarray:
    """A seeded eighth of the documents, two at least where there are two."""
    documents = np.flatnonzero(present)
    size = max(min(2, len(documents)), -(-len(documents) // FORK_SHARE))
    keys = position_keys(seed, documents, np.full_like(documents, -1))
    chosen = np.zeros(len(present), dtype=bool)
    chosen[documents[np.argsort(keys)[:size]]] = True
    return chosen


def _token_batch(
    batch: Batch, number: int, corpus: Corpus, rule: Rule, seed: int, device: torch.device | str
) -> TokenBatch:
    place = batch.offset[:, None] + np.arange(batch.tokens.shape[1])
    target = batch.target
    counts = counted(batch.tokens, batch.lengths, rule, corpus.bos_id)
    predicts = counts & (target >= 0)
    if rule == "last":
        # The last token of a row predicts nothing in it; the one before it does.
        predicts = np.zeros_like(counts)
        predicts[:, :-1] = counts[:, 1:]
    document = np.broadcast_to(batch.document[:, None], place.shape)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    return TokenBatch(
        number,
        tensor(batch.tokens),
        tensor(batch.mask.astype(np.int64)) if batch.padded else None,
        tensor(np.flatnonzero(counts)),
        tensor(np.flatnonzero(predicts)),
        batch.subset,
        tensor(document.ravel()),
        tensor(place.ravel()),
        tensor(target.ravel()),
        tensor(batch_keys(batch, seed).ravel()),
    )


def _document_set(
    batches: Sequence[TokenBatch],
    corpus: Corpus,
    member: np.ndarray,
    seed: int,
    samples: Sequence[int],
    interval: Interval,
    device: torch.device | str,
) -> DocumentSet:
    documents = np.flatnonzero(member)
    sizes = np.bincount(corpus.document, weights=corpus.lengths, minlength=len(member))
    shards = len(documents) if interval == "bootstrap" else SHARDS
    shard = np.zeros(len(member), dtype=np.int64)
    # Documents stand in the order of a hash of their text, so their numbers are keys.
    shard[documents] = assign(sizes[documents].astype(int).tolist(), documents.tolist(), shards)
    occupied = np.zeros(shard[documents].max() + 1, dtype=bool)
    thresholds = {}
    for predicting in (False, True):
        index = [b.logits_index if predicting else b.index for b in batches]
        seen = [b.document[i] for b, i in zip(batches, index, strict=True)]
        occupied[shard[np.unique(torch.cat(seen).cpu().numpy())]] = True
        keys = torch.cat([b.key[i] for b, i in zip(batches, index, strict=True)]).cpu().numpy()
        for size in samples:
            thresholds[(predicting, size)] = smallest(keys, size)
    weights = bootstrap(occupied, seed=seed) if interval == "bootstrap" else leave_one_out(occupied)
    return DocumentSet(torch.from_numpy(shard).to(device), weights, len(documents), thresholds)


def smallest(keys: np.ndarray, size: int) -> int:
    """The key that lets exactly `size` keys through, or all where there are no more."""
    if len(keys) <= size:
        return int(np.iinfo(np.int64).max)
    return int(np.partition(keys, size - 1)[size - 1])
