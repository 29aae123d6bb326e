"""The section on prediction: what the reference tells of which features survive."""

from collections.abc import Mapping

from bitlens.errors import visible
from bitlens.report.audit_results import AuditResults, once
from bitlens.report.charts.channels import Channel, channel, having
from bitlens.report.charts.charts import HEIGHT, beside, channels, frame, only
from bitlens.report.charts.depth import across
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, INK
from bitlens.report.page.parts import (
    Column,
    Details,
    Figure,
    Panel,
    Part,
    Point,
    Prose,
    Section,
    Statement,
    Strip,
    Table,
)
from bitlens.report.registration import Marks, section
from bitlens.report.saes import SaeResults
from bitlens.report.text.numbers import amount, figure, margin, plain
from bitlens.report.twins import with_noise
from bitlens.results.insights.duan import COLUMNS, recipe
from bitlens.results.insights.measured import SaeFeatures, TwinFeatures, measured
from bitlens.results.insights.prediction import (
    BASELINE,
    ERROR,
    LOGISTIC,
    PREDICTORS,
    SURVIVAL,
    Prediction,
    Score,
    predict,
)

Found = dict[str, tuple[TwinFeatures, Prediction]]
"""By compression, at the first seed."""


@section("prediction", "Predicting survival", after="transfer")
def prediction(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """One model's section; none where no features were measured."""
    found = _measured(results, model)
    return predictions(results, model, marks, found) if found else ()


def predictions(
    results: AuditResults, model: str, marks: Marks, found: list[SaeFeatures]
) -> tuple[Part, ...]:
    """A section for every SAE of one model."""
    told = Prose(
        "A feature's survival (r > 0.9) on one half of the documents is predicted from what the "
        "feature is like on the other half, in the reference alone, and from the SAE's weights. "
        "Predictors are scored on features they were not fitted on, nor on near-duplicates of "
        "them. AUC: of two features of which one survives, how often the predictor tells which "
        "(chance 0.5). Signal to noise is one line: a feature that varies much when it fires, read "
        "by a short encoder vector, stands above any error. Where a predictor gains nothing on it, "
        "or does as well for weight noise, nothing particular to a compression was predicted."
    )
    sections = []
    read = [(of, predicted(results, model, of)) for of in found]
    for number, (of, known) in enumerate(read):
        stem = f"{results.prefix(model)}prediction-{number + 1}"
        parts: list[Part] = [table(results, model, known)]
        parts += _calibration(results, model, of, known=known, marks=marks, stem=stem)
        parts.append(Details("As the paper predicts it", (_recipes(results, model, known),)))
        sections.append(Section(stem, f"SAE {visible(of.name)}", tuple(parts)))
    return (*_found(results, model, read), told, *sections)


def _found(
    results: AuditResults, model: str, read: list[tuple[SaeFeatures, Found]]
) -> tuple[Statement, ...]:
    """The twin and the SAE of which logistic regression tells most."""
    scored = {
        (twin.compression, visible(of.name)): (known[twin.compression][1].scores[LOGISTIC], known)
        for of, known in read
        for twin in results.measured(model)
        if twin.compression in known and known[twin.compression][1].scores
    }
    if not scored:
        return ()
    (twin, sae), (best, known) = max(scored.items(), key=lambda entry: entry[1][0].auc)
    numbers = f"AUC of logistic regression, by chance 0.5: {_told(twin, best)}, SAE {sae}"
    if best.low <= 0.5:
        return (Statement("The reference does not surely tell which features die", f"{numbers}."),)
    noise = results.noise(model, twin) or ""
    same = known[noise][1].scores.get(LOGISTIC) if noise in known else None
    numbers += f"; {_told('weight noise of the same size', same)}." if same else "."
    text = "Which features die can be told from the reference"
    as_well = same is not None and same.high >= best.low
    return (Statement(f"{text}, for weight noise as well" if as_well else text, numbers),)


def _told(who: str, score: Score) -> str:
    return f"{who} {amount({'value': score.auc, 'low': score.low, 'high': score.high})}"


def _measured(results: AuditResults, model: str) -> list[SaeFeatures]:
    named = results.named(model)
    return once(results, ("features", named), lambda: measured(results.store, named))


def _predicted(results: AuditResults, twin: TwinFeatures) -> Prediction:
    return once(results, ("prediction", twin), lambda: predict(twin.halves))


def chances(results: AuditResults, model: str, sae: SaeResults, who: str) -> Mapping[int, float]:
    """By latent of an SAE, how probable its survival in a twin looks from the reference alone;
    nothing where that could not be fitted."""
    for of in _measured(results, model):
        if (visible(of.sae), visible(of.site)) == (sae.label, sae.site):
            for twin in sorted(of.twins, key=lambda twin: twin.seed):
                if visible(twin.compression) == who:
                    return _predicted(results, twin).chances
    return {}


def predicted(results: AuditResults, model: str, of: SaeFeatures) -> Found:
    """What was found for every compression and its noise."""
    wanted = {who for _, who in with_noise(results, model)}
    found: Found = {}
    for twin in sorted(of.twins, key=lambda twin: twin.seed):
        who = visible(twin.compression)
        if who in wanted and who not in found:
            found[who] = (twin, _predicted(results, twin))
    return found


def table(results: AuditResults, model: str, known: Found) -> Table:
    """AUC of every predictor, what the reference tells beyond one line, and Brier scores."""
    rows = []
    for label, who in with_noise(results, model):
        if who in known:
            of = known[who][1]
            share = "–" if of.survived is None else figure(of.survived, "share")
            rows.append((label, f"{of.features:,}", share, *_cells(of)))
    twins = [t.compression for t in results.measured(model) if t.compression in known]
    missing = [f"{who}: {known[who][1].reason}." for who in twins if known[who][1].reason]
    absent = {(n, why): None for who in twins for n, why in known[who][1].missing.items()}
    missing += [f"{name} is left out: {why}." for name, why in absent]
    titles = (
        "features",
        "survived there",
        *PREDICTORS,
        "gain of AUC",
        "Brier score",
        "of a constant",
    )
    return Table(
        (Column("compression"), *(Column(title, numeric=True) for title in titles)),
        tuple(rows),
        "Survival on the second half of the documents, and its AUC by predictor. "
        f"{ERROR}: sees, besides what {LOGISTIC} sees, how much of the error that the block's own "
        "weights make on the reference's input each encoder direction reads, on the first half; "
        f"{SURVIVAL}: sees survival itself there, which is hard to beat. Of the twin "
        "the first needs one block, the second all; the others nothing. gain of AUC: logistic "
        "regression over signal to noise. Brier score: of logistic regression, beside that "
        "of always saying the share that survived. ± is the longer half of a 95 % interval over "
        "features (near-duplicates drawn together), not over documents. "
        f"{' '.join(missing)}".strip(),
    )


def _cells(of: Prediction) -> list[str]:
    if not of.scores:
        return ["–"] * (len(PREDICTORS) + 3)
    told = of.scores[LOGISTIC]
    gain = {"value": told.gain, "low": told.gain_low, "high": told.gain_high}
    return [
        *(_area(of.scores.get(name)) for name in PREDICTORS),
        margin(gain),
        plain(told.brier, 3),
        plain(of.uncertain, 3),
    ]


def _area(score: Score | None) -> str:
    if score is None:
        return "–"
    return margin({"value": score.auc, "low": score.low, "high": score.high})


def _calibration(
    results: AuditResults,
    model: str,
    of: SaeFeatures,
    known: Found,
    marks: Marks,
    stem: str,
) -> list[Part]:
    twins = [t.compression for t in results.measured(model) if t.compression in known]
    twins = [twin for twin in twins if known[twin][1].scores]
    if not twins:
        return []
    empty = frame(None, _layers(twins, marks), HEIGHT)
    panels = []
    for twin in twins:
        noise = results.noise(model, twin)
        points = _points(twin, "compression", known[twin][1])
        if noise in known:
            points += _points(twin, "noise", known[noise][1])
        ends: list[Point] = [{"is": "same", "x": at, "value": at} for at in (0, 1)]
        panels.append(Panel(twin, empty, (*points, *ends)))
    return [
        Figure(
            name=f"{stem}-calibration",
            title=f"Predicted and real survival: {visible(of.name)}",
            key=(
                "Each point is a tenth of the features: the chance that logistic regression gives "
                "them across, the share that survived up. Filled: a compression. Hollow grey: "
                "weight noise of the same size. Dashed: a predictor that is right."
            ),
            strips=(Strip("", tuple(panels)),),
            caption="Below the dashed line too much was promised, above it too little.",
            legend=tuple((marks[twin], twin) for twin in twins),
            controls=beside(results, model),
            across=across(len(panels)),
        )
    ]


def _points(who: str, kind: str, of: Prediction) -> list[Point]:
    if LOGISTIC not in of.scores:
        return []
    return [
        {
            "is": kind,
            "who": who,
            "x": round(b.predicted, 4),
            "value": round(b.survived, 4),
            "count": b.count,
        }
        for b in of.scores[LOGISTIC].bins
    ]


def _layers(twins: list[str], marks: Marks) -> list[Layer]:
    def axis(field: str, title: str) -> Channel:
        scale = having(domain=[-0.03, 1.03], nice=False)
        return channel(f"{field}:Q", title=title, scale=scale,
                       axis=having(format="%", tickCount=5))  # fmt: skip

    x = axis("x", "predicted share")
    y = axis("value", "share that survived")
    colour, shape = channels(twins, marks)
    told = [
        channel("is:N", title="of"),
        channel("count:Q", title="features"),
        channel("x:Q", title="predicted", format=".1%"),
        channel("value:Q", title="survived", format=".1%"),
    ]
    return [
        only("same").mark_line(color=INK, strokeDash=[5, 4], strokeWidth=1).encode(x=x, y=y),
        only("compression").mark_line().encode(x=x, y=y, color=colour),
        only("compression")
        .mark_point(filled=True, size=60, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
        only("noise")
        .mark_point(filled=False, size=140, color=CONTROL, strokeWidth=1.5)
        .encode(x=x, y=y, shape=shape, tooltip=told),
    ]


def _recipes(results: AuditResults, model: str, known: Found) -> Table:
    rows = []
    for label, who in with_noise(results, model):
        if who not in known:
            continue
        twin, of = known[who]
        found = recipe(twin.features)
        area = "–" if found.auc is None else f"{found.auc:.3f} ({found.deviation:.3f})"
        weights = [f"{c:+.2f}".replace("-", "−") for c in found.coefficients] or ["–"] * 4
        rows.append((label, area, _area(of.scores.get(BASELINE)), *weights))
    titles = ("AUC (sd over folds)", "signal to noise", *COLUMNS)
    return Table(
        (Column("compression"), *(Column(title, numeric=True) for title in titles)),
        tuple(rows),
        "Duan 2026 (arXiv 2606.03002): four columns, logistic regression, 5 folds, statistics and "
        "survival from the same tokens, near-duplicates in different folds. log concentration is "
        "log max less log mean, so single coefficients mean nothing. The standard deviation over "
        "folds is not an interval.",
    )
