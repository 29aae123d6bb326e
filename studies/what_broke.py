"""Rounding to nearest against GPTQ: what does each thing do that was changed between the two?

    python studies/what_broke.py RESULTS [ANALYSIS.METRIC ...]

Of the results of a study like what_broke_gpt2.yaml: for every metric, number of bits and change,
its value before and after, and the change with its 95 % interval and p. Of metrics that live on a
logarithmic scale (KL, JSD, perplexity) that is after / before, of others after - before. Both
twins read the same documents and the replicates leave out the same shards, so what a document does
to both cancels.
"""

import sys
from collections.abc import Iterator

import numpy as np

from bitlens.results.records import Metric, Value
from bitlens.results.stats.contrasts import contrasts
from bitlens.results.stats.intervals import student
from bitlens.results.stats.scales import to_scale
from bitlens.results.store import Store

CHANGES = (
    ("everything at once", "folded:of=[rtn:bits={},axis=input]", "gptq:bits={},cholesky=false"),
    ("1 weights", "folded:of=[rtn:bits={},axis=input]", "rtn:bits={},axis=input"),
    ("2 scales", "rtn:bits={},axis=input", "rtn:bits={}"),
    ("3 what was called GPTQ", "rtn:bits={}", "gptq:bits={},cholesky=false"),
    ("4 its inverse", "gptq:bits={},cholesky=false", "gptq:bits={}"),
    ("RTN to GPTQ, nothing else", "rtn:bits={}", "gptq:bits={}"),
    ("weights, output rows", "folded:of=[rtn:bits={}]", "rtn:bits={}"),
    ("weights, shared by heads", "folded:of=[rtn:bits={},axis=heads]", "rtn:bits={},axis=heads"),
    ("weights, GPTQ", "folded:of=[gptq:bits={}]", "gptq:bits={}"),
    ("scales, folded", "folded:of=[rtn:bits={},axis=input]", "folded:of=[rtn:bits={}]"),
    ("scales from shared by heads", "rtn:bits={},axis=heads", "rtn:bits={}"),
    ("inverse, folded", "folded:of=[gptq:bits={},cholesky=false]", "folded:of=[gptq:bits={}]"),
)
"""What changes, before, and after. The numbered ones lead from one end of the first to the other,
and on to GPTQ."""
BITS = (4, 3)
METRICS = (
    "behaviour.kl",
    "behaviour.perplexity_ratio",
    "attention.jsd",
    "heads.copying_kept",
    "heads.induction_rank",
    "features.survived",
)

Key = tuple[str, int, str, str, str]
"""Model, seed, metric, site and item."""


def main(results: str, *metrics: str) -> None:
    """Prints every change between two settings with its interval and p-value."""
    store = Store.open(results)
    described = {name: Metric(**about) for name, about in store.manifest()["metrics"].items()}
    twins = dict(_twins(store, metrics or METRICS))
    print("metric, site, seed, bits, change: before, after, change [interval], p")
    for bits in BITS:
        for name, before, after in CHANGES:
            one, two = (twins.get(text.format(bits), {}) for text in (before, after))
            for key in sorted(one.keys() & two.keys()):
                _, seed, metric, site, item = key
                shown = _change(one[key], two[key], described[metric])
                print(metric, site, item, f"seed {seed}, {bits} bits, {name}:", shown)


def _twins(store: Store, metrics: tuple[str, ...]) -> Iterator[tuple[str, dict[Key, Value]]]:
    """By twin, the values of the whole model, and of its SAEs."""
    found: dict[str, dict[Key, Value]] = {}
    for entry in store.manifest()["cells"]:
        if entry["status"] != "done":
            continue
        cell, values = store.read_cell(entry["id"])
        for value in values:
            metric = f"{cell.analysis}.{value.metric}"
            whole = "." not in value.site or cell.analysis == "features"
            if metric in metrics and whole:
                key = (cell.model, cell.seed, metric, value.site, value.item)
                found.setdefault(cell.compression, {})[key] = value
    yield from found.items()


def _change(before: Value, after: Value, metric: Metric) -> str:
    (contrast,) = contrasts([(after, before, metric)])
    if contrast.difference is None or contrast.low is None or contrast.high is None:
        return f"{contrast.reason}"
    how, change = "", (contrast.difference, contrast.low, contrast.high)
    if metric.scale == "log" and (ratio := quotient(before, after)):
        how, change = "x", ratio
    value, low, high = (f"{number:.4g}" for number in change)
    ends = f"{before.value:.4g}, {after.value:.4g}"
    return f"{ends}, {how}{value} [{low}, {high}], p {contrast.p:.2g}"


def quotient(before: Value, after: Value) -> tuple[float, float, float] | None:
    """after / before with its 95 % interval, by the jackknife of its logarithm; None where one
    of the two is 0."""
    numbers = np.array([[v.value, *v.replicates] for v in (after, before)], dtype=np.float64)
    mapped = to_scale(numbers, "log")
    if mapped is None:
        return None
    value, *replicates = np.subtract(*mapped)
    low, high = student(value, np.array(replicates))
    return float(np.exp(value)), float(np.exp(low)), float(np.exp(high))


if __name__ == "__main__":
    main(*sys.argv[1:])
