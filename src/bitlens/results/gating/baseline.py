"""An earlier run of the same texts, and how far a twin of today is from the same twin then."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bitlens.errors import ResultsError
from bitlens.results.comparison import ComparedRun, Contender, Pairings
from bitlens.results.records import Metric, TwinRecord, Value
from bitlens.results.stats.contrasts import contrasts
from bitlens.results.store import Store

Row = dict[str, Any]


class Baseline:
    """Two runs, paired document by document."""

    def __init__(self, now: Store, then: Store) -> None:
        """ResultsError where they have no model in common, or read other tokens."""
        self._now = ComparedRun(name="now", store=now, manifest=now.manifest())
        self._then = ComparedRun(name="baseline", store=then, manifest=then.manifest())
        self._pairings = Pairings([])
        self._known: dict[tuple[Any, ...], Contender | None] = {}
        self._require_same_tokens()

    def _require_same_tokens(self) -> None:
        mine, theirs = (
            {(c["model"], c["seed"]): c["token_hash"] for c in run.manifest["corpora"]}
            for run in (self._now, self._then)
        )
        roots = f"{self._now.store.root} and {self._then.store.root}"
        again = f"the baseline's command on its texts: {self._then.manifest['command']}"
        if not mine.keys() & theirs.keys():
            named = " and ".join(", ".join(sorted({m for m, _ in of})) for of in (mine, theirs))
            raise ResultsError(
                f"{roots} have no model in common: {named}.", "a run of the same model.", again
            )
        for place in sorted(mine.keys() & theirs.keys()):
            if mine[place] != theirs[place]:
                hashes = f"{mine[place][:12]} and {theirs[place][:12]}"
                raise ResultsError(
                    f"{roots} read other tokens for {place[0]} (hashes {hashes}).",
                    "a baseline of the same texts, --tokens, --context, seed and tokenizer.",
                    again,
                )

    def differences(self, rows: Sequence[Row], metrics: Mapping[str, Metric]) -> list[Row]:
        """Today's minus then's, a row each: `value`, `low`, `high`, `documents`, `reason`. No value
        where the earlier run has no such number, or the two cannot be paired."""
        found: list[Row] = []
        pairs: dict[int, tuple[Value, Value, Metric]] = {}
        method: Any = "jackknife"
        for number, row in enumerate(rows):
            pair = self._pair(row)
            blank = {**row, "value": None, "low": None, "high": None, "control": "baseline"}
            if isinstance(pair, str):
                found.append(blank | {"reason": pair})
            else:
                mine, theirs, method = pair
                pairs[number] = mine, theirs, metrics[f"{row['analysis']}.{row['metric']}"]
                found.append(blank)
        ended = any(run.manifest["settings"].get("until") for run in (self._now, self._then))
        taken = contrasts(list(pairs.values()), method=method, stopped=ended)
        for number, one in zip(pairs, taken, strict=True):
            found[number] |= asdict(one) | {"value": one.difference}
        return found

    def _pair(self, row: Row) -> tuple[Value, Value, Any] | str:
        """The number in both runs and how their replicates were made, or why there are not two."""
        mine, theirs = self._contender(self._now, row), self._contender(self._then, row)
        if theirs is None or mine is None:
            return "the baseline has no such twin, or it was not measured there"
        if reason := self._pairings.apart(mine, theirs, row["analysis"]):
            return f"it cannot be paired with the baseline: {reason}"
        cells = [self._pairings.cell(one, row["analysis"]) for one in (mine, theirs)]
        place = (row["metric"], row["site"], row["item"])
        values = [cell[1].get(place) for cell in cells if cell]
        if values[0] is None or values[1] is None:
            return "the baseline has no such number"
        method = cells[0][0].settings.get("interval", "jackknife") if cells[0] else "jackknife"
        return values[0], values[1], method

    def _contender(self, run: ComparedRun, row: Row) -> Contender | None:
        """A twin of one seed, with its cells in one run; None where it has none."""
        of = tuple(row[name] for name in ("model", "compression", "seed"))
        if (run.name, *of) not in self._known:
            cells = {
                entry["analysis"]: (run, entry["id"])
                for entry in run.manifest["cells"]
                if entry["status"] == "done"
                and tuple(entry[name] for name in ("model", "compression", "seed")) == of
            }
            twin = TwinRecord(compression=row["compression"], control=False)
            found = Contender(
                model=row["model"],
                twin=twin,
                runs=(run,),
                cells=cells,
                label=f"{row['compression']} ({run.name})",
            )
            self._known[run.name, *of] = found if cells else None
        return self._known[run.name, *of]
