"""What did each compression cost? One sentence a twin, and a table in the spirit of llama.cpp's."""

from collections.abc import Iterator

from bitlens.records import TwinRecord
from bitlens.report.evidence import Evidence, Row
from bitlens.report.parts import Column, Table
from bitlens.report.wording import amount, count, figure, margin, plain, probability, size, times

PARTS_OF_A_BLOCK = {"attn": "attention", "mlp": "MLP"}


def verdicts(evidence: Evidence, model: str) -> list[tuple[str, str]]:
    """(compression, sentence) for every compression of a model that was asked for.

    Sentences state numbers and what they are compared with; they never call one good or bad.
    """
    return [(twin.compression, verdict(evidence, model, twin)) for twin in evidence.twins(model)]


def verdict(evidence: Evidence, model: str, twin: TwinRecord) -> str:
    """What did this compression cost, beside noise of the same size and a cast? One sentence."""
    bits = f" ({figure(twin.bits)} bits per weight)" if twin.bits is not None else ""
    if twin.status == "failed":
        return f"{twin.compression}{bits}: failed. {twin.reason}"
    clauses = [
        ", ".join(_outputs(evidence, model, twin.compression)),
        " and ".join(_comparisons(evidence, model, twin.compression)),
        _worst_block(evidence, model, twin.compression),
        _seeds(evidence, model, twin.compression),
    ]
    said = "; ".join(clause for clause in clauses if clause)
    return f"{twin.compression}{bits}: {said or 'nothing was measured'}."


def _outputs(evidence: Evidence, model: str, name: str) -> Iterator[str]:
    if row := evidence.find(model, name, "behaviour.perplexity_ratio"):
        yield f"perplexity ×{amount(row)}"
    if row := evidence.find(model, name, "behaviour.kl"):
        yield f"mean KL {amount(row, 'nats')}"
    if row := evidence.find(model, name, "behaviour.same_top"):
        yield f"same top token {amount(row, 'share')}"


def _comparisons(evidence: Evidence, model: str, name: str) -> Iterator[str]:
    kl = evidence.find(model, name, "behaviour.kl")
    if kl is None:
        return
    for control, said in (
        (evidence.noise(model, name), "weight noise of the same size"),
        (evidence.cast(model), evidence.cast(model)),
    ):
        beside = evidence.find(model, control, "behaviour.kl") if control else None
        if beside is not None and beside["value"] > 0:
            factor = times(kl["value"] / beside["value"])
            yield f"{factor} the KL of {said}{_test(evidence.contrast(kl, control))}"


def _test(contrast: Row | None) -> str:
    if contrast is None:
        return ""
    if contrast["p"] is None:
        return f" (not tested: {contrast['reason']})"
    difference = amount({**contrast, "value": contrast["difference"]}, "nats")
    return f" (difference {difference}, p = {probability(contrast['p'])})"


def _worst_block(evidence: Evidence, model: str, name: str) -> str:
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


def _seeds(evidence: Evidence, model: str, name: str) -> str:
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
    ("KL 50 %", "behaviour.kl_p50"),
    ("KL 99 %", "behaviour.kl_p99"),
    ("same top", "behaviour.same_top"),
)


def summary_table(evidence: Evidence, model: str) -> Table:
    """One row a twin, controls after the compressions: bits, size, perplexity, KL, same top token.

    Cells are plain text; the terminal and the page show the same ones.
    """
    columns = [Column("compression"), *(Column(t, True) for t in ("bits", "size", "perplexity"))]
    columns += [Column(title, True) for title, _ in SUMMARY]
    controls = evidence.controls(model)
    twins = [*evidence.measured(model), *controls]
    rows = [("reference", *_reference(evidence, model, twins), *("–" for _ in SUMMARY))]
    for twin in twins:
        perplexity = evidence.find(model, twin.compression, "behaviour.perplexity", item="twin")
        rows.append(
            (
                twin.compression + (" (control)" if twin.control else ""),
                "–" if twin.bits is None else plain(twin.bits, 2),
                "–" if twin.bytes is None else size(twin.bytes),
                margin(perplexity),
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
        "± is the longer half of the 95 % interval, documents being the unit. KL in nats; "
        "ratio: the twin's perplexity over the reference's; same top: positions where both put "
        "the same token first.",
    )


def _reference(evidence: Evidence, model: str, twins: list[TwinRecord]) -> tuple[str, str, str]:
    facts = evidence.about(model)
    found = (
        evidence.find(model, twin.compression, "behaviour.perplexity", item="reference")
        for twin in twins
    )
    bits = 8 * facts["bytes"] / facts["parameters"]
    return plain(bits, 2), size(facts["bytes"]), margin(next((row for row in found if row), None))
