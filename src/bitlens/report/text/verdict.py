"""What did each compression cost? A few sentences a twin, and a table like llama.cpp's."""

from collections.abc import Iterator
from dataclasses import replace

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.beside_controls import beside, disagreement
from bitlens.report.text.compute_floor import OUTPUTS, arithmetic, within
from bitlens.report.text.doubts import OVERFLOW, Claim, claim, doubts, heading, rests
from bitlens.report.text.hidden_damage import behind_cosine, copying, hidden, no_improvement
from bitlens.report.text.losses import INDUCTION, induction, kept, moved, survivals, without_heads
from bitlens.report.text.numbers import amount, figure, margin, plain, size
from bitlens.report.text.splices import costlier
from bitlens.results.counts import count
from bitlens.results.records import TEXT, Check, TwinRecord

PARTS_OF_A_BLOCK = {"attn": "attention", "mlp": "MLP"}


def verdicts(evidence: AuditResults, model: str) -> list[tuple[str, str]]:
    """(compression, sentences) for every compression of a model that was asked for.

    The first sentence is the finding; the others say what it is compared with, and where.

    Sentences state numbers and what they are compared with; they never call one good or bad.
    """
    return [
        (twin.compression, " ".join(sentences(evidence, model, twin)))
        for twin in evidence.twins(model)
    ]


def doubtful(evidence: AuditResults, model: str) -> list[Check]:
    """The checks of a model that did not pass, as they stand before its verdict."""
    told = (one for twin in evidence.measured(model) for one in claims(evidence, model, twin))
    return heading(evidence, model, told)


def sentences(evidence: AuditResults, model: str, twin: TwinRecord) -> list[str]:
    """What was found, the finding first: what rests on a check that failed comes after what does
    not, and carries its mark."""
    bits = f" ({figure(twin.bits)} bits per weight)" if twin.bits is not None else ""
    if twin.status == "failed":
        return [f"{twin.compression}{bits}: failed. {twin.reason}"]
    against = doubts(evidence, model)
    sure: list[str] = []
    unsure: list[str] = []
    leads = False
    for one in claims(evidence, model, twin):
        resting = [doubt for doubt in against if rests(evidence, model, one, doubt)]
        failed = any(doubt.check.passed is False for doubt in resting)
        marks = ", ".join(doubt.mark for doubt in resting)
        told = f"{one.text} ({marks})" if marks else one.text
        if failed and OVERFLOW not in one.uses:
            unsure.append(told)
        elif one.leads and not leads:
            sure.insert(0, told)
            leads = True
        else:
            sure.append(told)
    if unsure and not leads:
        sure.insert(0, "nothing that was measured is sure: a check that it rests on failed")
    first, *more = [*sure, *unsure] or ["nothing was measured"]
    lead = f"{twin.compression}{bits}: {first}."
    return [lead, *(f"{said[:1].upper()}{said[1:]}." for said in more)]


def claims(evidence: AuditResults, model: str, twin: TwinRecord) -> list[Claim]:
    """What broke, how far did the outputs move, beside which controls, and where?"""
    name = twin.compression
    noise = evidence.noise(model, name)
    places = (_worst_block(evidence, model, name), moved(evidence, model, name))
    below = within(evidence, model, name, "behaviour.kl")
    found = [
        _overflow(evidence, model, twin),
        *kept(evidence, model, name),
        copying(evidence, model, name),
        claim(", ".join(_outputs(evidence, model, name)), TEXT),
        claim(arithmetic(evidence, model, name), TEXT),
        None if below else no_improvement(evidence, model, name),
        hidden(evidence, model, name),
        behind_cosine(evidence, model, name),
        claim(without_heads(evidence, model, name), leads=False),
        costlier(evidence, model, name),
        *beside(evidence, model, name),
        None if below else claim(disagreement(evidence, model, name), TEXT, twins=(noise,)),
        claim("; ".join(filter(None, places)), TEXT, twins=(noise,)),
        claim(_seeds(evidence, model, name), TEXT),
    ]
    told = [one for one in found if one is not None and one.text]
    return [replace(one, twins=one.twins | {name}) for one in told]


def _overflow(evidence: AuditResults, model: str, twin: TwinRecord) -> Claim | None:
    """Where a twin stops having numbers, and that the reference does not."""
    place = evidence.overflow(model, twin.compression)
    if place is None:
        return None
    row = evidence.find(model, twin.compression, "behaviour.perplexity", item="reference")
    own = f"; the reference's own perplexity is {amount(row)}" if row else ""
    return claim(
        f"overflows at {place}, computed in {twin.dtype}: from there on it has no numbers{own}",
        OVERFLOW,
    )


def _outputs(evidence: AuditResults, model: str, name: str) -> Iterator[str]:
    for metric, said in OUTPUTS.items():
        row = evidence.find(model, name, metric)
        if row and not within(evidence, model, name, metric):
            unit = evidence.metrics[metric].unit
            ratio = metric == "behaviour.perplexity_ratio"
            yield f"{said} ×{amount(row)}" if ratio else f"{said} {amount(row, unit)}"


def _worst_block(evidence: AuditResults, model: str, name: str) -> str:
    found = [
        (row, block, said)
        for kind, said in PARTS_OF_A_BLOCK.items()
        for block, row in evidence.depth(model, name, "geometry.relative_error", kind, "local")
    ]
    if not found:
        return ""
    row, block, said = max(found, key=lambda place: place[0]["value"])
    unit = evidence.metrics["geometry.relative_error"].unit
    error = amount(row, unit)
    return f"the largest local error is that of block {block}'s {said}, {error} of its output"


def _seeds(evidence: AuditResults, model: str, name: str) -> str:
    rows = evidence.seeds(model, name, "behaviour.kl")
    values = [row["value"] for row in rows if row["value"] is not None]
    if len(values) < 2:
        return ""
    return (
        f"over {count(len(values), 'seed')} mean KL runs from "
        f"{figure(min(values))} to {figure(max(values))} nats"
    )


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


def summary_table(evidence: AuditResults, model: str) -> Table:
    """One row a twin, controls after the compressions: bits, size, perplexity, KL, same top token.

    Cells are plain text; the terminal and the page show the same ones.
    """
    columns = [Column("compression"), *(Column(t, True) for t in ("bits", "size", "perplexity"))]
    controls = evidence.controls(model)
    twins = [*evidence.measured(model), *controls, *evidence.floors(model)]
    inside = {twin.compression: _inside(evidence, model, twin.compression) for twin in twins}
    titles = list(dict.fromkeys(title for found in inside.values() for title in found))
    columns += [Column(title, True) for title in (*titles, *(title for title, _ in SUMMARY))]
    floors = max(
        (row["documents"] for t in evidence.floors(model) if (row := _kl(evidence, model, t))),
        default=0,
    )
    blank = ("–",) * (len(SUMMARY) + len(titles))
    rows: list[tuple[str, ...]] = [("reference", *_reference(evidence, model, twins), *blank)]
    for twin in twins:
        perplexity = evidence.find(model, twin.compression, "behaviour.perplexity", item="twin")
        rows.append(
            (
                twin.compression + _role(twin),
                "–" if twin.bits is None else plain(twin.bits, 2),
                "–" if twin.bytes is None else size(twin.bytes),
                margin(perplexity),
                *(inside[twin.compression].get(title, "–") for title in titles),
                *(
                    margin(
                        evidence.find(model, twin.compression, name), evidence.metrics[name].unit
                    )
                    if name in evidence.metrics
                    else "–"
                    for _, name in SUMMARY
                ),
            )
        )
    return Table(
        tuple(columns),
        tuple(rows),
        "± is the longer half of the 95 % interval, documents being the unit. KL: "
        "KL(reference ‖ twin) in nats; "
        "ratio: the twin's perplexity over the reference's; RMS Δp: how far the true token's "
        "probability moved; same top: positions where both put the same token first."
        + (
            " compute floor: the reference beside itself in another dtype, on "
            f"{count(floors, 'document')}; no smaller difference is a compression's, nor one below "
            "twice that where both models compute so."
            if floors
            else ""
        )
        + (
            " features: active features that survive (r > 0.9)."
            if any(t.startswith("features") for t in titles)
            else ""
        )
        + (
            f" induction heads: those with a score above {INDUCTION:g} that stay there; undecided "
            "where a twin's interval reaches above it."
            if "induction heads" in titles
            else ""
        ),
    )


def _kl(evidence: AuditResults, model: str, twin: TwinRecord) -> Row | None:
    return evidence.find(model, twin.compression, "behaviour.kl")


def _role(twin: TwinRecord) -> str:
    """What a row stands in the table for, beside compressions."""
    return " (compute floor)" if twin.floor else " (control)" if twin.control else ""


def _inside(evidence: AuditResults, model: str, who: str) -> dict[str, str]:
    """By title, what survived within: features of each SAE, or of the worst of many; heads."""
    found = survivals(evidence, model, who)
    if len(found) > SAES:
        found = [min(found, key=lambda pair: pair[1]["value"])]
        cells = {"features, worst SAE": margin(found[0][1], "share")}
    else:
        cells = {
            "features" if len(found) == 1 else f"features, {sae.label}": margin(row, "share")
            for sae, row in found
        }
    heads = induction(evidence, model, who)
    return cells | ({"induction heads": heads.kept} if heads else {})


def _reference(evidence: AuditResults, model: str, twins: list[TwinRecord]) -> tuple[str, str, str]:
    facts = evidence.about(model)
    found = (
        evidence.find(model, twin.compression, "behaviour.perplexity", item="reference")
        for twin in twins
    )
    bits = 8 * facts["bytes"] / facts["parameters"]
    return plain(bits, 2), size(facts["bytes"]), margin(next((row for row in found if row), None))
