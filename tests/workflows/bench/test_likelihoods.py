"""Likelihoods of the sweep are those of the harness' own model of transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitlens.config.study import Study, audit_of
from bitlens.engine.swept_model import Reference
from bitlens.engine.wave_size import Pace
from bitlens.errors import DataError
from bitlens.results.records import REFERENCE
from bitlens.workflows.bench import likelihoods
from bitlens.workflows.bench.likelihoods import measure, pack
from bitlens.workflows.bench.replay import LikelihoodRequest, ReplayLM, longest
from bitlens.workflows.session import Session

PAIRS = (
    ("def add(a, b):\n    return", " a"),
    ("def add(a, b):\n    return", " b"),
    ("def add(a, b):\n    return", " a + b"),
    ("import", " os\nimport sys\n"),
    # A space at the end of a context belongs to the continuation; letters merge over the border.
    ("for item in ", "items:"),
    ("retu", "rn None  # and more of it"),
    ("", "import os"),
    ("x = 1\n" * 200, "y = 2"),
    ("x = 1\n" * 200, "x = 1\n" * 12),
)
"""Padding, shared inputs, several tokens, an empty context, and some longer than the model reads:
of those the first tokens are left out."""


def quiet(line: str) -> None:
    """Nobody looks."""


class Lost(Reference):
    """A model that computes no numbers."""

    def leave(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nan * super().leave(states)


@pytest.fixture(scope="module")
def session() -> Session:
    """The embedded model with a twin."""
    study: Study = audit_of("demo", "rtn:bits=4", controls=(), dtype="float32")
    return Session.open(study, quiet)


def instances(lm: ReplayLM | Any) -> list[Any]:
    """The pairs as the harness asks them."""
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=n)
        for n, pair in enumerate(PAIRS)
    ]


@pytest.mark.slow
@torch.no_grad()
def test_they_are_those_of_the_harness(session: Session, tmp_path: Path) -> None:
    """Every log-probability within 1e-5 and every pick, of the reference and of a twin, whatever
    the batch; after every block what transformers' own states say through norm and unembedding. A
    twin without numbers stops no other."""
    from lm_eval.models.huggingface import HFLM

    tokenizer, model = session.loaded.tokenizer, session.loaded.model
    recording = ReplayLM(tokenizer)
    recording.loglikelihood(instances(recording), disable_tqdm=True)
    packed = pack(list(dict.fromkeys(recording.asked.values())), longest(model.config, tokenizer))
    assert len(packed.rows) < len(packed.requests)
    assert max(map(len, packed.rows)) == longest(model.config, tokenizer)
    _, twin = session.build_twin()
    broken: dict[str, str] = {}
    models = {"twin": twin, "lost": Lost(session.layout)}
    found = measure(session, models, packed, broken, tmp_path)
    assert broken == {"lost": "no finite log-probability of 9 of 9 requests"}
    for name, own in ((REFERENCE, model), ("twin", twin.model())):
        theirs = HFLM(pretrained=own, tokenizer=tokenizer, batch_size=4)
        expected = theirs.loglikelihood(instances(theirs), disable_tqdm=True)
        replayed = ReplayLM(tokenizer, found[name].answers(packed.requests))
        answers = replayed.loglikelihood(instances(replayed), disable_tqdm=True)
        lengths = [len(recording.asked[pair].continuation) for pair in PAIRS]
        apart = [
            abs(a - e) / n for (a, _), (e, _), n in zip(answers, expected, lengths, strict=True)
        ]
        assert max(apart) < 1e-5
        assert [first for _, first in answers] == [first for _, first in expected]
    assert found[REFERENCE].at.shape == (len(packed.requests), session.layout.depth)
    assert np.isfinite(found[REFERENCE].at).all()
    lens = found[REFERENCE].at
    assert (np.abs(lens[:, 0] - lens[:, -1]) > 1e-3).all()
    for at, (context, continuation) in zip(lens, packed.requests, strict=True):
        tokens = torch.tensor([(context + continuation)[-(longest(model.config, tokenizer) + 1) :]])
        states = model(tokens[:, :-1], output_hidden_states=True).hidden_states[1:-1]
        for block, state in enumerate(states):
            logits = model.lm_head(model.model.norm(state[0, -len(continuation) :]))
            own = logits.log_softmax(-1).gather(1, torch.tensor(continuation)[:, None]).sum()
            assert at[block] == pytest.approx(float(own), abs=1e-5 * len(continuation))


def test_a_stopped_sweep_goes_on_after_its_last_wave(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its third wave, and one of two files torn: the rest alone is computed, and every
    number is that of one run."""
    monkeypatch.setattr(Session, "batch_tokens", 16)
    requests = [LikelihoodRequest((1,) * n, (2,)) for n in (7, 8, 16)]
    packed = pack(requests, 256)
    swept: list[int] = []
    real = likelihoods._sweep

    def sweep(session: Session, models: Any, wave: Any, said: Any, bar: Any) -> None:
        if len(swept) == most:
            raise KeyboardInterrupt
        swept.append(len(wave))
        real(session, models, wave, said, bar)

    monkeypatch.setattr(likelihoods, "_sweep", sweep)
    monkeypatch.setattr(Pace, "most", 0)
    most = 9
    whole = measure(session, {}, packed, {}, tmp_path / "whole")[REFERENCE]
    assert swept == [1, 1, 1]
    swept.clear()
    most = 2
    with pytest.raises(KeyboardInterrupt):
        measure(session, {}, packed, {}, tmp_path / "killed")
    _, torn = sorted((tmp_path / "killed").iterdir())
    torn.write_bytes(torn.read_bytes()[:-30])
    swept.clear()
    again = measure(session, {}, packed, {}, tmp_path / "killed")[REFERENCE]
    assert swept == [1, 1]
    assert np.array_equal(again.at, whole.at)
    assert np.array_equal(again.first, whole.first)


def test_waves_of_others_are_not_taken(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twins in another order, and batches of another size, find nothing of what a stopped run left:
    each twin has its own numbers, and every request its own."""
    packed = pack([LikelihoodRequest((1,) * n, (2,)) for n in (7, 8, 16)], 256)
    monkeypatch.setattr(Pace, "most", 0)
    _, twin = session.build_twin()
    models = {"same": Reference(session.layout), "twin": twin}
    first = measure(session, models, packed, {}, tmp_path)
    assert list(tmp_path.iterdir())
    turned = dict(reversed(models.items()))
    for tokens in (session.batch_tokens, 16):
        monkeypatch.setattr(Session, "batch_tokens", tokens)
        found = measure(session, turned, packed, {}, tmp_path)
        for name, of in first.items():
            assert np.allclose(found[name].at, of.at, atol=1e-4), name
    assert not np.allclose(first["same"].at, first["twin"].at, atol=1e-4)


def test_one_that_is_asked_elsewhere_reads_fewer_rows_together(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference again, six rows in three batches where it had two; all it says is the same but
    for rounding, and is kept apart from what the others said."""
    packed = pack([LikelihoodRequest((1, n), (2,)) for n in range(3, 9)], 256)
    batches: list[int] = []
    real = likelihoods._sweep

    def sweep(session: Session, models: Any, wave: Any, said: Any, bar: Any) -> None:
        batches.extend(len(of.batch.tokens) for of in wave)
        real(session, models, wave, said, bar)

    monkeypatch.setattr(likelihoods, "_sweep", sweep)
    monkeypatch.setattr(Session, "batch_tokens", 18)
    again = {"nothing": Reference(session.layout)}
    found = measure(session, again, packed, {}, tmp_path, elsewhere=["nothing"])
    assert batches == [2, 4, 2, 3, 1]
    assert np.allclose(found[REFERENCE].at, found["nothing"].at, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["elsewhere"]


def test_packing_by_hand() -> None:
    """Two choices after one context share a row and its last place; of a longer one the first
    tokens are left out; a continuation that alone is too long, or empty, is refused."""
    requests = [
        LikelihoodRequest((1, 2), (3,)),
        LikelihoodRequest((1, 2), (4,)),
        LikelihoodRequest((5, 6, 7), (8, 9)),
    ]
    packed = pack(requests, 3)
    assert [row.tolist() for row in packed.rows] == [[1, 2], [6, 7, 8]]
    assert packed.slot_row.tolist() == [0, 1, 1]
    assert packed.slot_position.tolist() == [1, 1, 2]
    assert packed.slot.tolist() == [0, 0, 1, 2]
    assert packed.token.tolist() == [3, 4, 8, 9]
    assert packed.request.tolist() == [0, 1, 2, 2]
    # A continuation that wholly merges with its context is empty.
    for continuation in ((), (1, 2, 3, 4)):
        with pytest.raises(DataError, match=f"has {len(continuation)} tokens"):
            pack([LikelihoodRequest((1,), continuation)], 3)
