"""The fit of SAEs to a model, measured, with what was published beside it: one table."""

from bitlens.config.study import Study
from bitlens.engine.plan import CORPUS
from bitlens.errors import InputError
from bitlens.report.page.parts import Column, Table
from bitlens.results.counts import count
from bitlens.sae.fit import Fit
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.placement import elsewhere, fit_saes
from bitlens.sae.sae import Published
from bitlens.workflows.session import Log, Session
from bitlens.workflows.text_check import check_text

COLUMNS = {
    "SAE": False,
    "place": False,
    "latents": True,
    "FVU": True,
    "L0": True,
    "alive": True,
    "published": False,
    "verdict": False,
}
"""Titles, and whether they stand over numbers."""
DOUBTFUL = 0.3
"""Unexplained above this, an SAE that fits may still belong elsewhere, which is looked into."""


def check_saes(study: Study, log: Log) -> tuple[Table, bool]:
    """The table of a study of one model, and whether every SAE fits; what is read otherwise than it
    was trained is said. InputError where the study names no SAE."""
    (source,) = study.models
    if not source.saes:
        raise InputError(
            "No SAE is named.",
            "the SAEs whose fit is to be shown.",
            "--sae DIR, or --sae release:RELEASE:SAE_ID",
        )
    session = Session.open(study, log, share=1.0)
    plan = session.plan()
    check_text(session, plan)
    found = fit_saes(
        source.saes,
        session.layout,
        plan,
        session.corpus,
        name=session.loaded.name,
        allow_poor=True,
        positions=plan.positions,
    )
    for placed in found:
        for note in placed.notes:
            log(f"{placed.sae.label}: {note}.")
    doubted = [f for f in found if not f.good or f.fit.fvu is None or f.fit.fvu > DOUBTFUL]
    places = {f.sae.label: elsewhere(f, session.layout, plan) for f in doubted}
    rows = tuple(_row(placed, places.get(placed.sae.label)) for placed in found)
    caption = (
        f"On {plan.positions:,} positions of {count(plan.sets[CORPUS].documents, 'document')}. "
        "FVU: share of the variance left unexplained; L0: latents that fire at a position; alive: "
        "share of the latents that fired at all here."
    )
    columns = tuple(Column(title, numeric) for title, numeric in COLUMNS.items())
    return Table(columns, rows, caption), all(placed.good for placed in found)


def _row(placed: PlacedSae, better: tuple[str, Fit] | None) -> tuple[str, ...]:
    sae, fit = placed.sae, placed.fit
    return (
        sae.label,
        placed.mapping,
        f"{sae.latents:,}",
        _share(fit.fvu) or "unknown",
        f"{fit.l0:.1f}",
        _share(fit.alive),
        _published(sae.published),
        _verdict(placed, better),
    )


def _verdict(placed: PlacedSae, better: tuple[str, Fit] | None) -> str:
    if better is None:
        return "fits" if placed.good else "fits badly"
    place, fit = better
    where = "fits better elsewhere" if placed.good else "belongs elsewhere"
    return f"{where}: at {place} its FVU is {_share(fit.fvu)}"


def _published(published: Published) -> str:
    figures = {
        "FVU": _share(published.fvu),
        "L0": "" if published.l0 is None else f"{published.l0:.4g}",
        "alive": _share(published.alive),
    }
    return ", ".join(f"{name} {figure}" for name, figure in figures.items() if figure)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
