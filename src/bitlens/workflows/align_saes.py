"""Alignment of SAEs in folders: how alike their directions are, between chance and ceiling."""

from collections.abc import Sequence
from dataclasses import asdict

from bitlens.report.page.parts import Column, Table
from bitlens.report.text.numbers import figure, margin
from bitlens.results.counts import count
from bitlens.sae.alignment.align import AlignedMeasure, AlignedPair, Alignment, align
from bitlens.sae.alignment.compare import MEASURES
from bitlens.sae.alignment.dictionary import ComparedSae
from bitlens.sae.alignment.over_pairs import OverPairs
from bitlens.sae.formats.load import load_sae

TITLES = ("uniform chance", "random chance", "alignment", "seed ceiling", "normalised")


def align_folders(first: Sequence[str], second: Sequence[str], ceiling: Sequence[str]) -> Alignment:
    """The alignment of the SAEs in these folders; one that is named twice is read once. Where a
    folder says how often its latents fired (`sparsity.safetensors`), those that never did are left
    out. BitlensError for folders that cannot be compared."""
    saes = {folder: load_sae(folder) for folder in (*first, *second, *ceiling)}
    ones, others, again = ([saes[folder] for folder in some] for some in (first, second, ceiling))
    rates = {sae: sae.firing_rate for sae in saes.values()}
    alive = {sae: rate > 0 for sae, rate in rates.items() if rate is not None}
    return align(ones, others, again, alive)


def table(found: Alignment) -> Table:
    """A row a side and measure; reasons and what the columns mean below."""
    return Table(
        (Column("directions: measure"), *(Column(title, numeric=True) for title in TITLES)),
        tuple(_row(aligned) for aligned in found.measures),
        "\n".join([*_about(found.pairs), *_reasons(found.measures), *_meanings(found)]),
    )


def _row(aligned: AlignedMeasure) -> tuple[str, ...]:
    unit = MEASURES[aligned.measure].unit

    def cell(of: OverPairs, unit: str = unit) -> str:
        return margin(asdict(of), unit)

    return (
        f"{aligned.side}: {aligned.measure}",
        "–" if aligned.uniform is None else figure(aligned.uniform, unit),
        cell(aligned.random),
        cell(aligned.value),
        cell(aligned.ceiling),
        cell(aligned.normalised, ""),
    )


def _about(pairs: Sequence[AlignedPair]) -> list[str]:
    lines = []
    for pair in pairs:
        again = f"; trained again: {_named(pair.ceiling)}" if pair.ceiling else ""
        lines.append(f"{_named(pair.first)} against {_named(pair.second)}{again}.")
    saes = [sae for pair in pairs for sae in (pair.first, pair.second, pair.ceiling) if sae]
    if not all(sae.alive_given for sae in saes):
        lines.append("Where it is not known which latents are alive, dead ones are compared too.")
    return lines


def _named(sae: ComparedSae) -> str:
    alive = "alive " if sae.alive_given else ""
    return f"{sae.label} ({sae.hook}, {sae.compared:,} {alive}of {sae.latents:,} latents)"


def _reasons(measures: Sequence[AlignedMeasure]) -> list[str]:
    """Each reason once, with the columns it stands for; the normalised number lacks what its parts
    lack."""
    found: dict[str, list[str]] = {}
    for aligned in measures:
        parts = (aligned.random, aligned.value, aligned.ceiling, aligned.normalised)
        for title, part in zip(TITLES[1:], parts, strict=True):
            if part.reason is not None and title not in found.setdefault(part.reason, []):
                found[part.reason].append(title)
    return [f"{', '.join(titles)}: {reason}." for reason, titles in found.items()]


def _meanings(found: Alignment) -> list[str]:
    return [
        f"± is the longer half of the 95 % interval over {count(len(found.pairs), 'pair')} of "
        "SAEs. uniform chance: directions uniform on the sphere; random chance: the second "
        "replaced by random directions with its mean and covariance; seed ceiling: the first "
        "precision trained again; normalised: 0 is random chance, 1 as alike as another seed.",
        f"Matched one to one: {found.matching}.",
    ]
