"""Sentences on lesions: single heads, blocks and features damaged far beyond their kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bitlens.report.audit_results import AuditResults, once
from bitlens.report.registration import sentence
from bitlens.report.saes import SaeResults, saes_of
from bitlens.report.text.differences import below
from bitlens.report.text.doubts import Claim, claim, doubted, doubts, rests
from bitlens.report.text.numbers import amount, figure
from bitlens.results.insights import lesions
from bitlens.results.insights.lesions import Lesion
from bitlens.results.records import TEXT

NAMED = 3
"""So many are named one by one; of more only the number."""
PARTS = {"attn": "attention", "mlp": "MLP"}
BY_HEAD = ("geometry.head_error", "geometry.head_share", "attention.jsd")


@dataclass(frozen=True, kw_only=True)
class TwinLesions:
    """What stands out in a twin, the worst of each kind first."""

    heads: list[Lesion]
    features: list[tuple[SaeResults, Lesion]]
    blocks: list[Lesion]
    """Without those that a lost head or feature within explains."""


def lesions_of(results: AuditResults, model: str, name: str) -> TwinLesions:
    """The lesions of a twin."""
    return once(results, ("lesions", model, name), lambda: _found(results, model, name))


def _found(results: AuditResults, model: str, name: str) -> TwinLesions:
    heads = _heads(results, model, name)
    features = _features(results, model, name)
    rows = results.everywhere(model, name, "geometry.relative_error")
    mine = [r for r in results.coverage if (r["model"], r["compression"]) == (model, name)]
    told = {one.block for one in heads} | {one.block for _, one in features}
    blocks = [one for one in lesions.blocks(rows, mine) if one.block not in told]
    return TwinLesions(heads=heads, features=features, blocks=blocks)


def _heads(results: AuditResults, model: str, name: str) -> list[Lesion]:
    noise = results.noise(model, name)
    rows, beside = (
        [row for metric in BY_HEAD for row in results.everywhere(model, who, metric)] if who else []
        for who in (name, noise)
    )
    return lesions.heads(rows, beside)


def _features(results: AuditResults, model: str, name: str) -> list[tuple[SaeResults, Lesion]]:
    """Of the first SAE that is not in doubt and has any: what a block loses goes on behind it."""
    noise, unsure = results.noise(model, name), doubted(results, model)
    for sae in saes_of(results, model):
        beside = partial(sae.rows, results, model, noise, "features") if noise else list
        found = lesions.features(sae.rows(results, model, name, "features"), beside)
        if found and sae.label not in unsure:
            return [(sae, one) for one in found]
    return []


@sentence(order=15)
def named(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """Each lesion by name, beside its kind and beside noise."""
    found, noise = lesions_of(results, model, name), results.noise(model, name)
    labels = {sae.label for sae, _ in found.features}
    for told, uses in (
        ([head(one) for one in found.heads], ()),
        ([feature(sae, one) for sae, one in found.features], labels),
        ([block(one) for one in found.blocks], ()),
    ):
        if told:
            yield claim("; ".join(told[:NAMED]), TEXT, *uses, twins=(noise,))


def head(one: Lesion) -> str:
    """`of what head 2.5 writes 100 % [...] is wrong; of the other heads of its block 0 %`."""
    moved = f"; its attention moved by JSD {amount(one.pattern, 'nats')}" if one.pattern else ""
    noise = f", under noise of the same size {amount(one.noise, 'share')}" if one.noise else ""
    return (
        f"of what head {one.block}.{one.number} writes, given the reference's input, "
        f"{amount(one.row, 'share')} is wrong{noise}; of what the other heads of its block write "
        f"{figure(one.others, 'share')} (median){moved}"
    )


def block(one: Lesion) -> str:
    """`of what block 2's MLP adds 61 % [...] is wrong; of the other blocks' 3 %`."""
    return (
        f"of what block {one.block}'s {PARTS[one.part]} adds, given the reference's input, "
        f"{amount(one.row, 'share')} is wrong; of the other blocks' {figure(one.others, 'share')} "
        "(median)"
    )


def feature(sae: SaeResults, one: Lesion) -> str:
    """`feature 146 in block 1 (early) has r 0.41 [...] and gain 0.3; 99 % of the features ...`."""
    noise = f", under noise of the same size {figure(one.noise['r'])}" if one.noise else ""
    gain = f" and gain {figure(one.row['gain'])}" if one.row["gain"] is not None else ""
    r = {"value": one.row["r"], "low": one.row["r_low"], "high": one.row["r_high"]}
    return (
        f"feature {one.number} {sae.where} has r {amount(r)} between the two models{gain}{noise}; "
        f"{figure(1 - lesions.BEYOND, 'share')} of the features have an r above "
        f"{figure(1 - one.others)}"
    )


def lost_heads(results: AuditResults, model: str, name: str, heads: Sequence[Lesion]) -> str:
    """`head 2.5 still looks where it looked, and its output is lost`."""
    names = listed([f"{one.block}.{one.number}" for one in heads])
    if len(heads) > 1:
        return f"heads {names} no longer write what they wrote"
    if heads[0].pattern:
        return f"head {names} looks elsewhere and no longer writes what it wrote"
    if _stays(results, model, name, heads[0]):
        return f"head {names} still looks where it looked, and its output is lost"
    return f"head {names} no longer writes what it wrote"


def lost_features(found: Sequence[tuple[SaeResults, Lesion]]) -> str:
    """`feature 146 in block 1 (early) is damaged far more than the others`."""
    names = listed([str(one.number) for _, one in found])
    what, have = ("feature", "is") if len(found) == 1 else ("features", "are")
    return f"{what} {names} {found[0][0].where} {have} damaged far more than the others"


def lost_blocks(blocks: Sequence[Lesion]) -> str:
    """`block 2 is damaged far more than the others`."""
    names = listed([str(one.block) for one in blocks])
    what = f"block {names} is" if len(blocks) == 1 else f"blocks {names} are"
    return f"{what} damaged far more than the others"


def brief(results: AuditResults, model: str, name: str) -> str:
    """The gravest lesion of a twin in a sentence; empty where there is none, and where it rests on
    a check that failed."""
    found = lesions_of(results, model, name)
    uses = [] if found.heads else [sae.label for sae, _ in found.features]
    told = claim("", TEXT, *uses, twins=(name,))
    against = (doubt for doubt in doubts(results, model) if doubt.check.passed is False)
    if any(rests(results, model, told, doubt) for doubt in against):
        return ""
    if found.heads:
        said = lost_heads(results, model, name, found.heads)
    elif found.features:
        said = lost_features(found.features)
    else:
        said = lost_blocks(found.blocks) if found.blocks else ""
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _stays(results: AuditResults, model: str, name: str, one: Lesion) -> bool:
    """Does a lost head surely look where it looked?"""
    place, item = f"pattern.{one.block}", f"head {one.number}"
    row = results.find(model, name, "attention.jsd", site=place, item=item)
    return below(row, lesions.PATTERN)


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """`a`, `a and b`, `a, b and c`; of more than `most` the first and how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
