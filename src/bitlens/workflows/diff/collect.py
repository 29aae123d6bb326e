"""What differs: activations of the reference and what each twin adds to them, on the positions that
count, of several sites by one sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.plan import CORPUS, Plan, TokenBatch
from bitlens.engine.reader import count_positions, read
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.errors import CapacityError, ModelError
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from bitlens.progress import ProgressBar

Spot = tuple[str, str]
"""A site and a twin."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Standpoints:
    """Which positions rows are of; arrays `[n]`."""

    document: np.ndarray
    shard: np.ndarray
    offset: np.ndarray
    """In the document."""
    token: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class DifferenceRows:
    """Activations and differences at the same positions."""

    reference: Mapping[str, Tensor]
    """By site, `[n, width]` float32."""
    difference: Mapping[Spot, Tensor]
    """The twin's less the reference's, `[n, width]` float32."""
    at: Standpoints
    uncounted: Mapping[Spot, float]
    """Squared length of the differences of all documents that were read at positions that do not
    count: BOS, the first ones."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DifferenceReader:
    """Where differences are read, and of whom."""

    layout: Layout
    twins: Mapping[str, SweptModel]
    sites: Sequence[str]
    memory: int
    """Bytes: half for what is read, a quarter for hidden states on their way."""

    def refuse_too_much(self, positions: int) -> None:
        """BitlensError where what would be read takes more than half of the memory."""
        # Twice the differences: random ones with their lengths are drawn beside them.
        each = 4 * self.layout.width * len(self.sites) * (1 + 2 * len(self.twins))
        if positions * each > self.memory // 2:
            raise CapacityError(
                f"Activations and differences of {positions:,} positions take "
                f"{positions * each / 1e9:.1f} GB.",
                f"at most {self.memory / 2e9:.1f} GB, half of the memory that may be used.",
                f"--tokens {self.memory // 2 // each}, fewer --sites or --to, or more --memory.",
            )

    def rows(self, plans: Sequence[Plan]) -> list[DifferenceRows]:
        """Everything on the positions that count, of each plan, by one sweep over all. BitlensError
        for a twin that fails or whose numbers are not finite."""
        batches = [batch for plan in plans for batch in plan.batches]
        batches = [replace(batch, number=number) for number, batch in enumerate(batches)]
        n = count_positions(batches)
        self.refuse_too_much(n)
        reference = {name: self._room(n) for name in self.sites}
        difference = {(name, t): self._room(n) for name in self.sites for t in self.twins}
        uncounted = dict.fromkeys(difference, 0.0)
        self._fill(batches, reference, difference, uncounted)
        for (name, twin), rows in difference.items():
            _refuse_infinite(rows, name, twin)
        found, first = [], 0
        for plan in plans:
            span = slice(first, first + count_positions(plan.batches))
            first = span.stop
            found.append(
                DifferenceRows(
                    reference={name: rows[span] for name, rows in reference.items()},
                    difference={spot: rows[span] for spot, rows in difference.items()},
                    at=_standpoints(plan),
                    uncounted=uncounted,
                )
            )
        return found

    def _fill(
        self,
        batches: Sequence[TokenBatch],
        reference: Mapping[str, Tensor],
        difference: Mapping[Spot, Tensor],
        uncounted: dict[Spot, float],
    ) -> None:
        """Rows in the order of the batches, whatever order steps come in."""
        places = _first_rows(batches)
        stop = max(site(name).depth for name in self.sites) + 1
        models = {REFERENCE: Reference(self.layout), **self.twins}
        total = sum(batch.tokens.numel() for batch in batches) * stop * len(models)
        with ProgressBar("differences", "tokens through a block", total) as bar:
            steps = read(self.layout, models, self.sites, batches, self.memory // 4, bar.add)
            for step in steps:
                first = places[step.batch.number]
                span = slice(first, first + len(step.index))
                for name, own in step.activations[REFERENCE].items():
                    before = own.flatten(0, 1).float()
                    reference[name][span] = before[step.index]
                    for twin in step.activations.keys() & self.twins.keys():
                        moved = step.activations[twin][name].flatten(0, 1).float() - before
                        difference[name, twin][span] = moved[step.index]
                        uncounted[name, twin] += _elsewhere(moved, step.batch)

    def _room(self, n: int) -> Tensor:
        return torch.empty(n, self.layout.width, device=self.layout.device)


def _first_rows(batches: Sequence[TokenBatch]) -> dict[int, int]:
    """By number of a batch, how many positions count in those before it."""
    sizes = np.array([len(batch.index) for batch in batches])
    firsts = np.cumsum(sizes) - sizes
    return {batch.number: int(n) for batch, n in zip(batches, firsts, strict=True)}


def _elsewhere(moved: Tensor, batch: TokenBatch) -> float:
    """The squared length at tokens that do not count."""
    squares = torch.linalg.vecdot(moved, moved).double()
    if batch.mask is not None:
        squares = squares * batch.mask.flatten()
    return float(squares.sum() - squares[batch.index].sum())


def _standpoints(plan: Plan) -> Standpoints:
    found = [plan.positions_of(batch, batch.index, CORPUS) for batch in plan.batches]

    def of(name: str) -> np.ndarray:
        return torch.cat([getattr(positions, name) for positions in found]).cpu().numpy()

    return Standpoints(**{name: of(name) for name in ("document", "shard", "offset", "token")})


def _refuse_infinite(rows: Tensor, place: str, twin: str) -> None:
    broken = int((~rows.isfinite()).any(dim=1).sum())
    if broken:
        raise ModelError(
            f"What {twin} changes at {place} is not finite at {broken:,} positions.",
            "models that compute finite numbers.",
            "another compression, or --compute float32.",
        )
