"""The measures of a sensitivity run: what a fork's values say of one kind of damage, as one number
that is 0 where nothing changed and grows with the damage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitlens.results.records import Metric, Value

Read = Mapping[tuple[str, str, str], Value]
"""Values of one fork and analysis, by metric, site and item."""


@dataclass(frozen=True, kw_only=True)
class DamageMeasure:
    """One kind of damage."""

    metric: Metric
    analysis: str
    read: Callable[[Read, Read], dict[str, Value]]
    """By item (an SAE), of a fork's values; the other values stand for those of sites that the
    fork does not reach."""

    @property
    def name(self) -> str:
        """As `--measure` takes it."""
        return self.metric.name


def _metric(name: str, question: str, unit: str, source: str, **more: Any) -> Metric:
    return Metric(name, question, unit=unit, worse="higher", intact=0.0, source=source, **more)


def _kl(values: Read, _: Read) -> dict[str, Value]:
    return {"": values[("kl", "logits", "")]}


def _loss(values: Read, _: Read) -> dict[str, Value]:
    return {"": _mapped(values[("perplexity_ratio", "logits", "")], np.log)}


def _lost(values: Read, elsewhere: Read) -> dict[str, Value]:
    return _of_saes("survived", {**elsewhere, **values})


def _blurred(values: Read, elsewhere: Read) -> dict[str, Value]:
    return _of_saes("feature_correlation", {**elsewhere, **values})


def _of_saes(metric: str, values: Read) -> dict[str, Value]:
    return {
        item: _mapped(value, lambda share: 1 - share)
        for (name, _, item), value in values.items()
        if name == metric
    }


SCORES = ("induction", "previous", "duplicate")


BENCHMARK, ANSWERS, MARGIN = "benchmark", "benchmarks", "margin_drop"
"""A measure of answers, what it is read from, which is no analysis of texts, and its metric."""


def _answers(values: Read, _: Read) -> dict[str, Value]:
    return {"": values[(MARGIN, "", "")]}


def _heads(values: Read, elsewhere: Read) -> dict[str, Value]:
    """Mean absolute change of every head's three scores."""
    changes = {f"{score}_change" for score in SCORES}
    of = [v for (name, _, _), v in {**elsewhere, **values}.items() if name in changes]
    lost = next((v for v in of if v.value is None), None)
    if lost is not None or not of:
        return {"": lost} if lost is not None else {}
    numbers = np.array([[v.value, *v.replicates] for v in of], dtype=np.float64)
    return {"": _with(of[0], np.abs(numbers).mean(axis=0))}


def unchanged(values: Read) -> dict[tuple[str, str, str], Value]:
    """What a fork's values would be where nothing changed, of every number that has such a value:
    1 of shares and correlations, 0 of changes."""
    intact = {"survived": 1.0, "feature_correlation": 1.0}
    intact |= {f"{score}_change": 0.0 for score in SCORES}
    return {
        key: replace(
            value,
            value=intact[key[0]],
            replicates=(intact[key[0]],) * len(value.replicates),
            reason=None,
        )
        for key, value in values.items()
        if key[0] in intact
    }


def _mapped(value: Value, change: Callable[[Any], Any]) -> Value:
    if value.value is None:
        return value
    return _with(value, change(np.array([value.value, *value.replicates], dtype=np.float64)))


def _with(value: Value, numbers: np.ndarray) -> Value:
    first, *rest = numbers.tolist()
    return replace(value, value=first, replicates=tuple(rest))


def difference(whole: Value, other: Value) -> Value:
    """How much of the whole's damage is not there in another: paired, shard by shard."""
    if whole.value is None or other.value is None:
        return replace(whole, value=None, replicates=(), reason=whole.reason or other.reason)
    numbers = np.subtract([whole.value, *whole.replicates], [other.value, *other.replicates])
    return _with(whole, numbers)


MEASURES: dict[str, DamageMeasure] = {
    measure.name: measure
    for measure in (
        DamageMeasure(
            metric=_metric(
                "kl",
                "How far are the next-token distributions from the reference's, on average?",
                "nats",
                "Kullback and Leibler 1951",
                scale="log",
            ),
            analysis="behaviour",
            read=_kl,
        ),
        DamageMeasure(
            metric=_metric(
                "loss",
                "How much more surprised by the text than the reference, on average?",
                "nats",
                "ln of the ratio of perplexities",
            ),
            analysis="behaviour",
            read=_loss,
        ),
        DamageMeasure(
            metric=_metric(
                "features",
                "What share of an SAE's features no longer means the same (r below 0.9)?",
                "share",
                "1 - survived of the features analysis",
                scale="logit",
            ),
            analysis="features",
            read=_lost,
        ),
        DamageMeasure(
            metric=_metric(
                "blur",
                "How far from 1 is the mean correlation of an SAE's features with the reference's?",
                "",
                "1 - feature_correlation of the features analysis",
                scale="log",
            ),
            analysis="features",
            read=_blurred,
        ),
        DamageMeasure(
            metric=_metric(
                "heads",
                "How much do a head's induction, previous-token and duplicate-token scores move, "
                "on average over all heads?",
                "share",
                scale="log",
                source="mean absolute change of the three scores of the heads analysis",
            ),
            analysis="heads",
            read=_heads,
        ),
        DamageMeasure(
            metric=_metric(
                BENCHMARK,
                "How much of the right answer's margin over the best wrong one is lost, on average "
                "over all questions?",
                "nats",
                "log-probabilities as lm-evaluation-harness compares them",
            ),
            analysis=ANSWERS,
            read=_answers,
        ),
    )
}
"""By name, everything `--measure` takes."""


READ = frozenset(
    {"kl", "perplexity_ratio", "survived", "feature_correlation", MARGIN}
    | {f"{score}_change" for score in SCORES}
)
"""Every metric that a measure reads."""


def analyses_of(measures: Sequence[str]) -> tuple[str, ...]:
    """The analyses of texts that answer these measures, each once; where none does, the plainest:
    whether a reference can read the texts is told by it."""
    found = dict.fromkeys(MEASURES[name].analysis for name in measures)
    found.pop(ANSWERS, None)
    return tuple(found) or ("behaviour",)
