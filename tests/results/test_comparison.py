"""Twins of several audits are paired where they may be, and their differences are right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bitlens.results.comparison import ComparedRun, Measure, Pairings, contenders
from bitlens.results.store import Store
from tests.support.compared_stores import METRICS, REFERENCE, compared_store

KL = Measure(analysis="behaviour", metric=METRICS[0], site="logits", item="")
DRAW = np.random.default_rng(5)
NEAR, FAR = DRAW.lognormal(-3, 0.3, 20), DRAW.lognormal(-2.9, 0.3, 20)


def pairings(*paths: Path) -> Pairings:
    stores = {path.name: Store.open(path) for path in paths}
    runs = [ComparedRun(name=n, store=s, manifest=s.manifest()) for n, s in stores.items()]
    return Pairings(contenders(runs))


def test_a_difference_worked_by_hand(tmp_path: Path) -> None:
    """Shards of 0.3 and 0.5 against 0.1 and 0.2: 0.25 apart, without each shard 0.3 and 0.2, so
    0.25 -+ 12.706 x 0.05; of the sums +-0.2 +-0.3 half are as large as 0.5."""
    first = compared_store(tmp_path / "a", {"rtn:bits=3": [0.3, 0.5]})
    second = compared_store(tmp_path / "b", {"rtn:bits=4": [0.1, 0.2]})
    (row,) = pairings(first, second).rows([KL])
    assert (row["first"], row["second"]) == ("rtn:bits=3", "rtn:bits=4")
    assert row["difference"] == pytest.approx(0.25)
    assert (row["low"], row["high"]) == pytest.approx((0.25 - 0.63531, 0.25 + 0.63531), abs=1e-4)
    assert (row["p"], row["q"]) == (0.5, 0.5)


def test_differences_between_runs_are_scipys_paired_test(tmp_path: Path) -> None:
    """Interval, p and q of three twins in two stores, from their shards alone."""
    third = FAR * 1.4
    first = compared_store(tmp_path / "a", {"nf4": NEAR, "fp4": third})
    second = compared_store(tmp_path / "b", {"rtn:bits=4": FAR})
    rows = {(row["first"], row["second"]): row for row in pairings(first, second).rows([KL])}
    shards = {"nf4": NEAR, "fp4": third, "rtn:bits=4": FAR}
    assert len(rows) == 3
    for (one, other), row in rows.items():
        test = stats.ttest_rel(shards[one], shards[other])
        low, high = test.confidence_interval()
        assert (row["low"], row["high"]) == pytest.approx((low, high))
        oracle = stats.permutation_test(
            (shards[one] - shards[other],), np.mean, permutation_type="samples", rng=1
        )
        assert row["p"] == pytest.approx(oracle.pvalue, abs=0.02)
    q = stats.false_discovery_control([row["p"] for row in rows.values()])
    assert [row["q"] for row in rows.values()] == pytest.approx(list(q))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"tokens": "77"}, "other tokens (hashes 9f2c1ab0 and 77)"),
        ({"positions": "all"}, "positions counted: content and all"),
        ({"interval": "bootstrap"}, "intervals: jackknife and bootstrap"),
        ({"bitlens": "0.2.0"}, "versions of bitlens: 0.1.0 and 0.2.0"),
        ({"analysis": {"form": 9}}, "other settings of behaviour"),
        ({"reference": REFERENCE[::-1]}, "their shards hold other documents"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_twins_that_cannot_be_paired_are_refused(
    tmp_path: Path, other: dict[str, Any], reason: str
) -> None:
    """With the reason, and without a difference."""
    first = compared_store(tmp_path / "a", {"nf4": NEAR})
    second = compared_store(tmp_path / "b", {"rtn:bits=4": FAR}, **other)
    known = pairings(first, second)
    (refused,) = known.refused([KL])
    assert refused.reason.startswith(reason)
    assert known.rows([KL]) == []


def test_other_vocabularies_are_named(tmp_path: Path) -> None:
    """Where tokens differ because the models have other ones."""
    first = compared_store(tmp_path / "a", {"nf4": NEAR})
    second = compared_store(tmp_path / "b", {"nf4": FAR}, model="n", tokens="77")
    known = pairings(first, second)
    about = known.contenders[1].runs[0].about("n")
    about["vocabulary"] = 32_000
    (refused,) = known.refused([KL])
    assert refused.reason.startswith("other vocabularies, 4,096 and 32,000 tokens")


def test_the_same_reference_in_other_arithmetic_is_the_same(tmp_path: Path) -> None:
    """What another device rounds moves the reference a little, the same in every shard or not."""
    first = compared_store(tmp_path / "a", {"nf4": NEAR})
    moved = REFERENCE * (1 + 1e-4 * DRAW.standard_normal(20))
    second = compared_store(tmp_path / "b", {"rtn:bits=4": FAR}, reference=moved)
    assert pairings(first, second).refused([KL]) == []


def test_two_models_on_the_same_tokens_are_paired(tmp_path: Path) -> None:
    """Checkpoints of a training, say: their names tell them apart."""
    first = compared_store(tmp_path / "a", {"nf4": NEAR}, model="step-1", weights="1")
    second = compared_store(
        tmp_path / "b", {"nf4": FAR}, model="step-2", weights="2", reference=REFERENCE[::-1]
    )
    (row,) = pairings(first, second).rows([KL])
    assert (row["first"], row["second"]) == ("step-1 nf4", "step-2 nf4")


def test_a_twin_of_two_runs_stands_once(tmp_path: Path) -> None:
    """Where its cell is the same; and that is said, with what differs nevertheless."""
    first = compared_store(tmp_path / "a", {"nf4": NEAR, "fp4": FAR})
    second = compared_store(tmp_path / "b", {"nf4": NEAR})
    third = compared_store(tmp_path / "c", {"nf4": FAR})
    one, _ = pairings(first, second).contenders
    assert [run.name for run in one.runs] == ["a", "b"]
    assert one.remark == "The same twin in a and b: shown once."
    one, _ = pairings(first, third).contenders
    assert one.remark.endswith("Its numbers of behaviour differ; a's are shown.")


def test_namesakes_that_are_not_the_same_say_why(tmp_path: Path) -> None:
    """By the settings that differ; each carries its run's name."""
    first = compared_store(tmp_path / "a", {"nf4": NEAR})
    second = compared_store(tmp_path / "b", {"nf4": FAR}, attention="eager")
    known = pairings(first, second)
    assert [one.label for one in known.contenders] == ["nf4 (a)", "nf4 (b)"]
    assert list(known.namesakes()) == [
        "nf4 (a) and nf4 (b) are not the same twin: they differ in attention."
    ]


def test_a_level_is_compared_too(tmp_path: Path) -> None:
    """How good two twins are is a question, whatever their references."""
    first = compared_store(tmp_path / "a", {"nf4": NEAR, "fp4": FAR})
    measure = Measure(analysis="behaviour", metric=METRICS[1], site="logits", item="twin")
    (row,) = pairings(first).rows([measure])
    assert row["difference"] == pytest.approx(np.mean(REFERENCE * (NEAR - FAR)))
