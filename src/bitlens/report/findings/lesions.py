"""Findings that name a lesion: a head, a block or a feature damaged far beyond its kind."""

from collections.abc import Iterator

from bitlens.report.addresses import address
from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import Finding, finding
from bitlens.report.saes import SaeResults
from bitlens.report.text import lesions as text
from bitlens.results.insights.lesions import Lesion
from bitlens.results.records import TEXT

WEIGHT = 1.0
"""Before everything else: one place that is broken is what one looks for last."""
FOLLOWS = 0.6
"""Of features where a head is lost: they are what it wrote."""


@finding
def lesions(results: AuditResults, model: str) -> Iterator[Finding]:
    """Of every twin its lost heads, its lost features and its lost blocks, one finding each."""
    for twin in results.measured(model):
        name = twin.compression
        found = text.lesions_of(results, model, name)
        if found.heads:
            yield _heads(results, model, name, found.heads)
        if found.features:
            weight = FOLLOWS if found.heads else WEIGHT
            yield _features(results, model, name, found.features, weight)
        if found.blocks:
            yield _blocks(results, model, name, found.blocks)


def _heads(results: AuditResults, model: str, name: str, heads: list[Lesion]) -> Finding:
    first = heads[0]
    return Finding(
        title=f"At {name} {text.lost_heads(results, model, name, heads)}",
        text=_told([text.head(one) for one in heads[: text.NAMED]]),
        anchor="layers",
        weight=WEIGHT,
        twins=(name,),
        uses=frozenset({TEXT}),
        target=address(results, model, layer=first.block, head=first.number),
    )


def _features(
    results: AuditResults,
    model: str,
    name: str,
    features: list[tuple[SaeResults, Lesion]],
    weight: float,
) -> Finding:
    sae, first = features[0]
    return Finding(
        title=f"At {name} {text.lost_features(features)}",
        text=_told([text.feature(of, one) for of, one in features[: text.NAMED]]),
        anchor="features",
        weight=weight,
        twins=(name,),
        uses=frozenset({TEXT, *(of.label for of, _ in features)}),
        target=address(results, model, twin=name, sae=sae.label, feature=first.number),
    )


def _blocks(results: AuditResults, model: str, name: str, blocks: list[Lesion]) -> Finding:
    return Finding(
        title=f"At {name} {text.lost_blocks(blocks)}",
        text=_told([text.block(one) for one in blocks[: text.NAMED]]),
        anchor="layers",
        weight=WEIGHT,
        twins=(name,),
        uses=frozenset({TEXT}),
        target=address(results, model, layer=blocks[0].block),
    )


def _told(parts: list[str]) -> str:
    told = ". ".join(f"{part[:1].upper()}{part[1:]}" for part in parts)
    return f"{told}."
