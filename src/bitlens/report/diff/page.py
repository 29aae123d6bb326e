"""The page of a run of `diff`: how structured differences are, their features, where they lie, and
what the mean difference says."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitlens.report.charts.palette import marks
from bitlens.report.diff.charts import WAYS, explained, heaps
from bitlens.report.diff.finding import ONE_EACH, Spot, find, findings, spots
from bitlens.report.page.html import html
from bitlens.report.page.parts import (
    Column,
    Command,
    Details,
    Ledger,
    Page,
    Part,
    Prose,
    Section,
    Table,
    Tabs,
)
from bitlens.report.text.few import sayable
from bitlens.report.text.numbers import figure, margin, plain, running, token
from bitlens.results.diff.file import NOISE, RANDOM, REPORT, TWIN, read_diff
from bitlens.results.files.names import inside
from bitlens.results.files.writing import write


def build(folder: Path) -> Path:
    """Write the page of a run; its path. BitlensError for what is damaged."""
    path = inside(folder, REPORT)
    write(path, html(page(read_diff(folder))).encode())
    return path


def said(folder: Path) -> str:
    """What was found, as a sentence with its numbers. BitlensError for what is damaged."""
    (found,) = findings(read_diff(folder))
    return f"{found.text}. {found.numbers}." if found.numbers else f"{found.text}."


def told(folder: Path) -> Table:
    """How much is explained of every difference. BitlensError for what is damaged."""
    return _shares(read_diff(folder))


def page(run: Mapping[str, Any]) -> Page:
    """Everything, as parts."""
    known = marks(run["twins"])
    charts = [f for f in (explained(run, known), heaps(run, known)) if f is not None]
    shares: tuple[Part, ...] = (*findings(run), _how(run), _shares(run), *charts[:1])
    where = [*charts[1:], *_tabs(run, _places)]
    sections = [Section.stating("structure", "Structure", shares)]
    if spots(run):
        sections += [
            Section("features", "Features of the difference", tuple(_features(run))),
            Section("where", "Where it lies", (_heaped(run), *where)),
            Section("mean", "What the mean difference says", tuple(_means(run))),
        ]
    sections += [
        Section("numbers", "All numbers", (_ledger(run),)),
        Section("reproduce", "Again", (Command(run["command"]), *map(Prose, run["notes"]))),
    ]
    subtitle = (
        f"{run['text']}: {run['learnt']:,} positions of {run['documents_learnt']:,} documents to "
        f"learn from, {run['held']:,} of {run['documents_held']:,} to measure on. "
        f"bitlens {run['tool']['version']}."
    )
    title = f"What twins change in {run['name']}"
    return Page(title, subtitle, tuple(sections), tuple(known.items()))


def _how(run: Mapping[str, Any]) -> Prose:
    return Prose(
        "A difference is the twin's activation less the reference's, at the same token. A "
        f"TopK SAE of {run['latents']:,} latents, {run['k']} at a position, learnt it in "
        f"{run['steps']:,} steps of {run['batch']:,} positions ({run['epochs']:,} passes, learning "
        f"rate {run['rate']:g}), and so did one of noise and one of random directions; k "
        f"directions are {run['k']} principal ones. All was fitted on documents that nothing is "
        "measured on. Shares are of the difference's squared length, the mean included."
    )


def _shares(run: Mapping[str, Any]) -> Table:
    whose = {TWIN: "{}", NOISE: "noise like {}", RANDOM: "random like {}"}
    rows = []
    for spot in spots(run):
        for of, name in whose.items():
            if find(run, spot, "explained_mean", of) is None:
                continue
            cells = [margin(find(run, spot, way, of), "share") for way in WAYS]
            size = margin(find(run, spot, "size", of), "share")
            rows.append((name.format(spot[1]), spot[0], size, *cells))
    titles = ("size", *WAYS.values())
    columns = (Column("difference"), Column("site"), *(Column(t, numeric=True) for t in titles))
    return Table(
        columns,
        tuple(rows),
        "size: squared length over the variance of the reference's activations. Then the share of "
        "the difference that is explained: by one shift for all tokens; by a linear map of the "
        "reference's activation, of rank k and whole; by k fixed directions; by the SAE, k "
        "features at a time. random: normal directions with the twin's lengths and (nearly) second "
        "moments. ± is the longer half of a 95 % interval over documents; the heading tests all "
        f"twins and sites together (Bonferroni). {ONE_EACH}.",
    )


def _tabs(run: Mapping[str, Any], parts: Any) -> Iterator[Part]:
    """What is shown of every twin and site, one at a time."""
    known = spots(run)
    tabs = tuple((f"{twin} at {site}", tuple(parts(run, (site, twin)))) for site, twin in known)
    if len(tabs) == 1:
        yield from tabs[0][1]
    elif tabs:
        yield Tabs(tabs)


def _of(run: Mapping[str, Any], name: str, spot: Spot) -> list[dict[str, Any]]:
    return [row for row in run[name] if (row["site"], row["twin"]) == spot]


def _features(run: Mapping[str, Any]) -> Iterator[Part]:
    yield Prose(
        "The features without which most of the difference would be left. Promoted and suppressed: "
        "tokens whose logits it moves most, at its mean code, read straight through the final norm "
        "and the unembedding (logit lens): the derivative at 32 activations of the reference, "
        "averaged, less its mean over the vocabulary."
    )
    yield from _tabs(run, _features_of)


def _features_of(run: Mapping[str, Any], spot: Spot) -> Iterator[Part]:
    rows = _of(run, "features", spot)
    near = any(row["nearest"] for row in rows)
    about_all = {"documents": run["documents_held"], "reason": None}
    titles = ["feature", "explains", "fires at", "code", "promotes", "suppresses"]
    columns = [Column(title, numeric=title in titles[:4]) for title in titles]
    if near:
        columns.append(Column("nearest latent of the reference's SAE"))
    cells = [
        (
            str(row["latent"]),
            margin(sayable({**row, **about_all, "value": row["share"]}), "share"),
            figure(row["fires"], "share"),
            plain(row["code"], 2),
            _tokens(row["promoted"]),
            _tokens(row["suppressed"]),
            *([_nearest(row["nearest"])] if near else []),
        )
        for row in rows
    ]
    about = "explains: how much more of the difference would be unexplained without it."
    if near:
        about += " nearest: by the cosine of decoder directions; in brackets what chance gives."
    yield Table(tuple(columns), tuple(cells), about)
    for row in rows:
        yield Details(f"Feature {row['latent']}: where it fires", (_contexts(row["contexts"]),))


def _contexts(contexts: list[dict[str, Any]]) -> Table:
    columns = (
        Column("code", numeric=True),
        Column("before", numeric=True),
        Column("token"),
        Column("after"),
        Column("document"),
    )
    rows = tuple(
        (
            plain(one["code"], 2),
            running(one["before"]),
            token(one["token"]),
            running(one["after"]),
            one["document"],
        )
        for one in contexts
    )
    return Table(columns, rows, "The largest codes on held-out documents, one a document.")


def _tokens(pushes: list[dict[str, Any]]) -> str:
    return " ".join(token(push["token"]) for push in pushes[:6])


def _nearest(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    cosine, chance = plain(found["cosine"], 2), plain(found["chance"], 2)
    return f"{found['latent']} of {found['sae']}: {cosine} [{chance}]"


def _heaped(run: Mapping[str, Any]) -> Table:
    titles = {
        "top_0.001": "largest 0.1 %",
        "top_0.01": "largest 1 %",
        "top_0.1": "largest 10 %",
        "top_0.01_less_noise": "1 %, less noise's",
        "uncounted": "BOS and first positions",
    }
    rows = tuple(
        (
            twin if of == TWIN else f"noise like {twin}",
            site,
            *(margin(find(run, (site, twin), metric, of), "share") for metric in titles),
        )
        for site, twin in spots(run)
        for of in (TWIN, NOISE)
        if find(run, (site, twin), "size", of) is not None
    )
    columns = [Column("difference"), Column("site")]
    columns += [Column(title, numeric=True) for title in titles.values()]
    return Table(
        tuple(columns),
        rows,
        "What share of the difference's squared length is at the positions where it is largest. "
        "The last column is of all positions, those that do not count included: how much is at the "
        "beginnings of windows, which all else leaves out.",
    )


def _places(run: Mapping[str, Any], spot: Spot) -> Iterator[Part]:
    for kind, title in (("token", "token"), ("document", "document")):
        rows = [row for row in _of(run, "places", spot) if row["kind"] == kind]
        cells = tuple(
            (
                token(row["name"]) if kind == "token" else row["name"],
                figure(row["share"], "share"),
                figure(row["positions"], "share"),
                f"{row['count']:,}",
            )
            for row in rows
        )
        titles = ("of the difference", "of the positions", "positions")
        columns = (Column(title), *(Column(t, numeric=True) for t in titles))
        yield Table(columns, cells, f"The {title}s that hold most of what {spot[1]} changes.")


def _means(run: Mapping[str, Any]) -> Iterator[Part]:
    yield Prose(
        "The mean difference as a direction, through the same logit lens: what a shift of every "
        "activation by it does to the logits, directly."
    )
    rows = []
    for site, twin in spots(run):
        share = margin(find(run, (site, twin), "explained_mean"), "share")
        for mean in _of(run, "means", (site, twin)):
            pushed = (_pushed(mean[name]) for name in ("promoted", "suppressed"))
            rows.append((twin, site, share, *pushed))
    columns = (
        Column("difference"),
        Column("site"),
        Column("of the difference", numeric=True),
        Column("promoted"),
        Column("suppressed"),
    )
    yield Table(columns, tuple(rows), "In brackets logits, against the mean over the vocabulary.")


def _pushed(pushes: list[dict[str, Any]]) -> str:
    return "  ".join(f"{token(push['token'])} ({figure(push['logit'])})" for push in pushes[:6])


def _ledger(run: Mapping[str, Any]) -> Ledger:
    names = ("site", "twin", "of", "metric", "value", "low", "high", "documents", "reason")
    columns = tuple(Column(name, numeric=name in names[4:8]) for name in names)
    rows = tuple(tuple(row[name] for name in names) for row in run["rows"])
    return Ledger("differences", columns, rows)
