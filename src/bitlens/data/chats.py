"""Chats: texts as the template that comes with a tokenizer writes them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from bitlens.data.files import Document, Mark
from bitlens.data.texts import Documents
from bitlens.errors import DataError, told
from bitlens.results.counts import count

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Thinking = Literal["auto", "yes", "no"]
_SWITCH = "enable_thinking"
"""What templates of models that think take, since Qwen3."""
_PROBE = [{"role": "user", "content": "a"}]


@dataclass(frozen=True)
class ChatFormat:
    """How texts become chats."""

    system: str | None = None
    """The system prompt, before a text or a chat that has none; None: what the template does."""
    thinking: Thinking = "auto"


def as_chats(
    texts: Documents, tokenizer: "PreTrainedTokenizerBase", how: ChatFormat, model: str
) -> Documents:
    """The documents as the tokenizer's own template writes them, and what was done in the notes.

    A text is one user's message; a row of messages is a chat already. Where the last message is
    not the model's own, the words that open its answer follow: the last token is then the one from
    which the answer is predicted. A BOS that the template writes is left out where it stands
    first: whether windows begin with one is decided as for any text. Marks of characters move
    with their text. BitlensError for a tokenizer without a template, a template that refuses a
    chat, and marks that would not be where they were.
    """
    switch, switched = template_settings(tokenizer, how.thinking, model)
    written = [_written(document, tokenizer, how, switch) for document in texts.documents]
    chats = sum(bool(document.chat) for document in texts.documents)
    note = (
        f"Read in the chat template of {model}: {count(len(written) - chats, 'text')} as a user's "
        f"message each, {count(chats, 'chat')} as they are"
        + (f", with the system prompt {how.system!r:.80}." if how.system else ".")
    )
    return replace(texts, documents=tuple(written), notes=(*texts.notes, note, *switched))


def template_settings(
    tokenizer: "PreTrainedTokenizerBase", asked: Thinking, model: str
) -> tuple[dict[str, Any], list[str]]:
    """What the template is told of thinking, and what the reader is. DataError for a tokenizer
    without a template, and for one that refuses a chat."""
    if not tokenizer.chat_template:
        raise DataError(
            f"The tokenizer of {model} has no chat template.",
            "a model that was trained on chats, whose tokenizer says how they are written.",
            "leave --chat-template out: the texts are then read as they are.",
        )
    if asked == "auto":
        return {}, []
    both: tuple[dict[str, Any], ...] = ({_SWITCH: True}, {_SWITCH: False})
    try:
        on, off = (
            tokenizer.apply_chat_template(_PROBE, tokenize=False, add_generation_prompt=True, **one)
            for one in both
        )
    except Exception as error:
        raise DataError(
            f"The chat template refuses a chat with thinking on or off: {told(error)}.",
            "a template that writes a user's message with its switch for thinking set.",
            "leave --thinking out: it is then as the template has it.",
        ) from error
    if on == off:
        word = "on" if asked == "yes" else "off"
        return {}, [
            f"Thinking was to be {word}, but the template has no such switch: it changes nothing."
        ]
    return {_SWITCH: asked == "yes"}, [f"Thinking is {'on' if asked == 'yes' else 'off'}."]


def _written(
    document: Document,
    tokenizer: "PreTrainedTokenizerBase",
    how: ChatFormat,
    switch: dict[str, Any],
) -> Document:
    """One document in the template."""
    chat = document.chat or (("user", document.text),)
    messages = [{"role": role, "content": content} for role, content in chat]
    if how.system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": how.system}, *messages]
    try:
        text: Any = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=messages[-1]["role"] != "assistant",
            **switch,
        )
    # Templates are programs of their own, and say no in their own ways.
    except Exception as error:
        raise DataError(
            f"The chat template refuses {document.name}: {told(error)}.",
            "messages whose roles the template knows, in an order that it takes.",
            "without --system where it knows no system prompt; else mend the chat.",
        ) from error
    bos = tokenizer.bos_token
    text = text.removeprefix(bos) if bos else text
    marks = _moved(document, text) if document.marks else ()
    return document._replace(text=text, marks=marks)


def _moved(document: Document, text: str) -> tuple[Mark, ...]:
    """The marks of a document where its text stands in the template."""
    begin = text.find(document.text)
    if begin < 0 or any(isinstance(mark, int) for mark in document.marks):
        raise DataError(
            f"The marks of {document.name} have no place in the chat template.",
            "marks that are spans of characters, [start, end], in a text that the template keeps.",
            "leave --chat-template out, or mark characters.",
        )
    if text.find(document.text, begin + 1) >= 0:
        raise DataError(
            f"The text of {document.name} stands more than once in what the chat template writes: "
            "which of them is marked is unknown.",
            "a text that is not a piece of the system prompt or of the template's own words.",
            "leave --chat-template or --system out, or a longer text.",
        )
    return tuple(
        (mark[0] + begin, mark[1] + begin) for mark in document.marks if isinstance(mark, tuple)
    )
