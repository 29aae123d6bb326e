"""Top contexts of changed features: what each fires on in the reference and in the twin."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.parts import Contexts, Excerpt, Part, Section, ShownFeature, Tabs
from bitlens.report.saes import SaeResults
from bitlens.report.text.numbers import figure, plain, running
from bitlens.report.twins import farthest


def contexts(results: AuditResults, model: str, sae: SaeResults, stem: str) -> Iterator[Part]:
    """A tab a compression, in it the shown features of one SAE; nothing where none are shown."""
    tabs = []
    for twin in results.measured(model):
        rows = sae.rows(results, model, twin.compression, "contexts")
        if rows:
            known = {
                row["latent"]: row for row in sae.rows(results, model, twin.compression, "features")
            }
            tabs.append((twin.compression, (_part(f"{stem}-contexts", rows, known),)))
    if tabs:
        shown = farthest(results, model, [name for name, _ in tabs])
        told = "Where features fire most, in the documents shown"
        yield Section(f"{stem}-contexts", told, (Tabs(tuple(tabs), shown),))


def _part(name: str, rows: list[Row], known: dict[int, Row]) -> Contexts:
    by_latent: dict[int, list[Row]] = {}
    for row in rows:
        by_latent.setdefault(row["latent"], []).append(row)
    order = sorted(by_latent, key=lambda latent: _rank(known.get(latent)))
    return Contexts(
        name,
        tuple(_shown(latent, by_latent[latent], known.get(latent)) for latent in order),
        "Examples come from at most one document in four, or from four where documents are few: "
        "elsewhere a feature may fire more. Darker: stronger activation at that token, on one "
        "scale for both models; the top position is underlined. The same text stands in both "
        "columns, so a feature that survived is shaded alike.",
    )


def _rank(row: Row | None) -> tuple[bool, float]:
    """The most damaged first, those of the twin only last."""
    return (row is None or row["r"] is None, row["r"] if row and row["r"] is not None else 0.0)


def _shown(latent: int, rows: list[Row], feature: Row | None) -> ShownFeature:
    ordered = sorted(rows, key=lambda row: (row["found"] != "reference", row["rank"]))
    title = f"latent {latent}"
    if feature is not None:
        r = "" if feature["r"] is None else f", r = {plain(feature['r'], 2)}"
        title = f"{title}: {feature['state']}{r}"
    return ShownFeature(title, _facts(feature), tuple(map(_excerpt, ordered)))


def _facts(feature: Row | None) -> str:
    if feature is None:
        return ""
    told = []
    if feature["r"] is not None:
        told.append(f"r {plain(feature['r'], 3)}{_interval(feature)}")
    for name, text, unit in (
        ("gain", "gain", ""),
        ("rate_reference", "fires in the reference on", "share"),
        ("rate_twin", "in the twin on", "share"),
        ("lost", "firings lost", "share"),
        ("new", "firings new", "share"),
        ("peak_reference", "highest activation in the reference", ""),
        ("peak_twin", "in the twin", ""),
    ):
        if feature[name] is not None:
            told.append(f"{text} {figure(feature[name], unit)}")
    return "; ".join(told)


def _interval(feature: Row) -> str:
    if feature["r_low"] is None or feature["r_high"] is None:
        return ""
    return f" [{plain(feature['r_low'], 3)}, {plain(feature['r_high'], 3)}]"


def _excerpt(row: Row) -> Excerpt:
    return Excerpt(
        found=row["found"],
        where=f"{row['document']}, token {row['offset']}",
        tokens=tuple(map(running, row["tokens"])),
        reference=tuple(row["reference"]),
        twin=tuple(row["twin"]),
        peak=row["peak"],
    )
