"""SAEs placed in a model: the site each belongs to, the convention it is read by, how it fits.

Read on the reference alone, before anything is compressed: survival of features that do not
describe the activations would mean nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bitlens.data.corpus import Corpus
from bitlens.engine.plan import Plan, TokenBatch
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.errors import SaeError, in_one_line
from bitlens.models.layout import Layout
from bitlens.models.sites import all_sites, resolve, site
from bitlens.sae.conventions import B_DEC, CENTRING, SCALE, Convention, better, conventions
from bitlens.sae.fit import WORST_FVU, Fit, FitAccumulator, check_fit
from bitlens.sae.formats.load import load_sae
from bitlens.sae.formats.releases import is_release
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae

POSITIONS = 500
"""Positions that decide whether an SAE fits, or a few more: whole batches are read."""
SITES = ("embed", "resid", "attn", "mlp")
"""Kinds of sites as wide as the model."""
HIDDEN_BYTES = 1 << 30
"""Of the hidden states that are read at a time."""


def fit_saes(
    sources: Sequence[str],
    layout: Layout,
    plan: Plan,
    corpus: Corpus,
    name: str,
    allow_poor: bool,
    positions: int = POSITIONS,
) -> list[PlacedSae]:
    """Every SAE at its site, with its fit on the beginning of the corpus, of which `plan` is.
    BitlensError for an SAE that belongs nowhere in this model, and, unless `allow_poor`, for one
    that does not fit."""
    saes = _apart([load_sae(source).to(layout.device) for source in sources], sources)
    saes = [_as_trained(sae, layout) for sae in saes]
    places = [_place(sae, layout) for sae in saes]
    read = _by_convention(saes, places, layout, plan)
    # What a choice between conventions was made on need not be read again.
    sums = [of if positions == POSITIONS else _SaeSums(of.sae) for of, _ in read]
    waiting = [(of, place) for of, place in zip(sums, places, strict=True) if not of.count]
    if waiting:
        for place, values in _activations_at(layout, plan, {p for _, p in waiting}, positions):
            for of, mine in waiting:
                if mine == place:
                    of.add(values)
    found = []
    for of, (_, convention), own, place in zip(sums, read, saes, places, strict=True):
        fit, sae = of.fit.result(), of.sae
        if not allow_poor:
            check_fit(fit, sae, f"{place} of {name}")
        found.append(
            PlacedSae(
                sae=sae,
                site=place,
                mean_code=of.mean_code,
                mean_activation=of.fit.mean.to(layout.device),
                fit=fit,
                notes=(*convention, *_notes(own, corpus, name)),
            )
        )
    return found


def elsewhere(placed: PlacedSae, layout: Layout, plan: Plan) -> tuple[str, Fit] | None:
    """The site that an SAE fits best, if it fits it at least twice as well as its own."""
    sites = ["embed", *all_sites(layout, tuple(kind for kind in SITES if kind != "embed"))]
    accumulators = {name: FitAccumulator(placed.sae) for name in sites if name != placed.site}
    for place, values in _activations_at(layout, plan, set(accumulators), POSITIONS):
        accumulators[place].add(values)
    fits = {name: accumulator.result() for name, accumulator in accumulators.items()}
    known = {name: fit.fvu for name, fit in fits.items() if fit.fvu is not None}
    best = min(known, key=known.__getitem__, default=None)
    here = math.inf if placed.fit.fvu is None else placed.fit.fvu
    if best is None or known[best] > min(WORST_FVU, here / 2):
        return None
    return best, fits[best]


def _apart(saes: Sequence[Sae], sources: Sequence[str]) -> list[Sae]:
    """Under different names: what is called alike takes along the folders it is in."""
    labels = [sae.label for sae in saes]
    above = [_above(source) for source in sources]
    for _ in range(max(map(len, above), default=0)):
        for n in [n for n, label in enumerate(labels) if labels.count(label) > 1]:
            labels[n] = ".".join([*above[n][-1:], labels[n]])
            above[n] = above[n][:-1]
    for label in labels:
        if labels.count(label) > 1:
            raise SaeError(
                f"{labels.count(label)} SAEs are called {label}.",
                "SAEs that can be told apart by their folders' names.",
                "name each of them once, or rename a folder.",
            )
    return [replace(sae, label=in_one_line(label)) for sae, label in zip(saes, labels, strict=True)]


def _above(source: str) -> list[str]:
    """What an SAE is in: folders from the root, or the release."""
    if is_release(source):
        return source.split(":")[1:2]
    path = Path(source).resolve()
    return list((path.parent if path.is_file() else path).parts[1:-1])


def _centres(layout: Layout) -> bool:
    """Does nothing in the model read the mean over the width, as under LayerNorm?"""
    places = (place for block in layout.block_layouts for group in block.groups for place in group)
    return any(place.writes for place in places)


def _as_trained(sae: Sae, layout: Layout) -> Sae:
    """TransformerLens centres what writes to the stream where nothing reads the mean, and leaves
    other models alone, whatever was asked for."""
    centred = _centres(layout) and sae.trained_on.loading.get(CENTRING) is True
    return replace(sae, centred=centred)


def _by_convention(
    saes: Sequence[Sae], places: Sequence[str], layout: Layout, plan: Plan
) -> list[tuple["_SaeSums", tuple[str, ...]]]:
    """Each SAE by the convention that its files state; where they are silent, by the one that fits
    the reference clearly best; with what was added up of it on `POSITIONS` where there was a
    choice. And what is to be said of that."""
    lengths: dict[str, list[Tensor]] = {
        place: [] for sae, place in zip(saes, places, strict=True) if SCALE in sae.trained_on.unsaid
    }
    if lengths:
        for place, values in _activations_at(layout, plan, set(lengths), POSITIONS):
            centred = values - values.mean(dim=1, keepdim=True)
            lengths[place].append(torch.stack([values.norm(dim=1), centred.norm(dim=1)]))
    norms = {
        place: dict(zip((False, True), torch.cat(found, dim=1).mean(dim=1).tolist(), strict=True))
        for place, found in lengths.items()
    }
    centres = _centres(layout)
    tried = [
        conventions(sae, centres, norms.get(place)) for sae, place in zip(saes, places, strict=True)
    ]
    sums = [[_SaeSums(convention.sae) for convention in of] for of in tried]
    open_ = {place for place, of in zip(places, tried, strict=True) if len(of) > 1}
    if open_:
        for place, values in _activations_at(layout, plan, open_, POSITIONS):
            for mine, of in zip(places, sums, strict=True):
                for one in of if mine == place and len(of) > 1 else ():
                    one.add(values)
    chosen = [
        _chosen(of, [one.fit.result() for one in found])
        for of, found in zip(tried, sums, strict=True)
    ]
    return [(found[which], said) for found, (which, said) in zip(sums, chosen, strict=True)]


def _chosen(tried: Sequence[Convention], fits: Sequence[Fit]) -> tuple[int, tuple[str, ...]]:
    """Which convention an SAE is to be read by, of those tried, the first of which is what the
    files state; and what is to be said of that."""
    sae, fit = tried[0].sae, fits[0]
    best = better(fit, fits[1:])
    if best is None:
        return 0, ()
    other = tried[best + 1]
    left = f"{fits[best + 1].fvu:.1%} of the variance unexplained instead of "
    left += "an unknown share" if fit.fvu is None else f"{fit.fvu:.1%}"
    if other.settings.issubset(sae.trained_on.unsaid):
        open_ = " and ".join(sorted(other.settings))
        said = f"its files do not state {open_}: it is read {other.words}, which leaves"
        return best + 1, (f"{said} {left}",)
    stated = other.settings & (sae.trained_on.loading.keys() | {SCALE, B_DEC})
    how = "against what its files say" if stated else "of which its files say nothing"
    return 0, (f"read {other.words}, {how}, it would leave {left}",)


def _notes(sae: Sae, corpus: Corpus, model: str) -> Iterator[str]:
    """What of its training is otherwise here."""
    trained_on = sae.trained_on
    # Of a hub id the last part: the same model may lie in a folder.
    if trained_on.model and trained_on.model.split("/")[-1].lower() != model.split("/")[-1].lower():
        yield f"its own files say that it was trained on {trained_on.model}"
    if sae.centred:
        yield (
            f"it was trained with {CENTRING}: the mean over the width is taken away before "
            "encoding and added back afterwards"
        )
    elif trained_on.loading.get(CENTRING) is True:
        yield (
            f"it was trained with {CENTRING}, which changes nothing in a model whose norms read "
            "the mean over the width, so nothing is changed here"
        )
    if trained_on.prepend_bos is True and not corpus.bos:
        yield "it was trained with BOS, which these texts are read without (--bos yes)"
    if trained_on.prepend_bos is False and corpus.bos:
        yield "it was trained without BOS, which these texts are read with (--bos no)"
    if trained_on.context is not None and corpus.context > trained_on.context:
        yield (
            f"it was trained on contexts of {trained_on.context:,} tokens, these are of up to "
            f"{corpus.context:,} (--context {trained_on.context})"
        )
    if trained_on.positions is not None:
        ends = ":".join("" if end is None else str(end) for end in trained_on.positions)
        yield f"it was trained on positions [{ends}] of each context alone"


class _SaeSums:
    """What is added up of one SAE."""

    def __init__(self, sae: Sae) -> None:
        self.sae = sae
        self.fit = FitAccumulator(sae)
        self._total = torch.zeros(sae.latents, dtype=torch.float64)
        self.count = 0
        """Positions."""

    def add(self, values: Tensor) -> None:
        codes = self.fit.add(values)
        value = codes.value.double().cpu()
        self._total += torch.bincount(codes.latent.cpu(), value, minlength=self.sae.latents)
        self.count += len(values)

    @property
    def mean_code(self) -> Tensor:
        """`[latents]` float64: the mean code over what was added, zeros included."""
        return (self._total / max(self.count, 1)).to(self.sae.b_enc.device)


def _place(sae: Sae, layout: Layout) -> str:
    """Our name of the site an SAE was trained on."""
    found = resolve(sae.hook, layout)
    if len(found) != 1 or site(found[0]).kind not in SITES:
        raise SaeError(
            f"The SAE {sae.label} was trained on {sae.hook}.",
            f"a site as wide as the model: {', '.join(SITES)}.",
            "an SAE of the residual stream, or of what attention or the MLP adds to it.",
        )
    width = sae.w_dec.shape[1]
    if width != layout.width:
        raise SaeError(
            f"The SAE {sae.label} reads {width} dimensions, but the model is {layout.width} wide.",
            "an SAE that was trained on this model.",
            "another --sae, or the model it was trained on.",
        )
    return found[0]


@torch.no_grad()
def _activations_at(
    layout: Layout, plan: Plan, places: set[str], positions: int
) -> Iterator[tuple[str, Tensor]]:
    """The reference's activations at some sites, on the first batches of the corpus: whole
    batches, until there are so many positions."""
    batches: list[TokenBatch] = []
    for batch in plan.batches:
        if sum(len(b.index) for b in batches) >= positions:
            break
        batches.append(batch)
    models = {REFERENCE: Reference(layout)}
    for step in read(layout, models, places, batches, hidden_bytes=HIDDEN_BYTES):
        for place, values in step.activations[REFERENCE].items():
            yield place, values.flatten(0, 1)[step.index].float()
