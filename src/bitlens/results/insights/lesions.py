"""Lesions: single heads, blocks and features of a twin that are damaged far beyond their kind.

One rule for all: the lower end of the interval of what is lost is above a bound that is stated
here, and more than three times the middle of its kind in the same twin. Nothing is said of a
number without an interval, and nothing of one that noise of the same size reaches as well. That
noise sits in the same matrices, and so in the same block: a block is held against the weights of
the others instead.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import Any

Row = Mapping[str, Any]

TIMES = 3.0
"""A lesion is so many times the middle of its kind."""
HEAD, BLOCK, FEATURE = 0.3, 0.2, 0.1
"""Bounds: of what a head writes, of what a block's attention or MLP adds, and of 1 - r of a
feature, which is then surely lost."""
PART = 0.1
"""A head that writes less than so much of an equal part of its block's energy is none to name."""
PATTERN = 0.05
"""A pattern has moved where its Jensen-Shannon divergence is above so many nats."""
BEYOND = 0.01
"""A feature shares its direction with others: so large a part of them may be as bad. The one that
is held to be the middle of its kind is the worst but for these."""
FEW = 5
"""Where more features than these stand out, they are the tail of them all, and no lesion."""
_BELL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One head, block or feature that stands out."""

    kind: str
    """`head`, `block` or `feature`."""
    block: int
    number: int | None
    """The head or the latent; None of a block."""
    row: Row
    """What is lost of it, with `value`, `low` and `high`."""
    others: float
    """The middle of its kind, by the upper ends of their intervals; of features the worst 1 - r but
    for a few."""
    noise: Row | None = None
    """The same under noise of the same size, where it was run."""
    pattern: Row | None = None
    """Of a head whose attention moved too: by how much."""
    part: str = ""
    """Of a block: `attn` or `mlp`, whichever lost more beside the others."""


def heads(rows: Sequence[Row], noise: Sequence[Row]) -> list[Lesion]:
    """Heads that lose what they write, given the reference's input: of the geometry and attention
    rows of one twin, and of its noise (maybe none)."""
    known, by_noise = _by_head(rows), _by_head(noise)
    found = []
    for (metric, block, item), errors in known.items():
        if (metric, item) != ("head_error", "local"):
            continue
        shares = known.get(("head_share", block, "local"), {})
        under = by_noise.get((metric, block, item), {})
        for head, row in errors.items():
            typical = _typical([of for other, of in errors.items() if other != head])
            writes = head in shares and shares[head]["value"] >= PART / len(errors)
            if typical is None or not writes or not _stands_out(row, HEAD, typical):
                continue
            if _beyond(row, under.get(head)):
                found.append(
                    Lesion(
                        kind="head",
                        block=block,
                        number=head,
                        row=row,
                        others=typical,
                        noise=under.get(head),
                        pattern=_moved(known.get(("jsd", block, ""), {}), head),
                    )
                )
    return sorted(found, key=lambda one: -one.row["value"])


def _moved(patterns: Mapping[int, Row], head: int) -> Row | None:
    """By how much a head's attention moved, where that stands out in its block too."""
    typical = _typical([row for other, row in patterns.items() if other != head])
    if head not in patterns or typical is None:
        return None
    return patterns[head] if _stands_out(patterns[head], PATTERN, typical) else None


def blocks(rows: Sequence[Row], coverage: Sequence[Row]) -> list[Lesion]:
    """Blocks whose weights lost far more than those of the others, and that add far less rightly
    what they added: of the geometry rows of one twin and of what became of its matrices."""
    weights = _weight_errors(coverage)
    found: dict[int, Lesion] = {}
    for part in ("attn", "mlp"):
        errors = _local_errors(rows, part)
        for block, row in errors.items():
            typical = _typical([r for b, r in errors.items() if b != block])
            of_others = [error for b, error in weights.items() if b != block]
            if typical is None or not of_others or block not in weights:
                continue
            if weights[block] <= TIMES * median(of_others) or not _stands_out(row, BLOCK, typical):
                continue
            if block not in found or found[block].row["value"] < row["value"]:
                found[block] = Lesion(
                    kind="block", block=block, number=None, row=row, others=typical, part=part
                )
    return sorted(found.values(), key=lambda one: -one.row["value"])


def features(table: Sequence[Row], noise: Callable[[], Sequence[Row]]) -> list[Lesion]:
    """Features of one SAE that surely no longer survive, far below all but a few of the others: of
    the table of features of one twin, and of its noise (maybe none), which is read if need be.

    Of thousands of features some lie outside their interval: here it is as wide as so many ask for.
    """
    known = [row for row in table if row["state"] != "twin only" and row["r"] is not None]
    sure = [row for row in known if row["r_high"] is not None and row["r_high"] < 1 - FEATURE]
    if not sure or len(known) < 1 / BEYOND:
        return []
    # Their ends would be those of features that hardly fire, of which little is known.
    typical = sorted(1 - row["r"] for row in known)[-1 - int(BEYOND * len(known))]
    wider = _BELL.inv_cdf(1 - 0.025 / len(known)) / _BELL.inv_cdf(0.975)
    by_noise = {row["latent"]: row for row in noise()}
    found = []
    for row in sorted(sure, key=lambda row: row["r"]):
        lost, beside = _lost(row, wider), by_noise.get(row["latent"])
        if not _stands_out(lost, FEATURE, typical):
            continue
        if beside is None or _beyond(lost, _lost(beside)):
            found.append(
                Lesion(
                    kind="feature",
                    block=int(row["site"].partition(".")[2] or -1),
                    number=row["latent"],
                    row=row,
                    others=typical,
                    noise=beside,
                )
            )
    return found if len(found) <= FEW else []


def _stands_out(row: Row, bound: float, typical: float) -> bool:
    low = row["low"]
    return low is not None and low > bound and low > TIMES * typical


def _beyond(row: Row, noise: Row | None) -> bool:
    """Is it surely more than under noise? Where none was run there is nothing to be held against,
    and what noise did without an interval is not known."""
    if noise is None:
        return True
    return noise["high"] is not None and bool(row["low"] > noise["high"])


def _typical(others: Sequence[Row]) -> float | None:
    """The middle of the upper ends; None where one is not known."""
    ends = [row["high"] if row["high"] is not None else row["value"] for row in others]
    return median(ends) if ends and None not in ends else None


_HEAD = re.compile(r"head (\d+)(?:, (.+))?")


def _by_head(rows: Sequence[Row]) -> dict[tuple[str, int, str], dict[int, Row]]:
    """By metric, block and item the numbers of single heads, those with a value."""
    found: dict[tuple[str, int, str], dict[int, Row]] = {}
    for row in rows:
        head, block = _HEAD.fullmatch(row["item"]), row["site"].partition(".")[2]
        if head and row["value"] is not None:
            place = (row["metric"], int(block), head[2] or "")
            found.setdefault(place, {})[int(head[1])] = row
    return found


def _local_errors(rows: Sequence[Row], part: str) -> dict[int, Row]:
    """By block, the relative error of its attention or MLP, given the reference's input."""
    mine = (row for row in rows if (row["metric"], row["item"]) == ("relative_error", "local"))
    placed = (((row["site"].partition(".")), row) for row in mine if row["value"] is not None)
    return {int(block): row for (kind, _, block), row in placed if kind == part}


def _weight_errors(coverage: Sequence[Row]) -> dict[int, float]:
    """By block, the root mean square of its matrices' relative errors."""
    squares: dict[int, list[float]] = {}
    for row in coverage:
        number = next((part for part in row["module"].split(".") if part.isdigit()), None)
        if row["kind"] == "block" and number is not None and row["relative_error"] is not None:
            squares.setdefault(int(number), []).append(row["relative_error"] ** 2)
    return {block: (sum(of) / len(of)) ** 0.5 for block, of in squares.items()}


def _lost(row: Row, wider: float = 1.0) -> Row:
    """1 - r of a feature, its ends the other way round, and so many times as far away on Fisher's
    scale; nothing known of one without r."""
    r, low, high = row["r"], row["r_low"], row["r_high"]
    if high is not None and wider != 1 and abs(r) < 1:
        high = math.tanh(math.atanh(r) + wider * (math.atanh(high) - math.atanh(r)))
    ends = {"value": r, "low": high, "high": low}
    return {name: None if end is None else 1 - end for name, end in ends.items()}
