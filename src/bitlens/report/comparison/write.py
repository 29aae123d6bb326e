"""A comparison as files: the page, and its numbers as JSON and CSV."""

import csv
import io
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bitlens.report.audit_results import Row
from bitlens.report.comparison.compared import Compared
from bitlens.report.comparison.page import page, word
from bitlens.report.page.html import html
from bitlens.results.export import harmless
from bitlens.results.files.writing import alone, write
from bitlens.results.records import to_json

PAGE, DATA, TWINS, CONTRASTS = "compare.html", "compare.json", "twins.csv", "contrasts.csv"
FILES = (PAGE, DATA, TWINS, CONTRASTS)
"""All that a comparison writes."""


def write_comparison(compared: Compared, out: Path) -> Path:
    """Write every file into a folder; the path of the page. The same runs give the same bytes."""
    twins, contrasts = _twins(compared), compared.rows
    content = {
        TWINS: _csv(twins),
        CONTRASTS: _csv(contrasts),
        DATA: (to_json(_data(compared, twins, contrasts), indent=1) + "\n").encode(),
        PAGE: html(page(compared)).encode(),
    }
    with alone(out):
        for name, data in content.items():
            write(out / name, data)
    return out / PAGE


def _data(compared: Compared, twins: list[Row], contrasts: list[Row]) -> dict[str, Any]:
    by = compared.by
    return {
        "bitlens": version("bitlens"),
        "by": {"metric": by.name, "site": by.site, "item": by.item},
        "runs": [
            {
                "name": name,
                "command": audit.manifest["command"],
                "models": {m["name"]: m["fingerprint"] for m in audit.manifest["models"]},
                "token_hashes": {c["model"]: c["token_hash"] for c in audit.manifest["corpora"]},
                "bitlens": audit.manifest["tool"]["version"],
            }
            for name, audit in compared.audits.items()
        ],
        "twins": twins,
        "ranking": [
            [{"twin": one.contender.label, "first": one.first, "last": one.last} for one in group]
            for group in compared.standings
        ],
        "contrasts": contrasts,
        "refused": [
            {
                "first": one.first.label,
                "second": one.second.label,
                "analysis": one.analysis,
                "reason": one.reason,
            }
            for one in compared.refused
        ],
    }


def _twins(compared: Compared) -> list[Row]:
    """A row a twin and number."""
    found = []
    for one in compared.contenders:
        about = {
            "twin": one.label,
            "model": one.model,
            "compression": one.twin.compression,
            "runs": ", ".join(run.name for run in one.runs),
            "word": word(compared, one),
            "bits": one.twin.bits,
            "bytes": one.twin.bytes,
        }
        for measure in compared.measures:
            row = compared.estimate(one, measure)
            if row is not None:
                keys = ("analysis", "metric", "site", "item", "value", "low", "high", "documents")
                found.append({**about, **{key: row[key] for key in keys}})
    return found


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows[0] if rows else ())
    for row in rows:
        writer.writerow([harmless(cell) for cell in row.values()])
    return text.getvalue().encode()
