"""The search for a direction: candidates at many blocks and positions, scored on prompts of their
own.

The recipe of Arditi et al. 2024 (arXiv 2406.11717): of the differences of means at every block and
at the last tokens of the prompts, that one which, taken out, leaves least of the answers; not one
that changes other answers by it, that does not bring them about where it is added, or of the last
fifth of the blocks, which stands close to the unembedding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.data.corpus import Corpus
from bitlens.data.labelled_corpus import LabelledCorpus, renumbered
from bitlens.engine.interventions import Intervention, added
from bitlens.engine.plan import CORPUS
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE, ForwardRun, SiteRequest
from bitlens.engine.sweep import Sweep
from bitlens.engine.swept_model import Reference
from bitlens.errors import InputError
from bitlens.models.sites import site
from bitlens.results.counts import count
from bitlens.workflows.session import Session
from bitlens.workflows.steer.measure import taken_out
from bitlens.workflows.steer.prompts import Prompts, log_odds

VALIDATION = 4
"""Of every so many groups of the texts that are learned from, one is for choosing."""
DEEPEST = 0.8
"""Candidates stand behind no later share of the blocks."""
MOST_KL, LEAST_INDUCED = 0.1, 0.0
"""Nats that taking it out may change other answers by, and log-odds that adding it must reach."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateDirection:
    """A direction, and what it does on the prompts for choosing: means over prompts."""

    site: str
    token: int
    """From the end of a prompt: -1, the last."""
    vector: Tensor
    """`[width]`."""
    bypass: float = np.nan
    """Log-odds of the answers, taken out of the reference, on prompts of the positive class."""
    induced: float = np.nan
    """Added once, on prompts of the other class."""
    kl: float = np.nan
    """Nats by which predictions after prompts of the other class change where it is taken out."""

    @property
    def against(self) -> str:
        """Why it may not be chosen; empty where it may."""
        if not np.isfinite([self.bypass, self.induced, self.kl]).all():
            return "not finite"
        if self.kl > MOST_KL:
            return f"changes other answers by more than {MOST_KL:g} nats"
        return "" if self.induced > LEAST_INDUCED else "does not bring the answers about"

    @property
    def record(self) -> dict[str, Any]:
        """What the file of a run says of it."""
        names = ("site", "token", "bypass", "induced", "kl")
        known = {name: getattr(self, name) for name in names}
        numbers = {n: v if np.isfinite(v) else None for n, v in known.items() if n not in names[:2]}
        return {**known, **numbers, "against": self.against}


def search(
    session: Session, labelled: LabelledCorpus, tokens: Sequence[int], last: int
) -> list[CandidateDirection]:
    """All candidates of the last `last` tokens, scored, the best that may be chosen first.
    BitlensError for prompts of fewer tokens, and where none may be chosen."""
    corpus = renumbered(labelled.corpus, np.arange(labelled.training))
    shortest = min(map(len, corpus.rows)) - corpus.bos
    if last > shortest:
        raise InputError(
            f"Directions of the last {count(last, 'token')}, and a text of {shortest}.",
            "no more tokens than the shortest text has, best those that all end with.",
            f"--site best:{shortest}, or longer texts." if shortest > 0 else "longer texts.",
        )
    assert corpus.groups is not None
    positive = corpus.groups.label == labelled.sets[0].labels[1]
    held = _held(corpus)
    made = _candidates(session, corpus, positive & ~held, ~positive & ~held, last)
    some = np.flatnonzero(held)
    own = renumbered(corpus, some)
    prompts = Prompts(corpus=own, plan=session.plan(own), positive=positive[some])
    rows = _scored(session, prompts, made, tokens)
    found = sorted(rows, key=lambda one: (bool(one.against), one.bypass))
    if found[0].against:
        reasons = sorted({one.against for one in found})
        raise InputError(
            f"None of {count(len(found), 'direction')} may be chosen: {'; '.join(reasons)}.",
            f"one that, taken out, changes other answers by at most {MOST_KL:g} nats and, added, "
            "brings the answers about.",
            "other --answers, more prompts, or --site resid.N instead of best:N.",
        )
    return found


def _held(corpus: Corpus) -> np.ndarray:
    """`[documents]`: those for choosing, whole groups of both classes."""
    assert corpus.groups is not None
    together, label = corpus.groups.together, corpus.groups.label
    units = np.unique(together)
    chosen = [units[label[units] == kind][::VALIDATION] for kind in np.unique(label[units])]
    return np.isin(together, np.concatenate(chosen))


def _candidates(
    session: Session, corpus: Corpus, one: np.ndarray, other: np.ndarray, last: int
) -> list[CandidateDirection]:
    """The differences of the means of some documents and of others, unscored."""
    layout = session.layout
    blocks = max(1, int(DEEPEST * layout.depth))
    sites = [f"resid.{n}" for n in range(blocks)]
    ends = torch.zeros(blocks, last, len(corpus.rows), layout.width)
    batches = session.plan(corpus).batches
    models = {REFERENCE: Reference(layout)}
    for step in read(layout, models, sites, batches, session.memory // 4):
        for name, values in step.activations[REFERENCE].items():
            width = step.batch.tokens.shape[1]
            first = torch.arange(0, step.batch.tokens.numel(), width, device=values.device)
            end = first + step.batch.length[first].to(values.device) - 1
            at = end[None] - torch.arange(last, device=values.device)[:, None]
            document = step.batch.document[end].cpu()
            ends[site(name).depth, :, document] = values.flatten(0, 1)[at].float().cpu()
    apart = ends[:, :, torch.from_numpy(one)].mean(dim=2)
    apart -= ends[:, :, torch.from_numpy(other)].mean(dim=2)
    return [
        CandidateDirection(site=name, token=-1 - k, vector=apart[n, k])
        for n, name in enumerate(sites)
        for k in range(last)
        if apart[n, k].any()
    ]


def _scored(
    session: Session,
    prompts: Prompts,
    candidates: Sequence[CandidateDirection],
    tokens: Sequence[int],
) -> list[CandidateDirection]:
    """What each does in the reference, on the prompts for choosing."""
    shape = len(candidates), len(prompts.positive)
    found = {name: np.full(shape, np.nan) for name in _KINDS}
    for number, document, values in _numbers(session, prompts, candidates, tokens):
        for name, of in values.items():
            found[name][number, document] = of
    kinds = {name: prompts.positive if name == "bypass" else ~prompts.positive for name in _KINDS}
    means = {name: of[:, kinds[name]].mean(axis=1) for name, of in found.items()}
    bypass, induced, kl = (means[name].tolist() for name in _KINDS)
    return [
        replace(one, bypass=bypass[n], induced=induced[n], kl=kl[n])
        for n, one in enumerate(candidates)
    ]


_KINDS = ("bypass", "induced", "kl")


def _numbers(
    session: Session,
    prompts: Prompts,
    candidates: Sequence[CandidateDirection],
    tokens: Sequence[int],
) -> Iterator[tuple[int, np.ndarray, dict[str, np.ndarray]]]:
    """The number of a candidate, some documents, and what it does to each."""
    layout = session.layout
    clean = ForwardRun(REFERENCE, REFERENCE)
    without = [
        ForwardRun(f"without {n}", REFERENCE, interventions=taken_out(layout, one.vector))
        for n, one in enumerate(candidates)
    ]
    puts = [Intervention(site=one.site, change=added(one.vector)) for one in candidates]
    steered = [
        ForwardRun(f"with {n}", REFERENCE, parent=REFERENCE, start=put.start, interventions=(put,))
        for n, put in enumerate(puts)
    ]
    runs = [clean, *without, *steered]
    sweep = Sweep(
        layout=layout,
        models={REFERENCE: Reference(layout)},
        runs=runs,
        requests=[SiteRequest(run.name, frozenset({"logits"}), CORPUS) for run in runs],
        batches=prompts.batches,
        hidden_bytes=session.memory // 4,
    )
    for wave in sweep.waves:
        for step in sweep.run(wave):
            if step.depth != layout.depth:
                continue
            document = step.batch.document[step.index].cpu().numpy()
            before = step.activations[REFERENCE]["logits"].log_softmax(-1)
            for n in range(len(candidates)):
                gone = step.activations[f"without {n}"]["logits"]
                put = step.activations[f"with {n}"]["logits"]
                after = gone.log_softmax(-1)
                kl = (before.exp() * (before - after)).sum(dim=-1)
                told = {
                    "bypass": log_odds(gone, tokens),
                    "induced": log_odds(put, tokens),
                    "kl": kl,
                }
                yield n, document, {name: of.double().cpu().numpy() for name, of in told.items()}
