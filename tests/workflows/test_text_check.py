"""Whether the reference can read its text, beside guesses that look at no context."""

import math
from pathlib import Path

import pytest
import torch

from bitlens.config.study import audit_of
from bitlens.data.corpus import Corpus, make_corpus
from bitlens.data.texts import read_texts
from bitlens.engine.plan import Plan, make_plan
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import load
from bitlens.models.source import ModelSource
from bitlens.workflows.session import Session
from bitlens.workflows.text_check import Legibility, _frequencies, check_text, legibility

Read = tuple[Layout, Corpus, Plan]


def read(source: ModelSource, text: str, tokens: int | None = None) -> Read:
    """A model, a text as it reads it, and which positions count."""
    loaded = load(source, 1 << 32)
    layout = Layout(loaded.model)
    corpus = make_corpus(read_texts(text), loaded.tokenizer, 64, max_tokens=tokens)
    return layout, corpus, make_plan(corpus, "content", 0, 512)


def legible(loss: float, unigram: float, unseen: float) -> Legibility:
    """A text of a hundred predictions, by a model of 6 nats a token at random."""
    return Legibility(
        model="m",
        text="texts",
        predictions=100,
        loss=loss,
        unigram=unigram,
        unseen=unseen,
        uniform=6.0,
    )


def test_frequencies_by_hand():
    """Of 3, 1, 1 and 0 occurrences. A token of one occurrence is new without itself: 2/5 of all
    are, and share what falls to the one token that never occurs."""
    counts, targets = torch.tensor([3, 1, 1, 0]), torch.tensor([0, 0, 0, 1, 2])
    unigram, unseen = _frequencies(counts, targets)
    assert unigram == pytest.approx((3 * math.log(5 / 3) + 2 * math.log(5)) / 5)
    assert unseen == pytest.approx(-(3 * math.log(3 / 5 * 2 / 4) + 2 * math.log(2 / 5)) / 5)


def test_the_loss_is_the_model_s_own(gpt2: Path, short_texts: Path):
    """Against transformers, document by document; the first position of a window counts not."""
    layout, corpus, plan = read(ModelSource(str(gpt2)), str(short_texts), 500)
    found = legibility(layout, corpus, plan, "tiny")
    losses = []
    for row in corpus.rows:
        tokens = torch.from_numpy(row).long()[None]
        with torch.no_grad():
            said = layout.model(tokens).logits[0].log_softmax(-1)
        losses.append(-said[1:-1].gather(1, tokens[0, 2:, None]))
    assert found is not None
    assert found.predictions == sum(map(len, losses))
    assert found.loss == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)
    assert found.uniform == pytest.approx(math.log(layout.vocabulary))


@pytest.mark.parametrize(
    ("loss", "passed"),
    [(2.9, True), (3.1, None), (3.6, False), (9.0, False), (math.inf, False)],
)
def test_what_passes(loss: float, passed: bool | None):
    """Below frequencies that have seen every token; above those that have not it fails; between
    them nothing is said."""
    found = legible(loss, unigram=3.0, unseen=3.5)
    assert found.passed is passed
    assert found.check.passed is passed
    assert found.check.bears_on == "text"


def test_worse_than_uniform_fails_whatever_the_frequencies_give():
    """A model may hold the text's own frequencies to be impossible; so may they the next text."""
    assert legible(6.1, unigram=8.0, unseen=9.0).passed is False


def test_no_silent_text_for_a_foreign_model(gpt2: Path):
    """Refused before anything is compressed, with both losses and what to type."""
    session = Session.open(audit_of(str(gpt2), "rtn:bits=4", tokens=3000), print)
    with pytest.raises(BitlensError, match="No text is named, and tiny-gpt2 cannot read") as error:
        check_text(session, session.plan())
    assert "frequencies alone give" in error.value.found
    assert "--text" in error.value.remedy


def test_a_text_that_was_named_is_read_and_the_check_fails(gpt2: Path, short_texts: Path):
    """What the user asked for is done, and said at once."""
    said = list[str]()
    study = audit_of(str(gpt2), "rtn:bits=4", text=str(short_texts), context=64)
    session = Session.open(study, said.append)
    check = check_text(session, session.plan())
    assert check.passed is False
    assert said[0].startswith("Doubtful: tiny-gpt2 predicts")


@pytest.mark.slow
def test_the_embedded_model_reads_its_texts():
    """Nothing is announced: they were made for each other."""
    said = list[str]()
    session = Session.open(audit_of("demo", "rtn:bits=4", tokens=3000), said.append)
    check = check_text(session, session.plan())
    assert check.passed is True
    assert not said


def test_a_choice_that_holds_is_said(monkeypatch: pytest.MonkeyPatch, gpt2: Path):
    """In one line, with the reference's loss beside the frequencies'."""
    fits = legible(2.0, unigram=3.0, unseen=3.5)
    monkeypatch.setattr("bitlens.workflows.text_check.legibility", lambda *of: fits)
    said = list[str]()
    session = Session.open(audit_of(str(gpt2), "rtn:bits=4", tokens=3000), said.append)
    check = check_text(session, session.plan())
    assert check.passed is True
    assert said == [
        f"No text is named (--text), so source code that ships with bitlens: {fits.said}."
    ]


def test_where_nothing_is_predicted_nothing_is_known(
    gpt2: Path, short_texts: Path, monkeypatch: pytest.MonkeyPatch
):
    """Undecided, not passed."""
    monkeypatch.setattr("bitlens.workflows.text_check.legibility", lambda *of: None)
    study = audit_of(str(gpt2), "rtn:bits=4", text=str(short_texts))
    session = Session.open(study, print)
    assert check_text(session, session.plan()).passed is None
