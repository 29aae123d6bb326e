"""The cells of one model and seed: what decides about each, and which cannot be computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Self

from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin_builder import BuiltTwins
from bitlens.engine.analysis import Question
from bitlens.engine.plan import SUBSET
from bitlens.registry import foreign_code
from bitlens.results.records import Cell
from bitlens.results.store import Store
from bitlens.workflows.audit.selection import Selection
from bitlens.workflows.session import Session

Key = tuple[str, str]
"""A twin's text and an analysis' name: a cell of one model and seed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cells:
    """Every cell of one model and seed."""

    by_key: Mapping[Key, Cell]
    analyses: tuple[str, ...]
    failed: Mapping[Key, str]
    """What cannot be computed, and why."""
    paired: Mapping[Key, str] = field(default_factory=dict)
    """Of twins the ids of the same on the documents of the controls, where those are fewer."""

    @classmethod
    def of(
        cls,
        session: Session,
        selection: Selection,
        requests: Sequence[TwinRequest],
        built: BuiltTwins,
    ) -> Self:
        """The cells of these twins; those fail whose twin could not be built, and those that need
        a prediction where there is none."""
        by_key = {
            (request.text, analysis.name): Cell(
                model=session.loaded.name,
                compression=request.text,
                analysis=analysis.name,
                seed=session.seed,
                settings=_settings(session, selection, request, analysis)
                | dict(built.identity.get(request.text, {}))
                | _other_code(request, analysis),
            )
            for request in requests
            for analysis in selection.analyses
            if analysis.outputs or not request.floor
        }
        unpredicted = selection.unpredicted(session)
        failed = {(r.text, name): reason for r in requests for name, reason in unpredicted.items()}
        cells = cls(by_key=by_key, analyses=selection.names, failed={}).without(built.failed)
        return replace(cells, failed={**cells.failed, **failed})

    def missing(self, store: Store) -> list[Key]:
        """What can be computed and is not in the store."""
        return [
            key
            for key, cell in self.by_key.items()
            if key not in self.failed and not store.has(cell)
        ]

    def without(self, failures: Mapping[str, str]) -> Self:
        """These cells with those of some twins failed; `failures`: by twin, why."""
        lost = {(text, name): why for text, why in failures.items() for name in self.analyses}
        return replace(self, failed={**self.failed, **lost})

    @property
    def lost(self) -> dict[str, str]:
        """Twins without any cell, and why."""
        by_twin: dict[str, dict[str, str]] = {}
        for (text, name), reason in self.failed.items():
            by_twin.setdefault(text, {})[name] = reason
        return {
            text: next(iter(reasons.values()))
            for text, reasons in by_twin.items()
            if reasons.keys() >= set(self.analyses)
        }

    def of_twin(self, text: str) -> Cell | None:
        """The first cell of a twin; None where it has none."""
        return next((cell for (twin, _), cell in self.by_key.items() if twin == text), None)


def decisive(session: Session) -> dict[str, object]:
    """What decides about all numbers of a model and seed, but for texts and twins."""
    model = session.loaded.model
    return {
        "weights": session.loaded.fingerprint,
        "positions": session.study.positions,
        "dtype": str(next(model.parameters()).dtype),
        "compute": str(session.loaded.compute),
        "attention": model.config._attn_implementation,
        "device": next(p.device.type for p in model.parameters() if p.device.type != "meta"),
        "versions": [version(name) for name in ("torch", "transformers")],
        "interval": session.study.interval,
        "bitlens": version("bitlens"),
    } | ({"paired": True} if session.layout.paired else {})


def _settings(
    session: Session, selection: Selection, request: TwinRequest, analysis: Question
) -> dict[str, object]:
    """What decides about a cell's numbers, but for how its twin is made."""
    own = selection.own.get(analysis.name)
    settings = decisive(session) | {
        "tokens": (session.corpus if own is None else own[0]).token_hash,
        "sites": selection.sites(analysis.name),
        "analysis": analysis.settings,
    }
    # What it was measured on is in it; whether that was fixed beforehand decides how sure it is.
    settings |= {"until": session.study.until} if session.study.until and own is None else {}
    if own is None and (categories := session.corpus.categories) is not None:
        # They decide about shards too, so all that is read of the corpus rests on them.
        settings |= {"categories": categories.identity}
    return settings | ({"documents": SUBSET} if request.floor else {})


def _other_code(request: TwinRequest, analysis: Question) -> dict[str, list[str]]:
    """Whose code besides bitlens' own made it: plug-ins by name and version."""
    other = sorted(foreign_code([request.compression, analysis]))
    return {"other code": other} if other else {}
