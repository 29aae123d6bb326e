"""A loaded model of a study: what a workflow needs of it is put together in one place."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

import bitlens
from bitlens.config.study import Study, audit_of
from bitlens.engine.plan import make_plan
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.engine.wave_size import BATCH_TOKENS
from bitlens.errors import BitlensError
from bitlens.workflows import session as sessions
from bitlens.workflows.session import FREE_SHARE, PATTERN_BYTES, Session

WORKFLOWS = Path(bitlens.__file__).parent / "workflows"
PUT_TOGETHER = {
    "load": {"apart/job.py", "bench/untrusted/launcher.py"},
    "TwinBuilder": set(),
    "make_plan": {"audit/few_rows.py", "audit/expert_tables.py", "bench/likelihoods.py"},
}
"""What only the session calls, and files with a reason to call it as well: what is shown of single
texts, calibration documents and questions are read apart from the text; a worker on another machine
loads the model that the session has; a launcher loads JSON."""


def silent(line: str) -> None:
    pass


@pytest.fixture
def study(llama: Path, short_texts: Path) -> Study:
    """Of a tiny model with the default context, one twin and two seeds."""
    return audit_of(str(llama), "rtn:bits=4", text=str(short_texts), tokens=900, seeds=(3, 4))


def test_nothing_else_puts_a_model_together() -> None:
    """A model is loaded, planned for and compressed in the session alone."""
    for path in WORKFLOWS.rglob("*.py"):
        name = path.relative_to(WORKFLOWS).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        for function, others in PUT_TOGETHER.items():
            assert name in {"session.py", *others} or function not in called, f"{name}: {function}"
        if name != "session.py":
            source = path.read_text(encoding="utf-8")
            assert "max_position_embeddings" not in source, name
            assert "BATCH_TOKENS" not in source, name


def test_what_is_read_is_the_study_s(study: Study) -> None:
    """Its texts, by its seed and budget, read once; the plan is the engine's of them."""
    one, other = (Session.open(study, silent, seed=seed) for seed in (None, 4))
    assert (one.seed, other.seed) == (3, 4)
    assert one.corpus is one.corpus
    assert one.corpus.n_tokens <= 900
    assert one.corpus.token_hash != other.corpus.token_hash
    assert one.context == one.corpus.context == one.layout.config.max_position_embeddings
    expected = make_plan(one.corpus, "content", 3, BATCH_TOKENS["cpu"])
    found = one.plan()
    assert found.positions == expected.positions
    for mine, theirs in zip(found.batches, expected.batches, strict=True):
        assert torch.equal(mine.tokens, theirs.tokens)


def test_memory_is_what_the_study_says_or_a_share(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what is free, or all of it where the caller asks; the study's own word is last."""
    monkeypatch.setattr(sessions, "free_memory", lambda source: 8 << 30)
    assert Session.open(study, silent).memory == FREE_SHARE * (8 << 30)
    assert Session.open(study, silent, share=1.0).memory == 8 << 30
    told = study.model_copy(update={"memory": "3GB"})
    assert Session.open(told, silent, share=1.0).memory == 3_000_000_000


def test_patterns_make_batches_small(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager attention keeps what grows with the context; a batch holds what fits."""
    plain, eager = (Session.open(study, silent, eager=asked) for asked in (False, True))
    assert plain.batch_tokens == eager.batch_tokens == BATCH_TOKENS["cpu"]
    monkeypatch.setattr(sessions, "PATTERN_BYTES", 1 << 16)
    assert plain.batch_tokens == BATCH_TOKENS["cpu"]
    heads = eager.layout.config.num_attention_heads
    assert eager.batch_tokens == (1 << 16) // (4 * heads * eager.context) < PATTERN_BYTES


def test_a_context_that_the_model_cannot_read_is_refused(study: Study) -> None:
    """Before any text is read."""
    session = Session.open(study.model_copy(update={"context": 100_000}), silent)
    with pytest.raises(BitlensError, match="reads"):
        _ = session.corpus


def test_a_model_that_must_lie_in_memory_does_or_is_refused(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its twin is built with nothing measured; where there is no room nothing is."""
    built, twin = Session.in_memory(study.model_copy(update={"controls": ()}), silent).build_twin()
    assert dict(built.twins) == {"rtn:bits=4": twin}
    monkeypatch.setattr(sessions, "free_memory", lambda source: 1000)
    with pytest.raises(BitlensError, match="more than there is room for"):
        Session.in_memory(study, silent)


def test_the_reader_reads_what_the_plan_counts(study: Study) -> None:
    """A row a counted position, of every model that is named."""
    session = Session.open(study, silent)
    models: dict[str, Any] = {REFERENCE: Reference(session.layout)}
    rows = session.reader("resid.0", models).rows(session.plan().batches)
    assert rows[REFERENCE].shape == (session.plan().positions, session.layout.width)
