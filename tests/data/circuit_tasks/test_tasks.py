"""Prompts of tasks: on a tokenizer of whole words, on the embedded model's, and a user's own."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from bitlens.data.circuit_tasks.prompts import CHOOSING, SCORING, TaskPrompts, Vocabulary
from bitlens.data.circuit_tasks.tasks import (
    NAMES,
    asked,
    made,
    refuse_absent_files,
    refuse_one_name,
)
from bitlens.data.circuit_tasks.words import MEN, WOMEN
from bitlens.demo import model_path
from bitlens.errors import DataError, InputError
from tests.support.circuits import WordTokenizer


def vocabulary(tokenizer: object, context: int = 128) -> Vocabulary:
    return Vocabulary(tokenizer, "auto", context)  # type: ignore[arg-type]


@cache
def words() -> Vocabulary:
    return vocabulary(WordTokenizer())


@cache
def prompts(name: str) -> TaskPrompts:
    return made(asked(name), words(), 0)


def names_in(text: str) -> list[str]:
    return [w for w in re.findall(r"[A-Z][a-z]+", text) if w in {*WOMEN, *MEN}]


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_of_one_length_and_differ(name: str) -> None:
    """As many pairs as are wanted, none twice, none both for choosing and for scoring; clean and
    corrupt are as long as each other, and right and wrong answers are apart."""
    found = prompts(name)
    assert found.reason is None
    assert (len(found.choosing), len(found.scoring)) == (CHOOSING, SCORING)
    every = [*found.choosing, *found.scoring]
    assert len(set(every)) == len(every)
    for pair in every:
        assert len(pair.clean) == len(pair.corrupt)
        assert pair.marked
        assert pair.right
        assert not set(pair.right) & set(pair.wrong)
    assert found.logits == (name != "greater-than")
    assert made(asked(name), words(), 0) == found
    assert made(asked(name), words(), 1) != found


def test_indirect_objects_come_in_both_orders_equally_often() -> None:
    """The answer is the name said once; it comes first in half of the prompts (ABBA)."""
    first = Counter(
        names_in(text)[0] == answer.strip()
        for text, answer in (pair.shown.split("|") for pair in prompts("ioi").scoring)
    )
    assert first == {True: SCORING // 2, False: SCORING // 2}


def test_corruptions_of_indirect_objects() -> None:
    """Exchanged, one token differs, and the corrupt prompt's answer is the wrong one; of three
    others, all three names differ."""
    assert {len(pair.marked) for pair in prompts("ioi").scoring} == {1}
    assert {len(pair.marked) for pair in prompts("ioi-abc").scoring} == {3}
    pair = prompts("ioi").scoring[0]
    assert pair.corrupt[pair.marked[0]] == pair.right[0]
    assert pair.clean[pair.marked[0]] == pair.wrong[0]


def test_later_years_are_right_and_all_years_are_counted() -> None:
    """With years of two tokens all hundred are answers, the corrupt year is 01; with one token a
    digit the first digit is, and the year's own is left out."""
    for pair in prompts("greater-than").scoring:
        (place,) = pair.marked
        year = int(words().decode([pair.clean[place]]))
        assert len(pair.right) == 99 - year
        assert len(pair.wrong) == year + 1
        assert words().decode([pair.corrupt[place]]) == "01"
    single = made(asked("greater-than"), vocabulary(WordTokenizer(digits=1)), 0)
    assert "first digit" in single.note
    assert {len(p.right) + len(p.wrong) for p in single.scoring} == {9}


def test_three_digits_at_once_are_a_reason() -> None:
    """Years that are three digits and one are neither."""
    found = made(asked("greater-than"), vocabulary(WordTokenizer(digits=3)), 0)
    assert "neither two tokens" in (found.reason or "")


def test_names_of_several_tokens_are_left_out() -> None:
    """A name that the tokenizer cuts is in no prompt; where hardly any is left there is a reason
    with how many."""
    some = made(asked("ioi"), vocabulary(WordTokenizer(broken=WOMEN)), 0)
    said = {name for p in some.scoring for name in names_in(p.shown)}
    assert said <= set(MEN)
    none = made(asked("ioi"), vocabulary(WordTokenizer(broken=[*WOMEN, *MEN[1:]])), 0)
    every = len(WOMEN) + len(MEN)
    assert none.reason == f"only 1 of {every} names are single tokens of this tokenizer"


def test_the_embedded_tokenizer_has_code_but_no_names() -> None:
    """Docstrings and random tokens fit it, with its BOS before them; names do not."""
    embedded = vocabulary(AutoTokenizer.from_pretrained(model_path()))
    for name in ("copying", "docstring", "induction"):
        found = made(asked(name), embedded, 0)
        assert found.reason is None
        assert found.scoring[0].clean[:1] == embedded.begin
    assert "names are single tokens" in (made(asked("ioi"), embedded, 0).reason or "")


def test_positions_are_part_of_a_tasks_name() -> None:
    """`ioi:at=last` is another task than `ioi`; all is what nobody needs to say."""
    assert made(asked("ioi:at=last"), words(), 0).at == "last"
    assert made(asked("ioi:at=last"), words(), 0).task == "ioi:at=last"
    assert asked("ioi:at=all").text == "ioi"


@pytest.mark.parametrize(
    ("text", "said"), [("iou", "no task called 'iou'"), ("ioi:at=first", "patched at 'first'")]
)
def test_names_and_positions_that_are_none(text: str, said: str) -> None:
    """The name is told, and what there is."""
    with pytest.raises(InputError, match=re.escape(said)):
        asked(text)


def written(path: Path, lines: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def lines(count: int) -> list[dict[str, object]]:
    return [
        {
            "clean": f"say a{'x' * n} b",
            "corrupt": f"say c{'x' * n} b",
            "answer": " a",
            "wrong": " b",
        }
        for n in range(count)
    ]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """Pairs in the order of the file; a third of few choose the circuit. Its name is the task's."""
    path = written(tmp_path / "mine.jsonl", lines(36))
    found = made(asked(path), words(), 0)
    assert found.task == "mine.jsonl"
    assert (len(found.choosing), len(found.scoring)) == (12, 24)
    assert found.choosing[0].shown == "say a b| a"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"clean": "a b", "corrupt": "a", "answer": " a", "wrong": " b"}, "has 2 tokens"),
        ({"clean": "a b", "corrupt": "a b", "answer": " a", "wrong": " b"}, "are the same"),
        ({"clean": "a b", "corrupt": "c b", "answer": " a d", "wrong": " b"}, "has 2 tokens"),
        ({"clean": "a b", "corrupt": "c b", "answer": " a", "wrong": " a"}, "both right and wrong"),
        ({"clean": "a b", "corrupt": "c b", "answer": " a"}, "Line 31"),
        ({"clean": "a b", "corrupt": 3, "answer": " a", "wrong": " b"}, "Line 31"),
    ],
)
def test_a_line_that_is_no_pair(line: dict[str, object], said: str, tmp_path: Path) -> None:
    """What is wrong is told with the line's number."""
    path = written(tmp_path / "mine.jsonl", [*lines(30), line])
    with pytest.raises(DataError, match="Line 31") as error:
        made(asked(path), words(), 0)
    assert said in str(error.value)


def test_too_few_pairs_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Both before anything is measured."""
    path = written(tmp_path / "mine.jsonl", lines(12))
    with pytest.raises(DataError, match="12 different pairs"):
        made(asked(path), words(), 0)
    with pytest.raises(InputError, match="no file"):
        refuse_absent_files([str(tmp_path / "yours.jsonl")])


def test_an_empty_file_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    """As is one that says the same pair over and over."""
    for found in ([], lines(1) * 40):
        with pytest.raises(DataError, match="different pairs of prompts"):
            refuse_absent_files([written(tmp_path / "mine.jsonl", found)])


def test_a_line_ends_where_json_lines_end(tmp_path: Path) -> None:
    """A separator of paragraphs inside of a text is text."""
    path = tmp_path / "mine.jsonl"
    first = {"clean": "a\u2028b", "corrupt": "c\u2028b", "answer": " a", "wrong": " b"}
    every = [first, *lines(36)]
    told = "\n".join(json.dumps(line, ensure_ascii=False) for line in every)
    path.write_text(told, encoding="utf-8")
    refuse_absent_files([str(path)])


def test_an_answer_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    """So the task stays one of two logits."""
    doubled = [{**line, "answer": [" a", " a"]} for line in lines(36)]
    found = made(asked(written(tmp_path / "mine.jsonl", doubled)), words(), 0)
    assert found.logits
    assert len(found.scoring[0].right) == 1


def test_two_files_of_one_name_are_refused() -> None:
    """Their numbers would have one name; one file at two sets of positions has two."""
    refuse_one_name(map(asked, ("a/mine.jsonl", "a/mine.jsonl:at=last", "a/mine.jsonl")))
    with pytest.raises(InputError, match=r"both be called mine\.jsonl"):
        refuse_one_name(map(asked, ("a/mine.jsonl", "b/mine.jsonl")))


def test_tokens_that_the_model_does_not_have_are_in_no_pair() -> None:
    """A tokenizer may have more than its model has embeddings of."""
    found = made(asked("copying"), Vocabulary(WordTokenizer(), "auto", 128, known=60), 0)  # type: ignore[arg-type]
    every = [*found.choosing, *found.scoring]
    assert every
    assert max(max(*pair.clean, *pair.corrupt, *pair.right, *pair.wrong) for pair in every) < 60
