"""The table of all twins of a model: bits, size, and what became of the outputs and within."""

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.kept import token
from bitlens.report.text.losses import INDUCTION, induction, survivals
from bitlens.report.text.numbers import margin, plain, size
from bitlens.results.counts import count
from bitlens.results.records import TwinRecord

SUMMARY = (
    ("ratio", "behaviour.perplexity_ratio"),
    ("mean KL", "behaviour.kl"),
    ("KL 99 %", "behaviour.kl_p99"),
    ("same top", "behaviour.same_top"),
    ("RMS Δp", "behaviour.dp_rms"),
    ("KL 50 %", "behaviour.kl_p50"),
)
SAES = 2
"""So many have a column each."""


def summary_table(results: AuditResults, model: str) -> Table:
    """One row a twin, controls after the compressions: bits, size, perplexity, KL, same top token.

    Cells are plain text; the terminal and the page show the same ones.
    """
    twins = [*results.measured(model), *results.controls(model), *results.floors(model)]
    inside = {twin.compression: _inside(results, model, twin.compression) for twin in twins}
    titles = list(dict.fromkeys(title for found in inside.values() for title in found))
    kept = ["bytes a token"] if any(twin.token_bytes is not None for twin in twins) else []
    numeric = ("bits", "size", *kept, "perplexity", *titles, *(title for title, _ in SUMMARY))
    blank = ("–",) * (len(SUMMARY) + len(titles))
    return Table(
        (Column("compression"), *(Column(title, numeric=True) for title in numeric)),
        (
            ("reference", *_reference(results, model, twins, kept=bool(kept)), *blank),
            *(
                _row(
                    results,
                    model,
                    twin,
                    kept=bool(kept),
                    inside=[inside[twin.compression].get(title, "–") for title in titles],
                )
                for twin in twins
            ),
        ),
        _caption(results, model, titles),
    )


def _row(
    results: AuditResults, model: str, twin: TwinRecord, *, kept: bool, inside: list[str]
) -> tuple[str, ...]:
    """What a twin takes (with keys and values, if they are `kept` in a column), what it predicts,
    what survived within it, and what the outputs lost."""
    name = twin.compression
    return (
        name + _role(twin),
        "–" if twin.bits is None else plain(twin.bits, 2),
        "–" if twin.bytes is None else size(twin.bytes),
        *([token(results, model, twin)] if kept else []),
        margin(results.find(model, name, "behaviour.perplexity", item="twin")),
        *inside,
        *(
            margin(results.find(model, name, metric), results.metrics[metric].unit)
            if metric in results.metrics
            else "–"
            for _, metric in SUMMARY
        ),
    )


def _caption(results: AuditResults, model: str, titles: list[str]) -> str:
    """What the columns are; of those that not every store has, where there is one."""
    floors = [row for t in results.floors(model) if (row := _kl(results, model, t))]
    told = (
        "± is the longer half of the 95 % interval, documents being the unit. KL: "
        "KL(reference ‖ twin) in nats; "
        "ratio: the twin's perplexity over the reference's; RMS Δp: how far the true token's "
        "probability moved; same top: positions where both put the same token first."
    )
    if any(twin.token_bytes is not None for twin in results.measured(model)):
        told += " bytes a token: what its keys and values take in all blocks, scales included."
    if floors:
        told += (
            " compute floor: the reference beside itself in another dtype, on "
            f"{count(max(row['documents'] for row in floors), 'document')}; no smaller difference "
            "is a compression's, nor one below twice that where both models compute so."
        )
    if any(title.startswith("features") for title in titles):
        told += " features: active features that survive (r > 0.9)."
    if "induction heads" in titles:
        told += (
            f" induction heads: those with a score above {INDUCTION:g} that stay there; undecided "
            "where a twin's interval reaches above it."
        )
    return told


def _kl(results: AuditResults, model: str, twin: TwinRecord) -> Row | None:
    return results.find(model, twin.compression, "behaviour.kl")


def _role(twin: TwinRecord) -> str:
    """What a row stands in the table for, beside compressions."""
    return " (compute floor)" if twin.floor else " (control)" if twin.control else ""


def _inside(results: AuditResults, model: str, who: str) -> dict[str, str]:
    """By title, what survived within: features of each SAE, or of the worst of many; heads."""
    found = survivals(results, model, who)
    if len(found) > SAES:
        found = [min(found, key=lambda pair: pair[1]["value"])]
        cells = {"features, worst SAE": margin(found[0][1], "share")}
    else:
        cells = {
            "features" if len(found) == 1 else f"features, {sae.label}": margin(row, "share")
            for sae, row in found
        }
    heads = induction(results, model, who)
    return cells | ({"induction heads": heads.kept} if heads else {})


def _reference(
    results: AuditResults, model: str, twins: list[TwinRecord], *, kept: bool
) -> tuple[str, ...]:
    facts = results.about(model)
    found = (
        results.find(model, twin.compression, "behaviour.perplexity", item="reference")
        for twin in twins
    )
    bits = 8 * facts["bytes"] / facts["parameters"]
    return (
        plain(bits, 2),
        size(facts["bytes"]),
        *([token(results, model)] if kept else []),
        margin(next((row for row in found if row), None)),
    )
