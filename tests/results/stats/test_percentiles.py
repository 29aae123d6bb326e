"""Percentiles have an interval only where simulation shows that it holds."""

import importlib.util
import sys
from pathlib import Path

import pytest

from bitlens.results.records import Metric, Value
from bitlens.results.stats.intervals import interval
from bitlens.results.stats.percentiles import MOST_SIMULATED, NEEDED, documents_needed, too_few

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "coverage.py"


@pytest.mark.parametrize("method", NEEDED)
def test_further_out_needs_no_fewer_documents(method):
    """From the median outwards the number of documents only grows, and ends at never."""
    needed = [documents or 10**9 for _, documents in sorted(NEEDED[method].items())]
    assert needed == sorted(needed)
    assert documents_needed(0.999, method) is None
    assert documents_needed(0.9999, method) is None


@pytest.mark.parametrize("method", NEEDED)
def test_lower_tail_and_between(method):
    """The first percentile needs what the 99th needs, the 97th as much as the 99th."""
    assert documents_needed(0.01, method) == documents_needed(0.99, method)
    assert documents_needed(0.97, method) == documents_needed(0.99, method)
    assert documents_needed(0.1, method) == documents_needed(0.9, method)


def test_reason_names_the_number():
    """Too few documents: the reason says how many it takes; enough: there is an interval."""
    needed = documents_needed(0.95, "jackknife")
    metric = Metric(
        "p95",
        "How bad is the worst twentieth?",
        unit="nats",
        worse="higher",
        intact=0.0,
        quantile=0.95,
    )
    replicates = tuple(1 + 0.01 * i for i in range(20))
    few = interval(
        Value(
            metric="p95",
            site="logits",
            item="",
            value=1.1,
            replicates=replicates,
            documents=needed - 1,
        ),
        metric,
    )
    enough = interval(
        Value(
            metric="p95", site="logits", item="", value=1.1, replicates=replicates, documents=needed
        ),
        metric,
    )
    assert few.value == 1.1
    assert few.low is None
    assert f"needs {needed} documents for one, there are {needed - 1}" in few.reason
    assert enough.reason is None
    assert enough.low < 1.1 < enough.high
    assert "percentile 99.9 covered less than 93 %" in too_few(0.999, 10_000, "jackknife")


def test_table_is_the_simulations(monkeypatch):
    """At what the table allows the simulation covers; at the far tail it does not."""
    spec = importlib.util.spec_from_file_location("benchmark_of_coverage", BENCHMARK)
    simulation = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, simulation)
    spec.loader.exec_module(simulation)
    assert set(NEEDED["jackknife"]) == set(simulation.QUANTILES)
    assert max(simulation.DOCUMENTS) == MOST_SIMULATED
    simulation.REPETITIONS = {"jackknife": 500}  # type: ignore[attr-defined]
    needed = documents_needed(0.9, "jackknife")
    found = simulation.covered("jackknife", needed, 64, simulation.POPULATIONS[-1])
    assert found["kl 0.9"] > 0.91
    assert found["kl 0.5"] > 0.91
    assert found["kl 0.999"] < 0.88
