"""The finding that one block makes half of the error: where to spend bits first."""

from collections.abc import Iterator, Mapping

from bitlens.report.addresses import address
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import Finding, finding
from bitlens.report.text.lesions import lesions_of
from bitlens.report.text.numbers import amount
from bitlens.results.records import TEXT

HALF = 0.5
"""So large a part of the blocks' own errors, surely, is worth saying of one block."""
FEWEST = 3
"""Blocks; of two one always makes half."""


@finding
def one_block(results: AuditResults, model: str) -> Iterator[Finding]:
    """Of every twin the block whose own error is surely half of all blocks', unless a lesion names
    it; where noise of the same size does as well, it is the model's, not the compression's."""
    for twin in results.measured(model):
        name, noise = twin.compression, results.noise(model, twin.compression)
        found = lesions_of(results, model, name)
        named = {one.block for one in (*found.heads, *found.blocks)}
        named |= {one.block for _, one in found.features}
        under = _shares(results, model, noise) if noise else {}
        for block, share in _shares(results, model, name).items():
            if share["low"] is not None and share["low"] > HALF and block not in named:
                target = address(results, model, layer=block)
                yield _finding(name, block, share, under.get(block), target)


def _finding(name: str, block: int, share: Row, noise: Row | None, target: str) -> Finding:
    known = noise is not None and noise["high"] is not None
    alike = noise is not None and not (known and share["low"] > noise["high"])
    beside = f", under noise of the same size {amount(noise, 'share')}" if noise else ""
    return Finding(
        title=f"At {name} block {block} makes more than half of the error",
        text=f"Of the errors that blocks make by themselves, given the reference's input, block "
        f"{block} makes {amount(share, 'share')}{beside} (squares of the distance at its output).",
        anchor="layers",
        weight=0.2 if alike else 0.6,
        twins=(name,),
        uses=frozenset({TEXT}),
        target=target,
    )


def _shares(results: AuditResults, model: str, name: str) -> Mapping[int, Row]:
    """By block, its part of the squared errors of all; the ends as if the others lay at theirs on
    the other side, which is wide. None where a block has no interval."""
    found = results.depth(model, name, "geometry.l2", kind="resid", item="local")
    rows = dict(found)
    known = all(row["low"] is not None and row["high"] is not None for row in rows.values())
    if len(rows) < max(FEWEST, results.about(model)["blocks"]):
        return {}
    return {
        block: {
            "value": _part(rows, block, "value", "value"),
            "low": _part(rows, block, "low", "high") if known else None,
            "high": _part(rows, block, "high", "low") if known else None,
        }
        for block, row in rows.items()
        if row["value"] > 0
    }


def _part(rows: Mapping[int, Row], block: int, own: str, others: str) -> float:
    square = float(rows[block][own]) ** 2
    rest = sum(float(row[others]) ** 2 for other, row in rows.items() if other != block)
    return square / (square + rest)
