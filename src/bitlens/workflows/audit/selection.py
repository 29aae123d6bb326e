"""The analyses of one model: which can be answered, where each looks and what it reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitlens.analyses import ANALYSES
from bitlens.analyses.features.analysis import Features
from bitlens.analyses.transfer import Transfer
from bitlens.compression.requests import TwinRequest
from bitlens.compression.targets import try_compression
from bitlens.compression.twin_builder import TwinBuilder
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus
from bitlens.engine.analysis import Analysis, TokenizerFacts
from bitlens.engine.comparisons import Comparison, comparisons
from bitlens.engine.plan import CORPUS, Plan
from bitlens.errors import BitlensError
from bitlens.models.sites import resolve
from bitlens.models.source import ModelSource
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.placement import fit_saes
from bitlens.workflows.session import Log, Session

SAE_ANALYSES = frozenset({"features", "transfer"})


@dataclass(frozen=True, kw_only=True)
class AskedAnalyses:
    """The analyses that a study asks of a model and that can be answered."""

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What the reader of a result should know of those that cannot."""

    @property
    def eager(self) -> bool:
        """Whether one of them reads attention patterns."""
        return any(ANALYSES[name].patterns for name in self.names)


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The analyses of one loaded model, and what they read."""

    analyses: tuple[Analysis, ...]
    sites: Mapping[str, Sequence[str]]
    """By analysis, where it looks, narrowed to what the user named."""
    own: Mapping[str, tuple[Corpus, int]]
    """By analysis, documents of its own and how many of them every replicate keeps."""
    saes: tuple[PlacedSae, ...]
    plan: Plan
    """Of the evaluation texts and the analyses' own documents."""
    notes: tuple[str, ...]
    """What the reader of a result should know of what was left out."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the analyses."""
        return tuple(analysis.name for analysis in self.analyses)

    def comparisons(self, twins: Sequence[str], floors: Sequence[str] = ()) -> list[Comparison]:
        """What is compared of these twins; `floors`: those that measure the compute floor."""
        return comparisons(self.analyses, twins, self.sites, own=self.own, floors=floors)

    def unpredicted(self, session: Session) -> dict[str, str]:
        """Analyses that need a next token where no position of the corpus that counts has one, and
        why they cannot be answered."""
        if len(self.plan.sets[CORPUS].keys[True]):
            return {}
        reason = (
            f"no token of {session.corpus.name} that is predicted counts: --positions "
            f"{session.study.positions} leaves none in windows as short as these"
        )
        return {
            a.name: reason
            for a in self.analyses
            if a.name not in self.own and (a.lens or "logits" in a.sites(session.layout))
        }


def asked_analyses(study: Study, source: ModelSource, log: Log) -> AskedAnalyses:
    """All that were asked for and can be answered. BitlensError where the user named one that
    needs an SAE, and no SAE."""
    asked = study.analyses
    without = [name for name in asked if name in SAE_ANALYSES]
    if source.saes or not without:
        return AskedAnalyses(names=asked)
    names = " and ".join(without)
    if set(asked) != set(ANALYSES):
        raise BitlensError(
            f"No SAE is named for {names}.",
            "a folder with an SAE that was trained on this model.",
            f"--sae DIR, or leave {names} out of --analyses.",
        )
    log(f"{names}: left out, because no SAE is named (--sae DIR).")
    note = f"Left out, because no SAE was named: {names} (--sae DIR)."
    return AskedAnalyses(names=tuple(name for name in asked if name not in without), notes=(note,))


def select_analyses(
    session: Session, asked: AskedAnalyses, plan: Plan, builder: TwinBuilder
) -> Selection:
    """The analyses with the SAEs that fit. `plan`: of the evaluation texts. BitlensError for an SAE
    that does not fit and for sites where nothing looks, before anything is compressed."""
    saes: list[PlacedSae] = []
    if set(asked.names) & SAE_ANALYSES:
        _refuse_misfits(session, builder)
        saes = fit_saes(
            session.source.saes,
            session.layout,
            plan,
            session.corpus,
            name=session.loaded.name,
            allow_poor="poor-fit" in session.study.allow,
        )
    for placed in saes:
        session.log(placed.said)
    analyses = _made(asked.names, saes)
    sites = _narrowed(session, analyses)
    own = _own_documents(session, analyses)
    return Selection(
        analyses=analyses,
        sites=sites,
        own=own,
        saes=tuple(saes),
        plan=session.plan(own=own) if own else plan,
        notes=asked.notes,
    )


def _refuse_misfits(session: Session, builder: TwinBuilder) -> None:
    """What can be known without the text is said before it is read for SAEs: sites that are not
    there, checkpoints that cannot be opened, and compressions that do not fit."""
    for pattern in session.study.sites:
        resolve(pattern, session.layout)
    requests: list[TwinRequest] = session.requests() if builder.on_failure == "raise" else []
    for request in requests:
        builder.open(request.compression)
        try_compression(session.layout, request.compression)


def _made(names: Sequence[str], saes: Sequence[PlacedSae]) -> tuple[Analysis, ...]:
    with_saes = {
        "features": Features(tuple(saes)),
        "transfer": Transfer(tuple(saes)),
    }
    return tuple(with_saes.get(name) or ANALYSES[name]() for name in names)


def _own_documents(session: Session, analyses: Sequence[Analysis]) -> dict[str, tuple[Corpus, int]]:
    tokenizer, corpus = session.loaded.tokenizer, session.corpus
    size = min(session.layout.vocabulary, len(tokenizer))
    reader = TokenizerFacts(
        np.setdiff1d(np.arange(size), tokenizer.all_special_ids),
        corpus.bos_id if corpus.bos else None,
        corpus.context,
        session.seed,
    )
    read = {a.name: a.documents(reader) for a in analyses}
    return {name: documents for name, documents in read.items() if documents is not None}


def _narrowed(session: Session, analyses: Sequence[Analysis]) -> dict[str, list[str]]:
    """By analysis, where it looks."""
    patterns = session.study.sites
    everywhere = {a.name: a.sites(session.layout) for a in analyses}
    if not patterns:
        return everywhere
    named = {name for pattern in patterns for name in resolve(pattern, session.layout)}
    session.log(f"Sites: {', '.join(patterns)} = {', '.join(sorted(named))}.")
    narrow = {a.name: everywhere[a.name] for a in analyses if a.narrows}
    narrowed = {
        name: [s for s in sites if name not in narrow or s in named]
        for name, sites in everywhere.items()
    }
    if narrow and not any(narrowed[name] for name in narrow):
        looks = "; ".join(f"{n} at {', '.join(s[:4])}, ..." for n, s in narrow.items())
        raise BitlensError(
            f"None of the sites {', '.join(patterns)} is one where {' or '.join(narrow)} looks.",
            f"{looks}.",
            "other --sites, or leave them out of --analyses.",
        )
    return narrowed
