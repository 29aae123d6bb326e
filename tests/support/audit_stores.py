"""Plausible stores, written as plain files: what `bitlens audit` leaves behind, without a model."""

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitlens.report.audit_results import AuditResults
from bitlens.results.records import REFERENCE, Cell, Check, Metric, TwinRecord
from bitlens.results.store import Store
from tests.support import results
from tests.support.analysis_tables import INSIDE, SAES, inside

LADDERS = {
    "kl": {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999},
    "dp": {"p01": 0.01, "p05": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99},
}
BEHAVIOUR = [
    Metric(
        "perplexity",
        "How surprised is it?",
        unit="",
        worse="higher",
        intact=None,
        scale="log",
        level=True,
    ),
    Metric(
        "perplexity_ratio",
        "How much more surprised?",
        unit="",
        worse="higher",
        intact=1.0,
        scale="log",
    ),
    Metric(
        "kl",
        "How far apart are the predictions?",
        unit="nats",
        worse="higher",
        intact=0.0,
        scale="log",
        source="K&L",
    ),
    *(
        Metric(
            f"kl_{p}",
            f"And at {q}?",
            unit="nats",
            worse="higher",
            intact=0.0,
            scale="log",
            quantile=q,
        )
        for p, q in LADDERS["kl"].items()
    ),
    Metric("kl_max", "And at most?", unit="nats", worse="higher", intact=0.0, interval=False),
    Metric(
        "dp",
        "How did the true token's probability change?",
        unit="probability",
        worse="lower",
        intact=0.0,
    ),
    Metric(
        "dp_rms",
        "How much did it move?",
        unit="probability",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    *(
        Metric(f"dp_{p}", f"And at {q}?", unit="probability", worse=None, intact=0.0, quantile=q)
        for p, q in LADDERS["dp"].items()
    ),
    Metric(
        "same_top",
        "How often is the same token first?",
        unit="share",
        worse="lower",
        intact=1.0,
        scale="logit",
    ),
    Metric(
        "flips",
        "How often from right to wrong or back?",
        unit="share",
        worse="higher",
        intact=0.0,
        scale="logit",
    ),
]
GEOMETRY = [
    Metric(
        "cosine",
        "Do the vectors point the same way?",
        unit="",
        worse="lower",
        intact=1.0,
        scale="atanh",
    ),
    Metric(
        "l2",
        "How far did they move?",
        unit="activation units",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric(
        "relative_error",
        "How large is the error beside them?",
        unit="share",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric("sqnr", "How far above the error is the signal?", unit="dB", worse="lower", intact=None),
    Metric(
        "pearson", "Are the entries correlated?", unit="", worse="lower", intact=1.0, scale="atanh"
    ),
    Metric(
        "cka",
        "Is the geometry between tokens the same?",
        unit="",
        worse="lower",
        intact=1.0,
        scale="log1m",
    ),
    Metric(
        "massive_share",
        "Is the error in few dimensions?",
        unit="share",
        worse=None,
        intact=None,
        scale="logit",
    ),
]
OUTSIDE = {"behaviour": BEHAVIOUR, "geometry": GEOMETRY}


def described(analyses: dict[str, list[Metric]]) -> dict[str, Any]:
    """What a manifest says about the metrics of these analyses."""
    return {f"{a}.{m.name}": asdict(m) for a, metrics in analyses.items() for m in metrics}


METRICS = described({**OUTSIDE, **INSIDE})

MODULES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")

CAST = "cast:dtype=bfloat16"
DAMAGE = {"rtn:bits=8": 0.004, "rtn:bits=4,group=64": 0.09, "prune:sparsity=0.5": 0.21}
"""How hard each compression of the fixture hits: its relative weight error."""
BITS = {"rtn:bits=8": 8.03, "rtn:bits=4,group=64": 4.25, "prune:sparsity=0.5": 8.5}


def twins_of(model: str, extra: dict[str, float]) -> list[dict[str, Any]]:
    """Three compressions, their noise controls, a cast, and one that failed."""
    records = []
    for name in [*DAMAGE, *extra]:
        bits = BITS.get(name, 6.0)
        size = int(5.2e6 * bits / 32 + 1.9e6)
        records.append(
            TwinRecord(
                compression=name, control=False, like=None, bits=bits, bytes=size, dtype="float32"
            )
        )
        records.append(
            TwinRecord(
                compression=f"noise:like=[{name}]",
                control=True,
                like=name,
                bits=bits,
                bytes=size,
                dtype="float32",
            )
        )
    records.append(
        TwinRecord(
            compression=CAST, control=True, like=None, bits=16.0, bytes=5_200_000, dtype="bfloat16"
        )
    )
    records.append(
        TwinRecord(
            compression="rtn:bits=3,group=48",
            control=False,
            like=None,
            bits=None,
            bytes=None,
            dtype="float32",
            status="failed",
            reason="group 48 does not divide the 128 columns of model.layers.0.self_attn.q_proj.",
        )
    )
    return [{"model": model, **asdict(record)} for record in records]


def behaviour(damage: float, wobble: np.random.Generator) -> Iterator[tuple[str, str, Any]]:
    """(metric, item, (value, low, high, chance, reason)) of one twin whose damage is given."""
    kl = 2.4 * damage**1.9 * math.exp(0.05 * wobble.standard_normal())

    def around(value: float, share: float, chance: float | None = None) -> tuple[Any, ...]:
        return value, value * (1 - share), value * (1 + share), chance, None

    ratio = 1 + 0.6 * kl
    yield "perplexity", "reference", around(8.312, 0.03)
    yield "perplexity", "twin", around(8.312 * ratio, 0.03)
    yield "perplexity_ratio", "", (ratio, 1 + 0.54 * kl, 1 + 0.67 * kl, 61.0, None)
    yield "kl", "", around(kl, 0.07, 6.4)
    for name, factor in [("p50", 0.21), ("p90", 2.3), ("p95", 3.9), ("p99", 11.0)]:
        yield f"kl_{name}", "", around(kl * factor, 0.11)
    yield "kl_p999", "", (kl * 31, None, None, None, "too few documents for this percentile")
    yield "kl_max", "", (kl * 88, None, None, None, "a maximum has no interval")
    spread = 0.9 * math.sqrt(kl)
    loss = 0.02 * math.sqrt(kl) + 0.1 * kl
    yield "dp", "", (-loss, -loss * 1.15, -loss * 0.85, None, None)
    for name, z in [("p01", -1.3), ("p05", -0.4), ("p50", 0.0), ("p95", 0.35), ("p99", 1.0)]:
        middle = spread * z / 3 - 0.3 * loss
        yield f"dp_{name}", "", (middle, middle - 0.06 * spread, middle + 0.06 * spread, None, None)
    yield "dp_rms", "", around(spread / 5, 0.06)
    same = 1 / (1 + 0.45 * math.sqrt(kl))
    yield "same_top", "", (same, same - 0.06 * (1 - same), same + 0.06 * (1 - same), 0.03, None)
    yield "flips", "", around(0.4 * (1 - same), 0.1, 0.31)


def geometry(
    damage: float, blocks: int, wobble: np.random.Generator
) -> Iterator[tuple[str, str, str, Any]]:
    """(metric, site, item, numbers) of one twin; block 3's MLP is planted as the worst."""
    for block in range(blocks):
        for kind, scale in [("resid", 0.7), ("attn", 1.6), ("mlp", 1.2)]:
            for item, depth in [("cumulative", 1 + 0.5 * block), ("local", 0.8)]:
                error = damage * scale * depth * math.exp(0.06 * wobble.standard_normal())
                if kind == "mlp" and block == 3:
                    error *= 2.2
                error = min(error, 1.2)
                width = 0.09 if item == "cumulative" else 0.2
                gap = error**2 / 2
                rows = {
                    "relative_error": (error, error * (1 - width), error * (1 + width), 1.41),
                    "l2": (14 * error, 14 * error * (1 - width), 14 * error * (1 + width), 19.8),
                    "sqnr": (
                        -20 * math.log10(error),
                        -20 * math.log10(error * (1 + width)),
                        -20 * math.log10(error * (1 - width)),
                        -3.0,
                    ),
                    "cosine": (1 - gap, 1 - gap * (1 + width), 1 - gap * (1 - width), 0.02),
                    "pearson": (1 - gap, 1 - gap * (1 + width), 1 - gap * (1 - width), 0.0),
                    "cka": (
                        1 - gap / 2,
                        1 - gap / 2 * (1 + 2 * width),
                        1 - gap / 2 * (1 - 2 * width),
                        0.0,
                    ),
                    "massive_share": (
                        0.2 + 0.05 * block,
                        0.17 + 0.05 * block,
                        0.24 + 0.05 * block,
                        0.03125,
                    ),
                }
                for metric, numbers in rows.items():
                    yield metric, f"{kind}.{block}", item, (*numbers, None)


def write_store(
    path: Path,
    models: tuple[str, ...],
    extra: dict[str, float] | None = None,
    blocks: int = 4,
    deep: bool = False,
) -> Path:
    """A whole store at `path`: every file of an audit, with numbers that hang together.

    `deep`: with the analyses of heads, lenses and features, and their tables.
    """
    store = Store.create(path)
    analyses = {**OUTSIDE, **INSIDE} if deep else OUTSIDE
    extra = extra or {}
    damages = {**DAMAGE, **extra}
    twins = [twin for model in models for twin in twins_of(model, extra)]
    estimates: list[dict[str, Any]] = []
    contrasts: list[dict[str, Any]] = []
    coverage: list[dict[str, Any]] = []
    cells = []
    for number, twin in enumerate(twins):
        model, name = twin["model"], twin["compression"]
        wobble = np.random.default_rng(number)
        ids = {
            analysis: Cell(model=model, compression=name, analysis=analysis, seed=0)
            for analysis in analyses
        }
        for analysis in analyses:
            cells.append(
                {
                    "id": ids[analysis].id,
                    "model": model,
                    "compression": name,
                    "analysis": analysis,
                    "seed": 0,
                    "status": twin["status"],
                    "reason": twin["reason"],
                }
            )
        if twin["status"] == "failed":
            continue
        if name == CAST:
            damage = 0.0018
        elif twin["like"]:
            damage = 0.83 * damages[twin["like"]]
        else:
            damage = damages[name]
        damage *= 1 + 0.4 * models.index(model)
        common = {"model": model, "compression": name, "bits": twin["bits"], "seed": 0}
        rows = [
            ("behaviour", metric, "logits", item, numbers)
            for metric, item, numbers in behaviour(damage, wobble)
        ] + [
            ("geometry", metric, site, item, numbers)
            for metric, site, item, numbers in geometry(damage, blocks, wobble)
        ]
        tables: dict[str, Any] = {}
        if deep:
            more, tables = inside(damage, blocks, wobble)
            rows += [(analysis, *place) for analysis in INSIDE for place in more[analysis]]
        for analysis in analyses:
            store.write_cell(ids[analysis], [], tables.get(analysis))
        for analysis, metric, site, item, (value, low, high, chance, reason) in rows:
            estimates.append(
                {
                    **common,
                    "analysis": analysis,
                    "metric": metric,
                    "site": site,
                    "item": item,
                    "value": value,
                    "low": low,
                    "high": high,
                    "documents": 120,
                    "intact": METRICS[f"{analysis}.{metric}"]["intact"],
                    "chance": chance,
                    "worse": METRICS[f"{analysis}.{metric}"]["worse"],
                    "reason": reason,
                }
            )
        if not twin["control"]:
            contrasts.append(
                {
                    "model": model,
                    "compression": name,
                    "control": f"noise:like=[{name}]",
                    "analysis": "behaviour",
                    "metric": "kl",
                    "site": "logits",
                    "item": "",
                    "difference": 0.5 * damage**1.9,
                    "low": 0.45 * damage**1.9,
                    "high": 0.55 * damage**1.9,
                    "p": 0.0011,
                    "q": 0.0018,
                    "documents": 120,
                    "reason": None,
                    "seed": 0,
                }
            )
        for block in range(blocks):
            for module in MODULES:
                coverage.append(
                    {
                        "model": model,
                        "compression": name,
                        "module": f"model.layers.{block}.{module}",
                        "kind": "block",
                        "compressed": True,
                        "format": name,
                        "reason": None,
                        "bits": twin["bits"],
                        "parameters": 16384,
                        "bytes": int(16384 * twin["bits"] / 8),
                        "changed": 0.998,
                        "relative_error": damage,
                        "group": 0,
                        "sqnr_db": -20 * math.log10(damage),
                        "note": "",
                    }
                )
        coverage.append(
            {
                "model": model,
                "compression": name,
                "module": "model.embed_tokens",
                "kind": "embedding",
                "compressed": False,
                "reason": "left alone",
                "format": "float32",
                "bits": 32.0,
                "parameters": 524288,
                "bytes": 2097152,
                "changed": 0.0,
                "group": 0,
                "relative_error": 0.0,
                "sqnr_db": None,
                "note": "left alone: embedding",
            }
        )
    contrasts += _attention_contrasts(estimates)
    contrasts += [against_the_reference(row) for row in estimates if row["metric"] in TWO_SIDED]
    store.write_table("estimates", estimates)
    store.write_table("contrasts", contrasts)
    store.write_table("coverage", coverage)
    manifest = {
        "tool": {"version": "0.1.0"},
        "command": "bitlens audit "
        + " ".join(models)
        + " "
        + " ".join(f"--to {name}" for name in damages)
        + " --out results",
        "models": [
            results.model(
                model,
                blocks=blocks,
                saes=[results.sae(label, site) for site, label in SAES] if deep else [],
            )
            for model in models
        ],
        "corpora": [
            results.corpus(
                model,
                notes=["Without document marks: cut into stretches of eight windows."],
            )
            for model in models
        ],
        "settings": results.settings(analyses=list(analyses)),
        "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
        "twins": twins,
        "checks": [
            asdict(Check("weights differ", True, "28 of 28 targeted matrices changed.")),
            asdict(Check("identical tokens", True, "Every run read the same 61,312 tokens.")),
            asdict(
                Check(
                    "calibration apart from evaluation",
                    None,
                    "Nothing was calibrated.",
                    bears_on="calibration",
                )
            ),
            asdict(
                Check(
                    "finite activations",
                    False,
                    "3 of 60,904 positions overflowed float16 in block 2.",
                    bears_on="overflow",
                )
            ),
        ],
        "metrics": described(analyses),
        "cells": cells,
    }
    store.write_run(results.RUN)
    store.write_manifest(manifest)
    return path


TWO_SIDED = ("perplexity_ratio", "induction_change", "recovered_difference")
"""Metrics of the fixture that a twin may be on either side of the reference by."""


def against_the_reference(row: dict[str, Any], **tested: Any) -> dict[str, Any]:
    """How far an estimate is from intact: surely, where its interval says so, unless told."""
    keys = ("model", "compression", "analysis", "metric", "site", "item", "documents", "seed")
    at, known = row["intact"], row["low"] is not None
    ends = {end: row[end] - at for end in ("low", "high")} if known else {"low": None, "high": None}
    sure = 0.4 if known and ends["low"] <= 0 <= ends["high"] else 0.002
    reason = None if known else "no interval"
    return {
        **{key: row[key] for key in keys},
        "control": REFERENCE,
        "difference": row["value"] - at,
        **ends,
        "p": sure if known else None,
        "q": sure if known else None,
        "reason": reason,
        **tested,
    }


def _attention_contrasts(estimates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every head's JSD with noise: surely farther in head 1.2 alone, surely nearer in 2.0."""
    keys = ("model", "compression", "site", "item")
    heads = {
        tuple(row[key] for key in keys): row
        for row in estimates
        if row["metric"] == "jsd" and row["item"].startswith("head ")
    }
    found = []
    for (model, twin, site, item), row in heads.items():
        control = heads.get((model, f"noise:like=[{twin}]", site, item))
        if control is None:
            continue
        way = {("pattern.1", "head 2"): 1, ("pattern.2", "head 0"): -1}.get((site, item), 0)
        difference = row["value"] - control["value"]
        difference = way * abs(difference) if way else difference
        found.append(
            {
                "model": model,
                "compression": twin,
                "control": control["compression"],
                "analysis": "attention",
                "metric": "jsd",
                "site": site,
                "item": item,
                "difference": difference,
                "low": difference - 1e-5 if way else -1.0,
                "high": difference + 1e-5 if way else 1.0,
                "p": 0.002 if way else 0.4,
                "q": 0.002 if way else 0.5,
                "documents": 120,
                "reason": None,
                "seed": 0,
            }
        )
    return found


RTN = "rtn:bits=4,group=64"
CHANGES = ("induction_change", "induction_mean_change")
NOISE = f"noise:like=[{RTN}]"
Numbers = tuple[float, float | None, float | None]


def with_rows(audit: AuditResults, who: str = RTN, **rows: Numbers) -> AuditResults:
    """The store with these numbers of a twin in the place of its own: `analysis__metric`, then the
    site and the item, two underscores between. Changes are contrasted with the reference."""
    base = next(row for row in audit.estimates if row["compression"] == who)
    given = []
    for name, (value, low, high) in rows.items():
        analysis, metric, site, *item = name.split("__")
        place = {"analysis": analysis, "metric": metric, "site": site.replace("_", ".")}
        found = {**base, **place, "item": item[0].replace("_", " ") if item else ""}
        found["intact"] = METRICS.get(f"{analysis}.{metric}", {"intact": 0.0})["intact"]
        given.append({**found, "value": value, "low": low, "high": high, "reason": None})
    keys = ("compression", "analysis", "metric", "site", "item")
    new = {tuple(row[key] for key in keys) for row in given}
    others = [row for row in audit.estimates if tuple(row[k] for k in keys) not in new]
    known = [row for row in audit.contrasts if tuple(row[k] for k in keys) not in new]
    known += [against_the_reference(row) for row in given if row["metric"] in CHANGES]
    return replace(audit, estimates=[*others, *given], contrasts=known)
