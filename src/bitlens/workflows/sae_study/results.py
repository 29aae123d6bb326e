"""The file of results of a study of SAEs: every number by seed, and over seeds."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bitlens.config.sae_study import Configuration
from bitlens.errors import ResultsError
from bitlens.results.files.writing import write
from bitlens.results.json_files import check_json, read_json
from bitlens.results.records import SCHEMA, to_json
from bitlens.sae.alignment.chance import in_sample_procrustes
from bitlens.sae.alignment.over_pairs import OverPairs
from bitlens.sae.alignment.over_seeds import Crossed, mean, normalised, ratio, ratio_normalised
from bitlens.workflows.sae_study.contents import FROZEN_MODE, RETRAINED, ResultsFile
from bitlens.workflows.sae_study.measures import ALIGNED, FROZEN, IN_SAMPLE, ROLES

RESULTS = "results.json"
NULL = "null"
"""Chance where it is a formula: random directions of the same number and width."""
AXES = ("width", "penalty", "epochs", "tokens")

Record = dict[str, Any]


@dataclass
class Results:
    """The file, and what goes into it."""

    path: Path
    about: Record
    cka: Record
    """By twin: debiased CKA of the activations, its interval over documents, and chance."""
    configurations: list[Record]
    """One a configuration and twin, every number by seed."""

    @classmethod
    def open(cls, path: Path, about: Record) -> "Results":
        """A new file, or what is there. BitlensError where that is of something else."""
        if not os.path.lexists(path):
            return cls(path, about, {}, [])
        content = read_json(ResultsFile, path, f"delete {path}: SAEs are kept.")
        known, wanted = content["about"], json.loads(to_json(about))
        differing = [name for name in about if known[name] != wanted[name]]
        if differing:
            text = "the text as long as it was then: by its length documents are held out; or "
            raise ResultsError(
                f"{path.parent} holds a study with another {', '.join(differing)}.",
                "parts of one study, which differ in nothing but their axes.",
                f"{text if 'held out' in differing else ''}another --out.",
            )
        return cls(path, about, content["cka"], content["configurations"])

    def known(self, configuration: Configuration, twin: str, fingerprints: Any) -> bool:
        """Were exactly these SAEs compared already?"""
        found = self._find({**asdict(configuration), "twin": twin})
        return found is not None and found["fingerprints"] == fingerprints

    def put(self, record: Record) -> None:
        """In the place of what was known of this configuration and twin."""
        before = self._find(record)
        if before is not None:
            self.configurations.remove(before)
        self.configurations.append(record)

    def keep(self) -> None:
        """What was measured so far, to go on from; what it says over seeds waits for the end."""
        self._write(self._measured | {"estimates": None, "ratios": None})

    def write(self) -> None:
        """All of it, or what was there before."""
        self._write(self.content)

    @property
    def content(self) -> Record:
        """What the file holds in the end."""
        width = self.about["width"]
        return self._measured | {
            "estimates": [row for c in self.configurations for row in estimates(c, width)],
            "ratios": ratios(self.configurations, width),
        }

    @property
    def _measured(self) -> Record:
        return {
            "schema": SCHEMA,
            "about": self.about,
            "cka": self.cka,
            "configurations": self.configurations,
        }

    def _write(self, content: Record) -> None:
        data = to_json(content, indent=1)
        mistake = "report this: it is a mistake in bitlens."
        check_json(ResultsFile, json.loads(data), self.path, mistake)
        write(self.path, f"{data}\n".encode())

    def _find(self, record: Record) -> Record | None:
        place = _place(record)
        return next((c for c in self.configurations if _place(c) == place), None)


def estimates(record: Record, width: int) -> list[Record]:
    """What one configuration says over its seeds: a row a number."""
    found = []
    for mode, measure, columns in _measured(record):
        over = {name: mean(numbers) for name, numbers in columns.items()}
        if mode == RETRAINED:
            over["normalised"] = _normalised(columns)
            if measure == IN_SAMPLE:
                over[NULL] = OverPairs(value=in_sample_procrustes(record["latents"], width))
        found += [_row(record, mode, measure, column=name, of=of) for name, of in over.items()]
    return found


def ratios(configurations: Sequence[Record], width: int) -> list[Record]:
    """How many times as large is each number in the narrowest SAEs as in the widest?"""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in configurations:
        groups.setdefault(_place(record)[1:], []).append(record)
    found = []
    for group in groups.values():
        narrow, wide = (of(group, key=lambda r: r["latents"]) for of in (min, max))
        if narrow is wide:
            continue
        others = {(mode, measure): columns for mode, measure, columns in _measured(wide)}
        for mode, measure, columns in _measured(narrow):
            beside = others.get((mode, measure), {})
            over = {n: ratio(columns[n], beside[n]) for n in columns if n in beside}
            if mode == RETRAINED and _complete(columns) and _complete(beside):
                over["normalised"] = ratio_normalised(_parts(columns), _parts(beside))
            if measure == IN_SAMPLE:
                null = [in_sample_procrustes(r["latents"], width) for r in (narrow, wide)]
                over[NULL] = OverPairs(value=null[0] / null[1])
            found += [
                {**_row(narrow, mode, measure, column=name, of=of), "over": wide["width"]}
                for name, of in over.items()
            ]
    return found


def _measured(record: Record) -> list[tuple[str, str, dict[str, Crossed]]]:
    """Mode, measure and, by column, its numbers by seed or pair of seeds."""
    read = record["frozen"]
    found: list[tuple[str, str, dict[str, Crossed]]] = []
    for measure in FROZEN:
        columns: dict[str, Crossed] = {
            column: {(int(s),): of[part][measure] for s, of in read.items() if measure in of[part]}
            for column, part in (("value", "values"), ("chance", "chance"))
        }
        found.append((FROZEN_MODE, measure, {n: c for n, c in columns.items() if c}))
    aligned: Mapping[str, Mapping[str, Mapping[str, float]]] = record["aligned"]["found"]
    for measure in ALIGNED:
        roles: dict[str, Crossed] = {
            {"random": "chance"}.get(role, role): {
                tuple(map(int, seeds.split())): value
                for seeds, value in sorted(aligned[measure][role].items())
            }
            for role in ROLES
            if role in aligned.get(measure, {})
        }
        found.append((RETRAINED, measure, roles))
    return found


def _complete(columns: Mapping[str, Crossed]) -> bool:
    return {"value", "chance", "ceiling"} <= columns.keys()


def _parts(columns: Mapping[str, Crossed]) -> list[Crossed]:
    return [columns[name] for name in ("value", "chance", "ceiling")]


def _normalised(columns: Mapping[str, Crossed]) -> OverPairs:
    if not _complete(columns):
        return OverPairs(value=None, reason="value, chance or ceiling is missing")
    return normalised(*_parts(columns))


def _row(record: Record, mode: str, measure: str, *, column: str, of: OverPairs) -> Record:
    numbers = {"value": of.value, "low": of.low, "high": of.high, "seeds": of.pairs}
    place = {name: record[name] for name in ("twin", *AXES, "latents")}
    return (
        {**place, "mode": mode, "measure": measure, "column": column}
        | numbers
        | {"reason": of.reason}
    )


def _place(record: Record) -> tuple[Any, ...]:
    """Width first."""
    return tuple(record[name] for name in (*AXES, "twin"))
