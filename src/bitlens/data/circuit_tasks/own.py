"""A task of the user's own: a file of JSON lines, each a pair of prompts and the two answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitlens.data.circuit_tasks.prompts import (
    CHOOSING,
    FEWEST,
    SCORING,
    TaskPrompts,
    Vocabulary,
    Wording,
    divided,
)
from bitlens.data.files import read_lines
from bitlens.errors import BitlensError, DataError
from bitlens.results.files.reading import parse_json

FORM = (
    '{"clean": "The keys", "corrupt": "The key", "answer": " are", "wrong": " is"}, one a line; '
    "an answer may be a list of several"
)

LEAST = FEWEST + 2 * (FEWEST // 4)
"""Pairs that a file must have."""


def own_task(path: str, vocabulary: Vocabulary) -> TaskPrompts:
    """The prompts of a file. BitlensError for one that cannot be read, for a line that is no pair,
    and for pairs that this tokenizer cuts to different lengths or answers of several tokens."""
    wordings = read_wordings(Path(path))
    pairs = []
    for number, wording in wordings:
        pair = vocabulary.pair(wording)
        if pair is None:
            raise DataError(
                f"Line {number} of {path}: {_wrong(vocabulary, wording)}.",
                "prompts of as many tokens that differ, and answers of one token each behind the "
                "clean prompt, right and wrong ones apart.",
                "words that are one token with the model's tokenizer, with the space that stands "
                "before them.",
            )
        pairs.append(pair)
    different = list(dict.fromkeys(pairs))
    _refuse_few(path, len(different))
    if len({len(p.right) == len(p.wrong) == 1 for p in different}) > 1:
        raise DataError(
            f"{path} has pairs with one right and one wrong answer, and pairs with several.",
            "one of the two in all lines: logits are compared of one, probabilities of several.",
            "a file for each.",
        )
    return divided(path, different[: CHOOSING + SCORING])


def read_wordings(path: Path) -> list[tuple[int, Wording]]:
    """The number of each line, and its pair in words. BitlensError for what is none, and
    for a file of too few."""
    lines = (line.strip() for line in read_lines(path))
    found = [(n, _wording(path, n, line)) for n, line in enumerate(lines, 1) if line]
    _refuse_few(path, len({wording for _, wording in found}))
    return found


def _refuse_few(path: str | Path, pairs: int) -> None:
    if pairs < LEAST:
        raise DataError(
            f"{path} has {pairs} different pairs of prompts.",
            f"{LEAST} at least: some choose the circuit, {FEWEST} or more measure it.",
            "more lines.",
        )


def _wording(path: Path, number: int, line: str) -> Wording:
    try:
        value: Any = parse_json(line, f"line {number} of {path}")
    except BitlensError:
        value = None
    match value:
        case {"clean": str() as clean, "corrupt": str() as corrupt}:
            right, wrong = _answers(value.get("answer")), _answers(value.get("wrong"))
            if clean and corrupt and right and wrong:
                return Wording(clean, corrupt, right, wrong)
    raise DataError(f"Line {number} of {path} is {line!r:.60}.", FORM, "mend the line.")


def _answers(value: Any) -> tuple[str, ...]:
    """One answer or several; none where it is neither."""
    several = value if isinstance(value, list) else [value]
    texts = [one for one in several if isinstance(one, str) and one]
    # One that is listed twice would count twice.
    return tuple(dict.fromkeys(texts)) if len(texts) == len(several) else ()


def _wrong(vocabulary: Vocabulary, wording: Wording) -> str:
    clean, corrupt = vocabulary.encode(wording.clean), vocabulary.encode(wording.corrupt)
    if len(clean) != len(corrupt):
        return f"the clean prompt has {len(clean)} tokens, the corrupt one {len(corrupt)}"
    if clean == corrupt:
        return "the two prompts are the same"
    if len(vocabulary.begin) + len(clean) > vocabulary.context:
        return f"the prompts have {len(clean)} tokens, the context {vocabulary.context}"
    for text in (*wording.right, *wording.wrong):
        of = vocabulary.after(wording.clean, text)
        if of is None or len(of) != 1:
            many = "changes the prompt's last token" if of is None else f"has {len(of)} tokens"
            return f"the answer {text!r:.30} {many}"
    return "an answer is both right and wrong"
