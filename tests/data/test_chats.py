"""Laws of chats: texts in a tokenizer's own template."""

import copy
import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from bitlens.data.chats import ChatFormat, as_chats
from bitlens.data.corpus import make_corpus
from bitlens.data.files import Document, RowFields
from bitlens.data.texts import Documents, read_texts
from bitlens.errors import BitlensError

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]"
    "{% if enable_thinking is defined and not enable_thinking %}<no>{% endif %}{% endif %}"
)


@pytest.fixture
def chatting(with_bos: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """One with a template, which writes BOS and has a switch for thinking."""
    own = copy.deepcopy(with_bos)
    own.chat_template = TEMPLATE
    return own


def texts(*documents: Document) -> Documents:
    return Documents("t", documents, marked=True)


def written(tokenizer: PreTrainedTokenizerFast, document: Document, **how: str) -> str:
    found = as_chats(texts(document), tokenizer, ChatFormat(**how), "m")
    return found.documents[0].text


def test_a_text_is_a_users_message(chatting: PreTrainedTokenizerFast) -> None:
    """The answer is opened after it, so the last token predicts the answer's first; a system
    prompt stands before it."""
    assert written(chatting, Document("d", "hi")) == "[user]hi[assistant]"
    assert written(chatting, Document("d", "hi"), system="be kind") == (
        "[system]be kind[user]hi[assistant]"
    )


def test_a_chat_stays_as_it_is(chatting: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """Rows of messages are read as chats, and one that ends with an answer opens no other."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "t.jsonl").write_text(json.dumps({"messages": chat, "kind": "x"}))
    read = read_texts(tmp_path / "t.jsonl", RowFields("kind", chats=True))
    assert as_chats(read, chatting, ChatFormat(), "m").documents[0].text == "[user]a[assistant]b"
    with pytest.raises(BitlensError, match="--chat-template"):
        read_texts(tmp_path / "t.jsonl")


def test_windows_begin_with_one_bos(chatting: PreTrainedTokenizerFast) -> None:
    """What the template writes and what the corpus puts are not both there."""
    found = as_chats(texts(Document("d", "the cat")), chatting, ChatFormat(), "m")
    row = make_corpus(found, chatting, context=64).rows[0].tolist()
    assert row.count(chatting.bos_token_id) == 1
    assert (
        row
        == chatting.apply_chat_template(
            [{"role": "user", "content": "the cat"}], add_generation_prompt=True
        )["input_ids"]
    )


def test_thinking_is_switched_where_there_is_a_switch(chatting: PreTrainedTokenizerFast) -> None:
    """On, off, or as the template has it; where it has none, the notes say that it changes
    nothing."""
    document = Document("d", "hi")
    assert written(chatting, document, thinking="no") == "[user]hi[assistant]<no>"
    assert written(chatting, document, thinking="yes") == "[user]hi[assistant]"
    chatting.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    found = as_chats(texts(document), chatting, ChatFormat(thinking="no"), "m")
    assert "no such switch" in found.notes[-1]


def test_marks_move_with_their_text(chatting: PreTrainedTokenizerFast) -> None:
    """Characters 3 to 6 of the text are marked where they stand in the template; tokens, which
    would be others, are refused."""
    of = Document("d", "a cat sat", group="g", marks=((2, 5),))
    (moved,) = as_chats(texts(of), chatting, ChatFormat(), "m").documents
    assert [moved.text[a:b] for a, b in moved.marks] == ["cat"]  # type: ignore[misc]
    with pytest.raises(BitlensError, match="no place in the chat template"):
        as_chats(texts(of._replace(marks=(-1,))), chatting, ChatFormat(), "m")


def test_a_marked_text_that_the_template_says_too_is_refused(
    chatting: PreTrainedTokenizerFast,
) -> None:
    """Its marks would be put where the system prompt, or a role, has the same letters."""
    of = Document("d", "cat", group="g", marks=((0, 3),))
    as_chats(texts(of), chatting, ChatFormat(), "m")
    for document, system in (of, "no cats"), (of._replace(text="use"), None):
        with pytest.raises(BitlensError, match="text of d stands more than once"):
            as_chats(texts(document), chatting, ChatFormat(system), "m")


def test_a_template_that_refuses_the_switch_is_told(chatting: PreTrainedTokenizerFast) -> None:
    """As it is where it refuses a chat."""
    chatting.chat_template = (
        "{% if enable_thinking is defined %}{{ raise_exception('never') }}{% endif %}"
    )
    with pytest.raises(BitlensError, match="thinking on or off: never"):
        written(chatting, Document("d", "hi"), thinking="no")


def test_what_cannot_be_written_is_refused(
    chatting: PreTrainedTokenizerFast, with_bos: PreTrainedTokenizerFast
) -> None:
    """A tokenizer without a template, and a chat that the template refuses, in its words."""
    with pytest.raises(BitlensError, match="m has no chat template"):
        as_chats(texts(Document("d", "hi")), with_bos, ChatFormat(), "m")
    with pytest.raises(BitlensError, match="refuses d: no tools"):
        written(chatting, Document("d", "x", chat=(("tool", "x"),)))
