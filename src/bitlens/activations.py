"""What does an SAE learn from? A model's activations at one place, and its twins' at the same
positions, by the sweep: kept in memory where they fit, chunk by chunk where they do not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError, failed
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from bitlens.plan import CORPUS, TokenBatch
from bitlens.seeds import generator
from bitlens.sweep import Stream, Sweep, Wish
from bitlens.twin import Twin

CHUNK = 1 << 17
"""Positions read at a time where they do not all fit: what is drawn at random is drawn within."""
HELD_OUT_TOKENS = 65_536
"""At most so many are kept to measure on."""
SHORT = 0.05
"""Share of the tokens to learn from that may be missing, however short the documents."""


def split(corpus: Corpus, share: float) -> tuple[Corpus, Corpus]:
    """Documents to learn from and documents to measure on, whole, at least one of each.

    The choice is the same for every seed of training. BitlensError where there is one document
    only, or where `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise BitlensError(
            f"The share of documents held out is {share:g}.", "between 0 and 1.", "--held-out 0.1"
        )
    # Copies stay together: what was learnt from is not measured on.
    unit = corpus.unit[corpus.document]
    documents = np.unique(unit)
    if len(documents) < 2:
        raise BitlensError(
            f"{corpus.name} has {len(documents)} document"
            + (f", and {corpus.copies} copies of it." if corpus.copies else "."),
            "two or more: some are learnt from, the others measured on.",
            "another --text, or more --tokens.",
        )
    order = generator(0, "held-out").permutation(documents)
    held = order[: min(max(1, round(share * len(documents))), len(documents) - 1)]
    tokens = np.bincount(unit, corpus.lengths, minlength=documents.max() + 1)
    kept = held[np.cumsum(tokens[held]) <= HELD_OUT_TOKENS]
    return corpus.of_units(order[len(held) :]), corpus.of_units(kept if len(kept) else held[:1])


def nested(corpus: Corpus, held_out: int, sizes: Sequence[int]) -> tuple[Corpus, list[Corpus]]:
    """Documents of about `held_out` tokens to measure on, and for each of `sizes` documents of at
    most so many tokens to learn from, the smaller ones among the larger ones.

    What is held out does not depend on the sizes, so that SAEs of all of them are measured on the
    same documents. BitlensError where there is too little text for the largest (documents are
    whole: one of them may be missing, or SHORT), or where no document is short enough for the
    smallest.
    """
    unit = corpus.unit[corpus.document]
    documents = generator(0, "held-out").permutation(np.unique(unit))
    tokens = np.bincount(unit, corpus.lengths, minlength=int(documents.max()) + 1)
    so_far = np.cumsum(tokens[documents])
    apart = int(np.searchsorted(so_far, held_out)) + 1
    left = int(so_far[-1] - so_far[min(apart, len(so_far)) - 1])
    largest, longest = max(sizes), int(tokens.max())
    if not left or left + max(longest, SHORT * largest) < largest:
        raise BitlensError(
            f"{corpus.name} has {left:,} tokens beside the {held_out:,} that are held out, in "
            f"documents of up to {longest:,}.",
            f"{largest:,}, the most that is to be learnt from.",
            "more text, or fewer tokens.",
        )
    learnt, so_far = documents[apart:], np.cumsum(tokens[documents[apart:]])
    if so_far[0] > min(sizes):
        first = f"{int(so_far[0]):,} tokens"
        raise BitlensError(
            f"The first document of {corpus.name} to be learnt from has {first}.",
            f"{min(sizes):,} or fewer, the least that is to be learnt from.",
            "shorter documents, or more tokens.",
        )
    counts = [int(np.searchsorted(so_far, size, side="right")) for size in sizes]
    return corpus.of_units(documents[:apart]), [corpus.of_units(learnt[:n]) for n in counts]


@dataclass(frozen=True, eq=False)
class Reading:
    """Where activations are read, and of whom."""

    layout: Layout
    twins: Mapping[str, Twin]
    """By name, the reference among them if it is wanted."""
    place: str
    hidden_bytes: int
    """Of hidden states at a time."""

    def bytes_of(self, batches: Sequence[TokenBatch]) -> int:
        """What `rows` would take."""
        return 4 * self.layout.width * len(self.twins) * positions_of(batches)

    def rows(self, batches: Sequence[TokenBatch]) -> dict[str, Tensor]:
        """By name, `[counted positions of the batches, width]` float32, the same positions in the
        same order. BitlensError for a twin that fails or whose numbers are not finite."""
        stop = site(self.place).depth + 1
        count, device = positions_of(batches), self.layout.device
        found = {n: torch.empty(count, self.layout.width, device=device) for n in self.twins}
        tokens = sum(batch.tokens.numel() for batch in batches)
        total = tokens * stop * len(self.twins)
        with tqdm(
            desc="activations", unit=" tokens", unit_scale=True, total=total, disable=None
        ) as bar:
            sweep = Sweep(
                self.layout,
                self.twins,
                [Stream(name, name, stop=stop) for name in self.twins],
                [Wish(name, frozenset([self.place]), CORPUS) for name in self.twins],
                batches,
                self.hidden_bytes,
                bar.update,
            )
            done = dict.fromkeys(found, 0)
            for wave in sweep.waves:
                for step in sweep.run(wave):
                    _refuse_failed(sweep)
                    for name, read in step.readings.items():
                        if self.place in read and name not in step.again:
                            values = read[self.place].flatten(0, 1)[step.index]
                            found[name][done[name] : done[name] + len(values)] = values
                            done[name] += len(values)
        for name, rows in found.items():
            _refuse_infinite(name, rows, self.place)
        return found


@dataclass(frozen=True, eq=False)
class Streamed:
    """Activations of more positions than fit, read anew on every pass."""

    reading: Reading
    parts: Sequence[Sequence[TokenBatch]]

    @property
    def sizes(self) -> Sequence[int]:
        """Positions in each chunk."""
        return [positions_of(part) for part in self.parts]

    def chunks(self, first: int) -> Iterator[Mapping[str, Tensor]]:
        """From this chunk on."""
        for part in self.parts[first:]:
            yield self.reading.rows(part)


def in_parts(batches: Sequence[TokenBatch], positions: int = CHUNK) -> list[list[TokenBatch]]:
    """Batches one after the other, together until there are so many positions."""
    parts: list[list[TokenBatch]] = [[]]
    for batch in batches:
        if parts[-1] and positions_of([*parts[-1], batch]) > positions:
            parts.append([])
        parts[-1].append(batch)
    return parts


def positions_of(batches: Sequence[TokenBatch]) -> int:
    """How many positions of these batches count."""
    return sum(len(batch.index) for batch in batches)


def _refuse_failed(sweep: Sweep) -> None:
    for name, reason in sweep.failed.items():
        raise failed(name, reason)


def _refuse_infinite(name: str, rows: Tensor, place: str) -> None:
    broken = int((~rows.isfinite()).any(dim=1).sum())
    if broken:
        raise BitlensError(
            f"The activations of {name} at {place} are not finite at {broken:,} positions.",
            "a model that computes finite numbers.",
            "another compression, or --compute float32; of a repair, in its audit.",
        )
