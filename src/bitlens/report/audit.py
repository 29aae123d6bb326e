"""Audit: the results of a run, held in Python. What the page shows, as words, frames and charts."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from bitlens.errors import InputError
from bitlens.registry import nearest
from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import Hero, heroes
from bitlens.report.shown_audit import html, lines, word_of
from bitlens.results.frames import framed, selected
from bitlens.results.store import Store

if TYPE_CHECKING:
    import altair
    import pandas


class Audit:
    """A complete run: `bitlens.audit` hands one back, `bitlens.open` reads one.

    Shown in a terminal or a notebook it says what became of each twin. Numbers are those of the
    store, exactly; nothing is computed anew.
    """

    def __init__(self, store: Store, model: str | None = None) -> None:
        self.store = store
        """The folder of results as files."""
        self._model = model

    @property
    def root(self) -> Path:
        """The folder of results; `report.html` is in it."""
        return self.store.root

    @property
    def models(self) -> list[str]:
        """The references that were audited."""
        return [self._model] if self._model else self._results.models

    def of(self, model: str) -> "Audit":
        """What a study of several models says of one. InputError for one that is not there."""
        if model not in self._results.models:
            raise InputError(
                f"There is no model {model} in {self.root}.",
                f"one of {', '.join(self._results.models)}.",
                nearest(model, self._results.models) or f"of({self._results.models[0]!r})",
            )
        return Audit(self.store, model)

    @property
    def twins(self) -> list[str]:
        """The compressions that were asked for, without the controls."""
        return [hero.twin.compression for hero in self.heroes]

    @property
    def verdict(self) -> dict[str, str]:
        """By twin, its word: intact, changed, damaged, broken, undecided or failed. The rules
        behind it look at intervals only; `heroes` has what each rests on."""
        return {hero.twin.compression: word_of(hero) for hero in self.heroes}

    @cached_property
    def heroes(self) -> list[Hero]:
        """By twin, what one sees first: its word and what it rests on, a sentence, three numbers,
        its size."""
        return heroes(self._results, self._only())

    @cached_property
    def findings(self) -> list[str]:
        """What the page says was found, the weightiest first: a sentence each, with its numbers.
        What noise of the same size does as well is not among them."""
        from bitlens.report.findings.ranking import findings, first

        shown, _ = first(findings(self._results, self._only()))
        return [f"{one.title}. {one.text}".strip() for one in shown]

    def table(
        self,
        name: str = "estimates",
        *,
        analysis: str | None = None,
        metric: str | None = None,
        twin: str | None = None,
        site: str | None = None,
        item: str | None = None,
    ) -> pa.Table:
        """Rows of `estimates`, `contrasts`, `coverage` or `categories` as an Arrow table. `metric`:
        `kl` or `behaviour.kl`. InputError for what is not there."""
        if metric and "." in metric:
            analysis, _, metric = metric.rpartition(".")
        model = self._stored if self._model else None
        wanted = {"model": model, "analysis": analysis, "metric": metric}
        wanted |= {"compression": twin, "site": site, "item": item}
        return selected(self.store.read_table(name), name, wanted)

    def frame(
        self,
        name: str = "estimates",
        *,
        analysis: str | None = None,
        metric: str | None = None,
        twin: str | None = None,
        site: str | None = None,
        item: str | None = None,
    ) -> "pandas.DataFrame":
        """The rows of `table` as a data frame: a value with the ends of its 95 % interval, or the
        reason why there is none. Of fewer than 20 `documents` it means little, and the page does
        not show it. InputError where pandas is absent."""
        found = self.table(name, analysis=analysis, metric=metric, twin=twin, site=site, item=item)
        return framed(found)

    def layers(
        self, metric: str = "geometry.relative_error", kind: str = "resid", item: str = "cumulative"
    ) -> "pandas.DataFrame":
        """A number from block to block, of every twin and control: a row a block. `kind`: `resid`,
        `attn` or `mlp`; `item`: `cumulative`, `local`, or what else the metric has. InputError for
        a metric that has no number there."""
        found = self.frame(metric=metric, item=item)
        parts = found["site"].str.extract(rf"^{kind}\.(\d+)$")[0]
        found = found[parts.notna()].copy()
        if found.empty:
            raise InputError(
                f"{metric} has no number at {kind}.0, {kind}.1, ...",
                "a kind of site that it is measured at.",
                f'frame(metric="{metric}")["site"] has its sites.',
            )
        found.insert(2, "block", parts.dropna().astype(int))
        return found.sort_values(["compression", "seed", "block"]).reset_index(drop=True)

    def features(self, twin: str, sae: str | None = None) -> "pandas.DataFrame":
        """Every feature of the SAEs that were read, a row each: its state, correlation with the
        reference, gain, rates. `sae`: its label; None: all."""
        rows = self.details(twin, "features", "features")
        return framed(selected(rows, "features", {"sae": sae}))

    def details(self, twin: str, analysis: str, table: str) -> pa.Table:
        """What else an analysis shows of a twin, at the first seed: `documents` and `tokens` of
        behaviour, `features`, `halves` and `contexts` of features, `heads` of heads,
        `trajectories` of the lens, what plug-ins show. InputError where it shows no such table."""
        cells = [
            cell
            for cell in self.store.manifest()["cells"]
            if (cell["model"], cell["analysis"], cell["status"]) == (self._stored, analysis, "done")
        ]
        mine = [cell for cell in cells if cell["compression"] == twin]
        first = min(mine, key=lambda cell: cell["seed"], default=None)
        if first is None:
            raise _unknown(self._only(), twin, analysis, {cell["compression"] for cell in cells})
        found = self.store.read_cell_table(first["id"], table)
        if found is None:
            folder = self.root / "cells" / first["id"]
            known = sorted({path.stem for path in folder.glob("*.parquet")} - {"values"})
            raise InputError(
                f"{analysis} shows no table {table} of {twin}.",
                f"{' or '.join(known)}." if known else "an analysis that shows tables.",
                nearest(table, known) or "its numbers are in table() and frame().",
            )
        return found

    def plot(
        self, metric: str = "behaviour.kl", *, kind: str | None = None, item: str | None = None
    ) -> "altair.LayerChart":
        """One number of all twins and controls with its intervals, as an Altair chart: along depth
        where it is measured in every block."""
        from bitlens.report.charts.asked import chart

        return chart(self._results, self._only(), metric, kind, item)

    def report(self) -> Path:
        """Write `report.html` anew, and the path to it."""
        from bitlens.report.build import build

        return build(self.root)

    def read_table(self, name: str) -> pa.Table:
        """A table of the store, all of it."""
        return self.store.read_table(name)

    def __repr__(self) -> str:
        told = [f"Audit of {', '.join(self.models)} in {self.root}"]
        for model in self.models:
            told += [f"{model}:"] if len(self.models) > 1 else []
            told += lines(self._results, model)
        return "\n".join(told)

    def _repr_html_(self) -> str:
        return "".join(html(self._results, model) for model in self.models)

    @cached_property
    def _results(self) -> AuditResults:
        return AuditResults.read(self.root)

    @property
    def _stored(self) -> str:
        """What the store calls the model."""
        return self._results.named(self._only())

    def _only(self) -> str:
        """The one model. InputError where there are several."""
        if len(self.models) > 1:
            raise InputError(
                f"{self.root} holds {len(self.models)} models: {', '.join(self.models)}.",
                "one of them.",
                f".of({self.models[0]!r})",
            )
        return self.models[0]


def _unknown(model: str, twin: str, analysis: str, known: set[str]) -> InputError:
    """What is said of an analysis that a twin of this model has not."""
    if not known:
        return InputError(
            f"{analysis} was not measured of {model}.",
            "an analysis that was run.",
            "audit it again with it (features wants saes=[...]).",
        )
    return InputError(
        f"There is no {analysis} of {twin!r}.",
        f"one of {', '.join(sorted(known))}.",
        nearest(twin, known) or "copy the name from .twins",
    )


def open_run(run: str | Path) -> Audit:
    """The results in a folder that an audit, a study or the demo wrote. Needs neither torch nor the
    model. ResultsError where there is no complete run."""
    return Audit(Store.open(run))
