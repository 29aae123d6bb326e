"""Findings that name a lesion: a head, a block or a feature damaged far beyond its kind."""

from collections.abc import Iterator
from urllib.parse import urlencode

from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import Finding, finding
from bitlens.report.saes import SaeResults
from bitlens.report.text import lesions as text
from bitlens.results.insights.lesions import Lesion
from bitlens.results.records import TEXT

WEIGHT = 1.0
"""Before everything else: one place that is broken is what one looks for last."""


@finding
def lesions(results: AuditResults, model: str) -> Iterator[Finding]:
    """Of every twin its lost heads, its lost features and its lost blocks, one finding each."""
    for twin in results.measured(model):
        name = twin.compression
        found = text.lesions_of(results, model, name)
        if found.heads:
            yield _heads(results, model, name, found.heads)
        if found.features:
            yield _features(name, found.features)
        if found.blocks:
            yield _blocks(name, found.blocks)


def _heads(results: AuditResults, model: str, name: str, heads: list[Lesion]) -> Finding:
    names = text.listed([f"{one.block}.{one.number}" for one in heads])
    if len(heads) > 1:
        title = f"At {name} heads {names} no longer write what they wrote"
    elif heads[0].pattern:
        title = f"At {name} head {names} looks elsewhere and no longer writes what it wrote"
    elif text.stays(results, model, name, heads[0]):
        title = f"At {name} head {names} still looks where it looked, and its output is lost"
    else:
        title = f"At {name} head {names} no longer writes what it wrote"
    first = heads[0]
    return Finding(
        title=title,
        text=_told([text.head(one) for one in heads[: text.NAMED]]),
        anchor="layers",
        weight=WEIGHT,
        twins=(name,),
        uses=frozenset({TEXT}),
        target=f"layer={first.block}&head={first.number}",
    )


def _features(name: str, features: list[tuple[SaeResults, Lesion]]) -> Finding:
    sae, first = features[0]
    names = text.listed([str(one.number) for _, one in features])
    what, have = ("feature", "is") if len(features) == 1 else ("features", "are")
    return Finding(
        title=f"At {name} {what} {names} {sae.where} {have} damaged far more than the others",
        text=_told([text.feature(of, one) for of, one in features[: text.NAMED]]),
        anchor="features",
        weight=WEIGHT,
        twins=(name,),
        uses=frozenset({TEXT, *(of.label for of, _ in features)}),
        target=urlencode({"twin": name, "sae": sae.label, "feature": first.number}),
    )


def _blocks(name: str, blocks: list[Lesion]) -> Finding:
    names = text.listed([str(one.block) for one in blocks])
    what = f"block {names} is" if len(blocks) == 1 else f"blocks {names} are"
    return Finding(
        title=f"At {name} {what} damaged far more than the others",
        text=_told([text.block(one) for one in blocks[: text.NAMED]]),
        anchor="layers",
        weight=WEIGHT,
        twins=(name,),
        uses=frozenset({TEXT}),
        target=f"layer={blocks[0].block}",
    )


def _told(parts: list[str]) -> str:
    told = ". ".join(f"{part[:1].upper()}{part[1:]}" for part in parts)
    return f"{told}."
