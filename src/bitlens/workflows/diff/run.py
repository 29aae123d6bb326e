"""A run of `diff`: what twins change in the reference's activations, learnt by dictionaries on some
documents and measured on others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin_builder import BuiltTwins
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus
from bitlens.data.splits import split
from bitlens.engine.plan import CORPUS, Plan
from bitlens.errors import InputError
from bitlens.models.sites import resolve
from bitlens.results.counts import count
from bitlens.results.diff.file import NAME, NOISE, RANDOM, REPORT, SAES, TABLE, TWIN, write_diff
from bitlens.results.files.home import without_home
from bitlens.results.files.writing import alone
from bitlens.results.records import Estimate
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.placement import fit_saes
from bitlens.sae.sae import Sae
from bitlens.seeds import derive
from bitlens.workflows.diff.collect import DifferenceReader, DifferenceRows, Spot
from bitlens.workflows.diff.dictionaries import DictionarySize, Lessons, Whose
from bitlens.workflows.diff.explained import Moments, drawn_like, errors
from bitlens.workflows.diff.measure import (
    DifferenceSums,
    curves,
    numbers,
    row,
    sums_of,
    unmoved,
)
from bitlens.workflows.diff.shown import Showing
from bitlens.workflows.folders import refuse_foreign
from bitlens.workflows.session import Log, Session
from bitlens.workflows.text_check import check_text

HELD_OUT = 0.3
"""Share of the documents that numbers are measured on; the others are learnt from."""
OWN = {NAME, REPORT, SAES, TABLE}


def diff(study: Study, size: DictionarySize, out: Path, command: str, log: Log = print) -> None:
    """Read, learn, measure, and write diff.json and the dictionaries to `out`. The same command
    again goes on where it stopped. BitlensError for what cannot be loaded, compressed, read or
    learnt, and for a folder that holds anything else."""
    refuse_foreign(out, "diff", "the same command began", lambda path: path.name in OWN)
    with alone(out):
        run = _begun(study, size, log)
        dictionaries = run.lessons.dictionaries(out / SAES)
        log("Measuring on the held-out documents.")
        write_diff(out, run.content(dictionaries, command))


@dataclass(frozen=True, eq=False, kw_only=True)
class DiffRun:
    """Everything that was read of a reference and its twins, before anything is learnt."""

    session: Session
    size: DictionarySize
    sites: Sequence[str]
    noise: Mapping[str, str]
    """By twin."""
    corpora: tuple[Corpus, Corpus]
    """Learnt from, and held out."""
    plan: Plan
    """Of the held-out documents."""
    rows: tuple[DifferenceRows, DifferenceRows]
    differences: Mapping[Whose, tuple[Tensor, Tensor]]
    """Learnt from, and held out: of those that are anything at all."""
    moments: Mapping[Whose, Moments]
    built: BuiltTwins
    saes: Sequence[PlacedSae]

    @property
    def twins(self) -> list[str]:
        """Those that were asked for."""
        return list(self.session.study.compressions)

    @property
    def lessons(self) -> Lessons:
        """What dictionaries learn from."""
        n = len(self.rows[0].at.document)
        return Lessons(
            session=self.session,
            config=self.size.config(self.session.layout.width, n, self.session.seed),
            learnt={whose: learnt for whose, (learnt, _) in self.differences.items()},
            held={whose: held for whose, (_, held) in self.differences.items()},
            made_by={whose: self._made_by(whose) for whose in self.differences},
        )

    def _made_by(self, whose: Whose) -> dict[str, Any]:
        place, twin, of = whose
        session, (learnt, held) = self.session, self.corpora
        source = self.noise[twin] if of == NOISE else twin
        return {
            "bitlens": version("bitlens"),
            "model": session.loaded.name,
            "weights": session.loaded.fingerprint,
            "dtype": str(session.layout.dtype),
            "compute": str(session.layout.compute),
            "site": place,
            "of": source,
            "difference": of,
            "seed": session.seed,
            "learnt from": {"name": learnt.name, "sha256": learnt.token_hash},
            "held out": held.token_hash,
            "positions": session.study.positions,
            **self.built.identity.get(source, {}),
        }

    def content(self, dictionaries: Mapping[Whose, Sae], command: str) -> dict[str, Any]:
        """Everything that is written down."""
        sums = {whose: self._sums(whose, sae) for whose, sae in dictionaries.items()}
        features, means, places = [], [], []
        for (place, twin, of), own in sums.items():
            if of != TWIN:
                continue
            showing = self._showing(place, twin, own, dictionaries[place, twin, of])
            shown, mean = showing.features()
            features += shown
            means.append(mean)
            places += list(showing.places())
        claims = len(self.sites) * len(self.twins)
        return {
            **self._about(command),
            "rows": [*numbers(sums, claims), *self._first_shares(), *self._unmoved()],
            "curves": list(curves(sums)),
            "features": features,
            "means": means,
            "places": places,
        }

    def _sums(self, whose: Whose, dictionary: Sae) -> DifferenceSums:
        held, (_, difference) = self.rows[1], self.differences[whose]
        found = errors(
            self.moments[whose], held.reference[whose[0]], difference, dictionary, self.size.k
        )
        return sums_of(found, difference, held.at.shard, self.plan.sets[CORPUS])

    def _showing(self, place: str, twin: str, own: DifferenceSums, dictionary: Sae) -> Showing:
        return Showing(
            session=self.session,
            site=place,
            twin=twin,
            held=self.rows[1],
            sums=own,
            dictionary=dictionary,
            mean=self.moments[place, twin, TWIN].mean,
            saes=[placed for placed in self.saes if placed.site == place],
        )

    def _first_shares(self) -> Iterator[dict[str, Any]]:
        """How much of all that differs is at positions that do not count."""
        for (place, twin, of), (learnt, held) in self.differences.items():
            if of == RANDOM:
                continue
            elsewhere = self.rows[0].uncounted[place, self.noise[twin] if of == NOISE else twin]
            counted = sum(float(rows.double().square().sum()) for rows in (learnt, held))
            share = Estimate(
                value=elsewhere / (elsewhere + counted),
                low=None,
                high=None,
                documents=self.plan.sets[CORPUS].documents,
                reason="no interval: it describes these texts",
            )
            yield row((place, twin, of), "uncounted", share)

    def _unmoved(self) -> Iterator[dict[str, Any]]:
        for place in self.sites:
            for twin in self.twins:
                if (place, twin, TWIN) not in self.differences:
                    yield unmoved((place, twin, TWIN))

    def _about(self, command: str) -> dict[str, Any]:
        session, config = self.session, self.lessons.config
        return {
            "tool": {"version": version("bitlens")},
            "command": without_home(command),
            "name": session.loaded.name,
            "fingerprint": session.loaded.fingerprint,
            "text": session.corpus.name,
            "sites": list(self.sites),
            "twins": self.twins,
            "noise": dict(self.noise),
            "latents": config.latents,
            "k": config.k,
            "epochs": self.size.epochs,
            "steps": config.steps,
            "batch": config.batch,
            "rate": config.rate,
            "learnt": len(self.rows[0].at.document),
            "held": len(self.rows[1].at.document),
            "documents_learnt": self.corpora[0].n_units,
            "documents_held": self.corpora[1].n_units,
            "notes": [*session.corpus.notes, *self.built.notes],
        }


def _begun(study: Study, size: DictionarySize, log: Log) -> DiffRun:
    """Open, compress and read."""
    session = Session.open(study, log)
    sites = _sites(session)
    corpora = split(session.corpus, HELD_OUT)
    plan = session.plan(session.corpus)
    check_text(session, plan)
    size.config(session.layout.width, plan.positions, session.seed)
    saes = fit_saes(
        session.source.saes,
        session.layout,
        plan,
        session.corpus,
        session.loaded.name,
        "poor-fit" in study.allow,
    )
    requests = _wanted(session)
    built = session.twin_builder(apart_from=session.corpus).build(requests)
    noise = {request.like: request.text for request in requests if request.like}
    plans = tuple(session.plan(corpus) for corpus in corpora)
    log(
        f"{count(len(study.compressions), 'twin')} at {', '.join(sites)}: "
        f"{plans[0].positions:,} positions of {count(corpora[0].n_units, 'document')} to learn "
        f"from, {plans[1].positions:,} of {corpora[1].n_units:,} to measure on."
    )
    reader = DifferenceReader(
        layout=session.layout, twins=built.twins, sites=sites, memory=session.memory
    )
    learnt, held = reader.rows(plans)
    differences, moments = _differences(session, (learnt, held), noise)
    return DiffRun(
        session=session,
        size=size,
        sites=sites,
        noise={twin: noise[twin] for twin in study.compressions if twin in noise},
        corpora=corpora,
        plan=plans[1],
        rows=(learnt, held),
        differences=differences,
        moments=moments,
        built=built,
        saes=saes,
    )


def _sites(session: Session) -> list[str]:
    """Outputs of blocks. BitlensError for what is none."""
    asked = session.study.sites or (f"resid.{session.layout.depth // 2}",)
    found = list(dict.fromkeys(name for one in asked for name in resolve(one, session.layout)))
    others = [name for name in found if not name.startswith("resid.")]
    if others:
        raise InputError(
            f"--sites names {', '.join(others[:4])}.",
            "outputs of blocks, which all that follows reads: resid.N.",
            f"--sites resid.{session.layout.depth // 2}",
        )
    return found


def _wanted(session: Session) -> list[TwinRequest]:
    """The twins that were named, and noise like each of them."""
    twins = session.study.compressions
    return [r for r in session.requests() if r.text in twins or r.like in twins]


def _differences(
    session: Session,
    rows: tuple[DifferenceRows, DifferenceRows],
    noise: Mapping[str, str],
) -> tuple[dict[Whose, tuple[Tensor, Tensor]], dict[Whose, Moments]]:
    """Every difference that is learnt, and its moments: the twins', noise like them, and random
    ones. One that is nought is left out."""
    learnt, held = rows
    found: dict[Whose, tuple[Tensor, Tensor]] = {}
    moments: dict[Whose, Moments] = {}
    for place in learnt.reference:
        for twin in session.study.compressions:
            spots: dict[str, Spot] = {TWIN: (place, twin)}
            if twin in noise:
                spots[NOISE] = (place, noise[twin])
            for of, spot in spots.items():
                pair = (learnt.difference[spot], held.difference[spot])
                if all(torch.count_nonzero(side) for side in pair):
                    found[place, twin, of] = pair
                    moments[place, twin, of] = Moments.of(learnt.reference[place], pair[0])
            own = (place, twin, TWIN)
            if own in found:
                draw = torch.Generator().manual_seed(derive(session.seed, "diff", place, twin))
                drawn = tuple(drawn_like(side, moments[own], draw) for side in found[own])
                found[place, twin, RANDOM] = (drawn[0], drawn[1])
                moments[place, twin, RANDOM] = Moments.of(learnt.reference[place], drawn[0])
    return found, moments
