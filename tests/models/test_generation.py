"""What a whole model writes: as the harness' own model does, and as a plain loop chooses."""

import copy
import dataclasses

import pytest
import torch

from bitlens.config.study import audit_of
from bitlens.errors import ModelError
from bitlens.models.generation import Writing, context_ids, generate
from bitlens.workflows.session import Session

CONTEXTS = (
    "def add(a, b):\n    return",
    "import os\n\nclass",
    "for i in range(10):\n    print",
    "x = [1, 2",
    "# a comment\nif ",
)
LONGEST, BUDGET = 36, 12


@pytest.fixture(scope="module")
def session() -> Session:
    """The embedded model."""
    return Session.in_memory(audit_of("demo", "rtn:bits=3", controls=()), lambda _: None)


def writing(session: Session, *until: str, most: int = BUDGET) -> Writing:
    """As the reference is configured."""
    return Writing(until=until, most=most, config=session.loaded.model.generation_config)


def ids(session: Session, *contexts: str) -> list[tuple[int, ...]]:
    """Contexts in tokens."""
    return [context_ids(session.loaded.tokenizer, text, LONGEST - BUDGET) for text in contexts]


def test_a_model_without_numbers_writes_nothing(session: Session) -> None:
    """The first token of the vocabulary would win every time: an error instead."""
    broken = copy.deepcopy(session.loaded.model)
    with torch.no_grad():
        broken.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="no finite logits in 1 of 1 rows"):
        generate(broken, session.loaded.tokenizer, ids(session, "x = ["), writing(session, most=2))


def test_it_is_what_a_loop_without_a_cache_chooses(session: Session) -> None:
    """The most probable token, again and again, of each row as if it stood alone."""
    model, tokenizer = session.loaded.model, session.loaded.tokenizer
    contexts = ids(session, *CONTEXTS[:2])
    for context, found in zip(
        contexts, generate(model, tokenizer, contexts, writing(session)), strict=True
    ):
        row = list(context)
        with torch.inference_mode():
            for _ in range(BUDGET):
                row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
        assert list(found.tokens) == row[len(context) :]
        assert found.ended == "budget"
        assert found.text == tokenizer.decode(found.tokens)


def test_a_stop_string_ends_a_row_and_not_its_neighbours(session: Session) -> None:
    """The text ends before it, the tokens with the one that completes it; across tokens too."""
    model, tokenizer = session.loaded.model, session.loaded.tokenizer
    contexts = ids(session, *CONTEXTS)
    free = generate(model, tokenizer, contexts, writing(session))
    stop = free[1].text[3:7]
    found = generate(model, tokenizer, contexts, writing(session, stop))
    for before, after in zip(free, found, strict=True):
        text, there, _ = before.text.partition(stop)
        assert (after.text, after.ended) == (text, "stop" if there else "budget")
        assert after.tokens == before.tokens[: len(after.tokens)]
        if there:
            assert stop in tokenizer.decode(after.tokens)
            assert stop not in tokenizer.decode(after.tokens[:-1])


def test_a_token_that_ends_a_text_is_no_stop_string(session: Session) -> None:
    """It is told apart from one, and from the end of the budget."""
    model, tokenizer = session.loaded.model, session.loaded.tokenizer
    contexts = ids(session, *CONTEXTS[:3])
    free = generate(model, tokenizer, contexts, writing(session))
    config = copy.deepcopy(model.generation_config)
    config.eos_token_id = free[0].tokens[4]
    ending = dataclasses.replace(writing(session), config=config)
    found = generate(model, tokenizer, contexts, ending)[0]
    at = free[0].tokens.index(free[0].tokens[4]) + 1
    assert (found.tokens, found.ended) == (free[0].tokens[:at], "end")


def test_a_context_keeps_its_end_and_gets_bos_once(session: Session) -> None:
    """Of a long one the last tokens are left; a text that begins with BOS is given no second."""
    tokenizer = session.loaded.tokenizer
    whole = context_ids(tokenizer, "a = 1\nb = 2", 100)
    assert context_ids(tokenizer, "a = 1\nb = 2", 3) == whole[-3:]
    if tokenizer.bos_token:
        assert context_ids(tokenizer, f"{tokenizer.bos_token}a", 9)[1:2] != whole[:1]


@pytest.mark.slow
def test_it_is_what_the_harness_writes(session: Session) -> None:
    """Text by text, with contexts that are cut and padded, with and without a stop string."""
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = session.loaded.model, session.loaded.tokenizer
    contexts = [*CONTEXTS[1:], "if a:\n    b = 1\n" * 20]
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=5, max_length=LONGEST)
    eos = tokenizer.decode(tokenizer.eos_token_id)
    for until in ([], ["\n\n", "("]):
        settings = {"until": until, "max_gen_toks": BUDGET, "do_sample": False}
        asked = [
            Instance("generate_until", {}, (context, copy.deepcopy(settings)), at)
            for at, context in enumerate(contexts)
        ]
        expected = harness.generate_until(asked, disable_tqdm=True)
        own = writing(session, *until, eos)
        found = generate(model, tokenizer, ids(session, *contexts), own)
        assert [one.text for one in found] == expected
