"""The probes analysis on planted damage: a rotation, a loss of information, a shift."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bitlens.analyses.probes.analysis import Probes
from bitlens.analyses.probes.fitting import Lesson, fitted
from bitlens.analyses.probes.metrics import NOT_THERE
from bitlens.data.labelled_corpus import ClassPair, LabelledCorpus
from bitlens.engine.accumulators import Accumulator, DocumentSums
from bitlens.engine.analysis import Results, Sample
from bitlens.engine.measured import NOTHING
from bitlens.results.records import DetailTable, MetricResult
from bitlens.results.stats.replicates import leave_one_out
from tests.support import tiny

LEARNED, READ, WIDTH, SHARDS = 300, 280, 12, 20
ITEM = "planted, logistic"


def found(reference: np.ndarray, twin: np.ndarray, label: np.ndarray) -> dict[str, MetricResult]:
    """What is said of one block whose documents have these activations, in numbers."""
    every = everything(reference, twin, label)
    return {o.metric: o for o in every if isinstance(o, MetricResult) and o.item == ITEM}


def everything(reference: np.ndarray, twin: np.ndarray, label: np.ndarray) -> Results:
    """What is said of one block whose documents have these activations."""
    pair = ClassPair(name="planted", positive="yes", negative="no", labels=(0, 1))
    n = len(label)
    shard = np.where(np.arange(n) < LEARNED, SHARDS, np.arange(n) % SHARDS)
    about = {
        "positions": np.ones(n), "tokens": np.full(n, 7.0), "label": label, "group": np.arange(n)
    }  # fmt: skip
    parts = {
        who: [
            DocumentSums(
                torch.arange(n),
                torch.from_numpy(shard),
                {k: torch.from_numpy(np.asarray(v, dtype=float)) for k, v in columns.items()},
            )
        ]
        for who, columns in {
            "reference": {"read": reference, **about}, "twin": {"read": twin, **about}
        }.items()
    }  # fmt: skip
    weights = np.hstack([leave_one_out(np.ones(SHARDS, bool)), np.ones((SHARDS + 1, 1))])
    analysis = Probes(LabelledCorpus(tiny.labelled().corpus, LEARNED, (pair,)))
    nothing: Sample = NOTHING
    return analysis.compute(Accumulator(documents=parts).under(weights), nothing, nothing)


def planted() -> tuple[np.ndarray, np.ndarray]:
    """Activations whose first dimension tells the class, and the classes."""
    draw = np.random.default_rng(0)
    label = draw.permutation(np.arange(LEARNED + READ) % 2)
    rows = draw.normal(size=(LEARNED + READ, WIDTH))
    rows[:, 0] += 3 * label
    return rows, label


def first(outcome: MetricResult) -> float:
    assert outcome.values is not None, outcome.reason
    return float(outcome.values[0])


def test_a_rotation_is_told_from_a_loss_of_information() -> None:
    """The first dimension moved to the fifth: the frozen probe reads nothing, one learned anew
    reads all; all of the loss is by rotation."""
    rows, label = planted()
    told = found(rows, np.roll(rows, 4, axis=1), label)
    assert first(told["auc_reference"]) > 0.95
    assert first(told["auc_frozen"]) < 0.65
    assert first(told["auc_refitted"]) == pytest.approx(first(told["auc_reference"]), abs=1e-9)
    assert first(told["lost_by_rotation"]) == pytest.approx(first(told["lost"]), abs=1e-9)
    assert first(told["lost_as_information"]) == pytest.approx(0, abs=1e-9)
    assert abs(first(told["direction_cosine"])) < 0.3


def test_a_loss_of_information_is_no_rotation() -> None:
    """The first dimension drawn anew: neither probe reads anything."""
    rows, label = planted()
    twin = rows.copy()
    twin[:, 0] = np.random.default_rng(1).normal(size=len(twin))
    told = found(rows, twin, label)
    assert first(told["lost_as_information"]) > 0.35
    assert abs(first(told["lost_by_rotation"])) < 0.12
    assert told["lost"].chance == pytest.approx(first(told["auc_reference"]) - 0.5, abs=0.12)


def test_a_repair_and_the_probe_are_one_probe_of_the_twin() -> None:
    """All documents 2 further along: the probe that is kept scores them, where they stand, as the
    reference's scores its own."""
    rows, label = planted()
    twin = rows + 2.0
    tables = [t for t in everything(rows, twin, label) if isinstance(t, DetailTable)]
    of = next(t.columns for t in tables if t.columns["item"][0] == ITEM)
    kept = {
        way: (np.array(direction), offset)
        for way, direction, offset in zip(of["way"], of["direction"], of["offset"], strict=True)
    }
    assert list(kept) == ["as it is", "mean shift", "mean and scale", "linear map"]
    direction, offset = kept["as it is"]
    for way in ("mean shift", "mean and scale"):
        other, moved = kept[way]
        assert twin @ other + moved == pytest.approx(rows @ direction + offset)


def test_a_shift_moves_false_positives_and_no_area() -> None:
    """All documents 2 further along the direction: every rank stays, and the threshold for 1 %
    flags many of the other class."""
    rows, label = planted()
    twin = rows.copy()
    twin[:, 0] += 2
    told = found(rows, twin, label)
    assert first(told["lost"]) == pytest.approx(0, abs=1e-12)
    assert first(told["false_positive_change"]) > 0.2
    assert first(told["detected_change"]) > 0.1
    assert first(told["direction_cosine"]) == pytest.approx(1, abs=1e-6)


def test_areas_are_those_of_scikit_learn_on_documents_apart() -> None:
    """The frozen probe's area is roc_auc_score of its scores on the documents that it did not
    learn from, and a replicate's that of all but one shard."""
    rows, label = planted()
    twin = rows + np.random.default_rng(2).normal(size=rows.shape)
    told = found(rows, twin, label)
    learned = np.arange(LEARNED)
    probe = fitted(Lesson.of(rows[:LEARNED], label[:LEARNED] == 1, learned), "logistic").probe
    score, read = probe.score(twin), np.arange(LEARNED, len(rows))
    assert first(told["auc_frozen"]) == pytest.approx(roc_auc_score(label[read], score[read]))
    left = read[read % SHARDS != 3]
    assert told["auc_frozen"].values is not None
    assert told["auc_frozen"].values[4] == pytest.approx(roc_auc_score(label[left], score[left]))


def test_what_the_reference_cannot_read_is_not_lost() -> None:
    """Labels that no activation tells: areas about one half, and a reason in place of losses."""
    rows, label = planted()
    drawn = np.random.default_rng(5).permutation(label)
    told = found(rows, rows, drawn)
    assert abs(first(told["auc_reference"]) - 0.5) < 0.12
    for name in ("lost", "lost_by_rotation", "lost_as_information", "false_positive_change"):
        assert told[name].reason == NOT_THERE


def test_a_twin_that_overflows_leaves_the_reference_s_numbers() -> None:
    """Of the reference's own area nothing is missing; of the twin nothing is said."""
    rows, label = planted()
    told = found(rows, np.full_like(rows, np.nan), label)
    assert told.keys() == {"auc_choosing", "auc_reference"}
