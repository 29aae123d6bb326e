"""Results that hold an analysis of a plug-in, which no section of ours shows."""

from dataclasses import asdict, replace
from typing import Any

from bitlens.report.audit_results import AuditResults
from bitlens.results.records import Metric

CURVATURE = Metric(
    "bend",
    "How sharply does the stream turn?",
    unit="share",
    worse="higher",
    intact=0.0,
    source="A plug-in",
)
LEVEL = Metric("length", "How long is its way?", unit="", worse=None, intact=None, level=True)
KEYS = ("model", "compression", "analysis", "metric", "site", "item", "documents", "seed")
SITES = ("resid.0", "resid.1")


def with_plugin(results: AuditResults, model: str) -> AuditResults:
    """The results and two metrics of `curvature`: `bend` at two sites, beside noise and tested;
    `length` once, without an interval."""
    rows: list[dict[str, Any]] = []
    tested: list[dict[str, Any]] = []
    for number, twin in enumerate([*results.measured(model), *results.controls(model)]):
        common = {"model": model, "compression": twin.compression, "bits": twin.bits, "seed": 0}
        common |= {"analysis": "curvature", "documents": 120, "reason": None}
        for site in SITES:
            value = 0.1 + 0.01 * number
            ends = {"value": value, "low": value - 0.02, "high": value + 0.02}
            known = {"item": "", "intact": 0.0, "chance": 0.9, "worse": "higher"}
            rows.append({**common, **ends, **known, "metric": "bend", "site": site})
        level = {"value": 7.0, "low": None, "high": None, "intact": None, "chance": None}
        level |= {"item": "twin", "metric": "length", "site": "embed", "worse": None}
        rows.append({**common, **level})
    for row in rows:
        noise = results.noise(model, row["compression"])
        if noise and row["metric"] == "bend":
            numbers = {"difference": 0.02, "low": 0.01, "high": 0.03, "p": 0.001, "q": 0.004}
            of = {key: row[key] for key in KEYS}
            tested.append({**of, **numbers, "control": noise, "reason": None})
    metrics = {f"curvature.{metric.name}": asdict(metric) for metric in (CURVATURE, LEVEL)}
    manifest = {**results.manifest, "metrics": results.manifest["metrics"] | metrics}
    return replace(
        results,
        manifest=manifest,
        estimates=[*results.estimates, *rows],
        contrasts=[*results.contrasts, *tested],
    )
