"""The analyses of one model: which can be answered, where each looks and what it reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitlens.analyses import ANALYSES, ON_REQUEST
from bitlens.compression.requests import TwinRequest
from bitlens.compression.targets import try_compression
from bitlens.compression.twin_builder import TwinBuilder
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus
from bitlens.engine.analysis import (
    Analysis,
    AnalysisContext,
    Question,
    ReadRequest,
    TokenizerFacts,
    sites_of,
)
from bitlens.engine.comparisons import Comparison, comparisons
from bitlens.engine.plan import CORPUS, Plan
from bitlens.errors import InputError
from bitlens.models.sites import resolve, shown_as
from bitlens.models.source import ModelSource
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.placement import fit_saes
from bitlens.workflows.audit.circuits import prompts_of
from bitlens.workflows.session import Log, Session


@dataclass(frozen=True, kw_only=True)
class AskedAnalyses:
    """The analyses that a study asks of a model and that can be answered."""

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What the reader of a result should know of those that cannot."""

    @property
    def eager(self) -> bool:
        """Whether one of them reads attention patterns."""
        return any("eager_attention" in ANALYSES[name].requires for name in self.names)


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The analyses of one loaded model, and what they read."""

    analyses: tuple[Question, ...]
    reads: Mapping[str, Sequence[ReadRequest]]
    """By analysis of the sweep of the texts, what it reads, narrowed to the sites that the user
    named."""
    own: Mapping[str, tuple[Corpus, int]]
    """By analysis, documents of its own and how many of them every replicate keeps."""
    saes: tuple[PlacedSae, ...]
    plan: Plan
    """What is read of the evaluation texts and of the analyses' own documents."""
    notes: tuple[str, ...]
    """What the reader of a result should know of what was left out."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the analyses are called."""
        return tuple(analysis.name for analysis in self.analyses)

    def comparisons(self, twins: Sequence[str], floors: Sequence[str] = ()) -> list[Comparison]:
        """What is compared of these twins; `floors`: those that measure the compute floor."""
        analyses = of_the_sweep(self.analyses)
        return comparisons(analyses, twins, self.reads, own=self.own, floors=floors)

    def sites(self, analysis: str) -> list[str]:
        """Where an analysis looks; nowhere where its sweeps are its own."""
        return sites_of(self.reads.get(analysis, ()))

    def unpredicted(self, session: Session) -> dict[str, str]:
        """Analyses that need a next token where no position of the corpus that counts has one, and
        why they cannot be answered."""
        if len(self.plan.sets[CORPUS].keys.predicting):
            return {}
        reason = (
            f"no token of {session.corpus.name} that is predicted counts: --positions "
            f"{session.study.positions} leaves none in windows as short as these"
        )
        return {
            a.name: reason
            for a in of_the_sweep(self.analyses)
            if a.name not in self.own
            and any(r.through_unembedding or "logits" in r.sites for r in a.reads(session.layout))
        }


def of_the_sweep(analyses: Iterable[Question]) -> list[Analysis]:
    """Those that are answered from the one sweep of the texts."""
    return [analysis for analysis in analyses if isinstance(analysis, Analysis)]


def asked_analyses(study: Study, source: ModelSource, log: Log) -> AskedAnalyses:
    """All that were asked for and can be answered. BitlensError where the user named one that
    needs an SAE, and no SAE."""
    asked = study.analyses
    without = [name for name in asked if "saes" in ANALYSES[name].requires]
    if source.saes or not without:
        return AskedAnalyses(names=asked)
    names = " and ".join(without)
    if set(asked) - ON_REQUEST != set(ANALYSES) - ON_REQUEST:
        raise InputError(
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
    kinds = [ANALYSES[name] for name in asked.names]
    if session.source.saes and any("saes" in kind.requires | kind.takes for kind in kinds):
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
    needed = {need for kind in kinds for need in kind.requires}
    context = AnalysisContext(
        saes=tuple(saes),
        labelled=session.labelled if "labelled" in needed else None,
        labelled_place=session.study.labelled_place,
        tasks=prompts_of(session) if "tasks" in needed else (),
        positions=plan.positions,
    )
    names, notes = _with_routers(session, asked)
    analyses = tuple(ANALYSES[name].create(context) for name in names)
    swept = of_the_sweep(analyses)
    reads = _narrowed(session, swept)
    own = _own_documents(session, swept)
    return Selection(
        analyses=analyses,
        reads=reads,
        own=own,
        saes=tuple(saes),
        plan=session.plan(own=own) if own else plan,
        notes=notes,
    )


def _with_routers(
    session: Session, asked: AskedAnalyses
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The analyses that a model can be asked, and notes. Those of routers are left out of a model
    without, and that is said where somebody named them. BitlensError where nothing else is left."""
    without = [name for name in asked.names if "routers" in ANALYSES[name].requires]
    if not without or any(block.routing for block in session.layout.block_layouts):
        return asked.names, asked.notes
    left = tuple(name for name in asked.names if name not in without)
    names = " and ".join(without)
    if not left:
        raise InputError(
            f"{session.loaded.name} has no router, and only {names} was asked for.",
            "a mixture of experts: blocks that call experts by their numbers.",
            "other --analyses, or leave them out.",
        )
    if set(session.study.analyses) == set(ANALYSES) - ON_REQUEST:
        return left, asked.notes
    note = f"Left out, because {session.loaded.name} has no router: {names}."
    session.log(note)
    return left, (*asked.notes, note)


def _refuse_misfits(session: Session, builder: TwinBuilder) -> None:
    """What can be known without the text is said before it is read for SAEs: sites that are not
    there, checkpoints that cannot be opened, and compressions that do not fit."""
    for pattern in session.study.sites:
        resolve(pattern, session.layout)
    requests: list[TwinRequest] = session.requests() if builder.on_failure == "raise" else []
    for request in requests:
        builder.open(request.compression)
        try_compression(session.layout, request.compression)


def tokenizer_facts(session: Session) -> TokenizerFacts:
    """What is made of random tokens must know of the model that reads them."""
    tokenizer, corpus = session.loaded.tokenizer, session.corpus
    size = min(session.layout.vocabulary, len(tokenizer))
    return TokenizerFacts(
        np.setdiff1d(np.arange(size), tokenizer.all_special_ids),
        corpus.bos_id if corpus.bos else None,
        corpus.context,
        session.seed,
    )


def _own_documents(session: Session, analyses: Sequence[Analysis]) -> dict[str, tuple[Corpus, int]]:
    reader = tokenizer_facts(session)
    read = {a.name: a.documents(reader) for a in analyses}
    return {name: documents for name, documents in read.items() if documents is not None}


def _narrowed(session: Session, analyses: Sequence[Analysis]) -> dict[str, list[ReadRequest]]:
    """By analysis, what it reads."""
    patterns = session.study.sites
    everywhere = {a.name: list(a.reads(session.layout)) for a in analyses}
    if not patterns:
        return everywhere
    named = {name for pattern in patterns for name in resolve(pattern, session.layout)}
    session.log(f"Sites: {', '.join(patterns)} = {', '.join(sorted(named))}.")
    narrow = {name: sites_of([r for r in of if r.selectable]) for name, of in everywhere.items()}
    narrow = {name: sites for name, sites in narrow.items() if sites}
    narrowed = {
        name: [
            replace(r, sites=tuple(s for s in r.sites if shown_as(s) in named))
            if r.selectable
            else r
            for r in requests
        ]
        for name, requests in everywhere.items()
    }
    if narrow and not any(sites_of(narrowed[name]) for name in narrow):
        looks = "; ".join(f"{n} at {', '.join(s[:4])}, ..." for n, s in narrow.items())
        raise InputError(
            f"None of the sites {', '.join(patterns)} is one where {' or '.join(narrow)} looks.",
            f"{looks}.",
            "other --sites, or leave them out of --analyses.",
        )
    return narrowed
