"""The features analysis, of a frozen SAE's codes: do its features mean the same in the twin?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.correlation import normalised
from bitlens.analyses.features.codes import bytes_kept, entries, told
from bitlens.analyses.features.flow import CHANGED, flow
from bitlens.analyses.features.halves import halves, seen
from bitlens.analyses.features.survival import METRICS, PLACES, Sums, survival
from bitlens.analyses.known import ANALYSES
from bitlens.engine.accumulators import Accumulator, ReplicateState, Top
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import (
    Analysis,
    AnalysisContext,
    ReadRequest,
    Requirement,
    Results,
    Sample,
    SampleSize,
)
from bitlens.engine.places import BITS, packed
from bitlens.results.records import DetailTable, Metric
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae
from bitlens.sae.sparse_codes import Codes

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

TOP = 10
"""Positions kept of every latent, and latents of every position that count as its most active."""
FORM = 5
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""


@ANALYSES.register("features")
@dataclass(frozen=True)
class Features(Analysis):
    """A frozen SAE read on both models: which of its features keep their meaning, which blur,
    which are lost, and which fire in the twin only.

    Every position counts, zeros included. Chance: the twin's code at another position. A latent
    that never fires changes no number but `firing_agreement` and `sample_correlation`, which are
    there to show that.
    """

    saes: tuple[PlacedSae, ...] = ()
    positions: int | None = None
    """How many positions of the corpus count; None: not known, and no codes are kept."""

    name: ClassVar[str] = "features"
    by_category: ClassVar[bool] = True
    requires: ClassVar[frozenset[Requirement]] = frozenset({"saes"})
    unpaired: ClassVar[frozenset[str]] = frozenset({"twin_only", CHANGED.name})
    metrics: ClassVar[tuple[Metric, ...]] = (*METRICS, CHANGED)

    @classmethod
    def create(cls, context: AnalysisContext) -> Self:
        """Every SAE in its place."""
        return cls(context.saes, context.positions)

    @property
    def settings(self) -> dict[str, Any]:
        """The form of a cell, and every SAE's site and fingerprint by its label."""
        saes = {p.sae.label: [p.site, p.sae.fingerprint] for p in self.saes}
        return {"form": FORM, "saes": saes}

    @property
    def kept_bytes(self) -> int:
        """Those of the codes that are kept of every position."""
        return sum(bytes_kept(placed, self.positions or 0) for placed in self.saes)

    def _keeps(self, placed: PlacedSae) -> bool:
        return self.positions is not None and bytes_kept(placed, self.positions) > 0

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """Every site at which an SAE is placed, and there also the twin's block run by itself."""
        sites = tuple(dict.fromkeys(placed.site for placed in self.saes))
        return [ReadRequest(sites=sites, beside_local=True, sample=SampleSize(512))]

    def update(self, pair: ActivationPair) -> Accumulator:
        """Sums over positions of the codes of every SAE at the pair's site, by `label/name`."""
        whole = Accumulator()
        for placed in self._at(pair.site):
            whole.add(_accumulated(placed, pair, keep=self._keeps(placed)))
        return whole

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Survival, flow between firing categories and halves of every SAE that has sums here, and
        where the features fire that are shown, if that was kept."""
        found: Results = []
        for placed in self.saes:
            label = placed.sae.label
            if state.has(f"{label}/count"):
                sums = Sums(state, label, placed.sae.latents)
                survived = survival(sums, placed.site)
                found += [*survived, *_where(state, label, survived)]
                found += flow(sums, placed.site)
                found += halves(sums, placed.sae, placed.site, placed.near)
        return found

    def _at(self, site: str) -> Iterator[PlacedSae]:
        return (placed for placed in self.saes if placed.site == site)


def _where(state: ReplicateState, label: str, survived: Results) -> list[DetailTable]:
    """Where the features fire that are shown."""
    places = [t for t in survived if isinstance(t, DetailTable) and t.name == PLACES]
    latents = [np.unique(np.asarray(table.columns["latent"])) for table in places]
    tables = (told(state, label, shown) for shown in latents)
    return [table for table in tables if table is not None]


def codes(sae: Sae, activations: Activations) -> Codes:
    """The SAE's code of activations, made once."""
    return activations.once((sae.label, "codes"), lambda: sae.codes(activations.values))


def _accumulated(placed: PlacedSae, pair: ActivationPair, *, keep: bool) -> Accumulator:
    at, label = pair.positions, placed.sae.label
    mine, theirs = placed.sae, replace(placed.adapted or placed.sae, label=label)
    both = {"reference": (mine, pair.reference), "twin": (theirs, pair.twin)}
    x, y = (codes(*one) for one in both.values())
    joint = _joint(x, y)
    sums = {
        "count": at.total(torch.ones(len(at), device=x.value.device)),
        "product": _by_latent(x, at, joint.row, joint.latent, joint.product),
        "both": _by_latent(x, at, joint.row, joint.latent, torch.ones_like(joint.product)),
    }
    for who, (sae, activations) in both.items():
        own = activations.once((label, "sums"), partial(_own_sums, sae, activations, at))
        sums |= {f"{name}_{who}": value for name, value in own.items()}
    rows = {who: _rows(*one, placed.mean_code) for who, one in both.items()}
    sums |= _by_row(at, placed, rows, joint)
    sums |= seen(mine, pair) if pair.alone else {}
    top = {
        f"{label}/{who}": activations.once((label, "top"), partial(_top, sae, activations, at))
        for who, (sae, activations) in both.items()
    }
    kept = {
        f"{label}/{who}": [
            of.once((label, "entries"), partial(entries, codes(sae, of), at, placed))
        ]
        for who, (sae, of) in both.items()
        if keep
    }
    peak = pair.reference.once((label, "peak"), partial(_peak, mine, pair.reference, at))
    return Accumulator(
        sums={f"{label}/{name}": value for name, value in sums.items()},
        largest={f"{label}/peak_reference": peak},
        top=top,
        rows=kept,
    )


@dataclass(frozen=True, eq=False)
class _Joint:
    """Latents that fire at the same position in both models."""

    row: Tensor
    latent: Tensor
    product: Tensor
    """`[m]` float64: the product of both activations."""


def _joint(x: Codes, y: Codes) -> _Joint:
    a, b = _places(x), _places(y)
    found = torch.searchsorted(a, b).clamp_max(max(len(a) - 1, 0))
    hit = a[found] == b if len(a) else torch.zeros_like(b, dtype=torch.bool)
    product = x.value[found[hit]].double() * y.value[hit].double()
    return _Joint(y.row[hit], y.latent[hit], product)


def _places(codes: Codes) -> Tensor:
    """`[m]`, ascending: one integer for row and latent."""
    return codes.row * codes.latents + codes.latent


def _by_latent(codes: Codes, at: Positions, row: Tensor, latent: Tensor, values: Tensor) -> Tensor:
    """`[m]` to `[shards, latents]` float64."""
    place = at.shard[row] * codes.latents + latent
    size = at.shards * codes.latents
    total = torch.bincount(place, values.double(), minlength=size)
    return total.reshape(at.shards, codes.latents)


def _own_sums(sae: Sae, activations: Activations, at: Positions) -> dict[str, Tensor]:
    """What is summed of one run alone."""
    own = codes(sae, activations)
    value = own.value.double()
    x = activations.values
    error = x - sae.decode(own)
    return {
        "sum": _by_latent(own, at, own.row, own.latent, value),
        "square": _by_latent(own, at, own.row, own.latent, value * value),
        "fired": _by_latent(own, at, own.row, own.latent, torch.ones_like(value)),
        "error": at.total(torch.linalg.vecdot(error, error)),
        "energy": at.total(activations.square),
        "vector": at.total(x),
    }


def _peak(sae: Sae, activations: Activations, at: Positions) -> Tensor:
    """`[shards, latents]`: the largest activation; 0 where a latent is silent."""
    own = codes(sae, activations)
    largest = torch.zeros(at.shards * own.latents, device=own.value.device)
    place = at.shard[own.row] * own.latents + own.latent
    largest.scatter_reduce_(0, place, own.value, "amax")
    return largest.reshape(at.shards, own.latents)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Rows:
    """What is needed of every position of one run's code."""

    total: Tensor
    """`[n]` float64: the sum over latents."""
    square: Tensor
    """`[n]` float64: the sum of squares over latents."""
    centred: Tensor
    """`[n]` float64: the sum over latents of products with the centre."""
    fired: Tensor
    """`[n]` float64: how many latents fire."""
    most_active: Tensor
    """Places of each row's most active latents, ascending."""


def _rows(sae: Sae, activations: Activations, centre: Tensor) -> _Rows:
    def make() -> _Rows:
        own = codes(sae, activations)
        value = own.value.double()

        def over_row(values: Tensor) -> Tensor:
            return torch.bincount(own.row, values, minlength=own.rows)

        return _Rows(
            total=over_row(value),
            square=over_row(value * value),
            centred=over_row(value * centre.double()[own.latent]),
            fired=over_row(torch.ones_like(value)),
            most_active=_most_active(own),
        )

    return activations.once((sae.label, "rows"), make)


def _by_row(
    at: Positions, placed: PlacedSae, rows: dict[str, _Rows], joint: _Joint
) -> dict[str, Tensor]:
    """How alike are the two codes of a position? Summed over positions."""
    x, y = rows["reference"], rows["twin"]
    latents = placed.sae.latents
    product = torch.bincount(joint.row, joint.product, minlength=len(at))
    plain = normalised(
        product - x.total * y.total / latents,
        x.square - x.total**2 / latents,
        y.square - y.total**2 / latents,
    )
    centre = placed.mean_code.double().square().sum()
    balanced = normalised(
        product - x.centred - y.centred + centre,
        x.square - 2 * x.centred + centre,
        y.square - 2 * y.centred + centre,
    )
    shared = _shared(x.most_active, y.most_active, latents, len(at))
    some = x.fired > 0
    top10 = torch.where(some, shared / x.fired.clamp(1, TOP), 0.0)
    return {
        "sample_correlation": at.total(plain),
        "sample_correlation_alive": at.total(balanced),
        "top10": at.total(top10),
        "some": at.total(some.double()),
    }


def _most_active(codes: Codes) -> Tensor:
    """Places of the TOP largest activations of every row, ascending."""
    sizes = torch.bincount(codes.row, minlength=codes.rows)
    rank = _ranks(codes.row, sizes)
    width = max(TOP, int(sizes.max()) if len(sizes) else 0)
    values = codes.value.new_full((codes.rows, width), -torch.inf)
    latents = codes.latent.new_zeros((codes.rows, width))
    values[codes.row, rank], latents[codes.row, rank] = codes.value, codes.latent
    value, chosen = values.topk(TOP)
    places = torch.arange(codes.rows, device=rank.device)[:, None] * codes.latents
    places = places + latents.gather(1, chosen)
    return places[value > -torch.inf].sort().values


def _ranks(group: Tensor, sizes: Tensor) -> Tensor:
    """`[m]`: of entries sorted by group, which of its group each is."""
    begin = torch.cumsum(sizes, 0) - sizes
    return torch.arange(len(group), device=group.device) - begin[group]


def _shared(a: Tensor, b: Tensor, latents: int, rows: int) -> Tensor:
    """`[rows]`: how many places of a row are in both."""
    both = b[torch.isin(b, a)]
    return torch.bincount(both // latents, minlength=rows).double()


def _top(sae: Sae, activations: Activations, at: Positions) -> Top:
    """Where every latent fires most in this batch; of equal activations (texts that begin alike)
    at the first positions, whatever the order of rows."""
    own = codes(sae, activations)
    position = packed(at.document, at.offset)
    order = _by_position(position, own.row)
    # A non-negative number and its bits are in the same order.
    key = (own.latent[order] << BITS) - own.value[order].view(torch.int32)
    order = order[torch.argsort(key, stable=True)]
    latent = own.latent[order]
    rank = _ranks(latent, torch.bincount(latent, minlength=own.latents))
    chosen, rank, latent = (some[rank < TOP] for some in (order, rank, latent))
    values = torch.full((own.latents, TOP), -torch.inf, device=latent.device)
    values[latent, rank] = own.value[chosen]
    row = own.row[chosen]
    places = {}
    for name, found in {"position": position[row], "token": at.token[row]}.items():
        places[name] = torch.full_like(values, -1, dtype=torch.int64)
        places[name][latent, rank] = found
    return Top(values, places)


def _by_position(position: Tensor, row: Tensor) -> Tensor:
    """An order of entries by the position of their row; entries come by row."""
    if bool((position.diff() > 0).all()):
        return torch.arange(len(row), device=row.device)
    return torch.argsort(position[row], stable=True)
