"""What is made of log-probabilities by block."""

from types import SimpleNamespace

import numpy as np

from bitlens.results.benchmarks.records import NO_PICK
from bitlens.workflows.bench.likelihoods import Likelihoods
from bitlens.workflows.bench.outcomes import Stream, _pick, depths_of
from bitlens.workflows.bench.replay import LikelihoodRequest


def test_a_lens_without_numbers_is_no_margin_and_wins_nothing() -> None:
    """NaN of one choice, minus infinity of another: no margin and no pick there, and neither the
    best log-probability that there is."""
    own = SimpleNamespace(
        OUTPUT_TYPE="multiple_choice", multiple_input=0, doc_to_choice=lambda _: ["x", "y"]
    )
    task = SimpleNamespace(task=own, benchmark="quiz", name="quiz")
    requests = [LikelihoodRequest((1,), (2,)), LikelihoodRequest((1,), (3,))]
    pairs = [("q", "x"), ("q", "y")]
    sample = {"doc_id": 0, "doc": {}, "target": 0, "arguments": pairs}
    at = np.array([[np.nan, -2.0, -1.0], [-3.0, -np.inf, -1.5]])
    (found,) = depths_of(
        task,
        [sample],
        Stream("tiny", "rtn:bits=3"),
        Likelihoods(at, np.ones(2, bool)),
        dict(zip(pairs, requests, strict=True)),
        {request: n for n, request in enumerate(requests)},
    )
    assert found.margins == (None, None, 0.5)
    assert found.picks == (NO_PICK, NO_PICK, 0)


def test_what_is_chosen_depends_on_the_metric() -> None:
    """The likelier choice; a letter of it, the longer; beyond what it is without the question, the
    other."""
    said, texts = np.array([-1.0, -2.0, -0.5, -3.0]), ["a", "long"]
    assert _pick(said, texts, "acc") == 0
    assert _pick(said, texts, "acc_norm") == 1
    assert _pick(said, texts, "acc_mutual_info") == 1
