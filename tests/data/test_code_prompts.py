"""Laws of the beginnings of code that code models are read on."""

import ast
from collections import Counter

import pytest

from bitlens.data.code_prompts import SHARES, code_prompts, note, read_prompts
from bitlens.data.code_templates import TEMPLATES, WORDS
from bitlens.data.texts import read_texts
from bitlens.errors import BitlensError

ROUND = 1066
"""The sum of the seed's counts, 230 + 100 + 50 + 320 + 150 + 120 + 96."""

ENDINGS = {
    "Python functions": (
        "): pass",
        "pass",
        ' x."""',
        "]",
        " x: pass",
        " x",
        "append(row)",
        "f(): pass",
    ),
    "Type annotations": (
        "]]",
        " x in y]",
        " 1}",
        "None: ...",
        " None]",
        "1]",
        "int]",
        "int]",
    ),
    "Class definitions": (
        "int]",
        "1",
        " = 1",
        '."""',
        "A = 'a'",
        " int: ...",
        "F()",
        "pass",
    ),
}
"""What each Python template could go on with."""


def categories(first: int, end: int) -> Counter[str]:
    return Counter(name.rpartition(" ")[0] for name, *_ in code_prompts(first, end))


def test_a_round_has_the_counts_of_the_earlier_study() -> None:
    """230 Python functions, 100 annotations and so on, in every 1,066 wherever they begin."""
    assert categories(0, ROUND) == categories(500, 500 + ROUND) == SHARES
    assert set(TEMPLATES) == set(SHARES)
    assert sum(SHARES.values()) == ROUND


def test_no_prompt_comes_twice() -> None:
    """Among 20,000, and none of the first comes again when the words have nearly been used up."""
    first = [prompt.text for prompt in code_prompts(0, 20_000)]
    late = [prompt.text for prompt in code_prompts(400_000, 401_000)]
    assert len(set(first)) == 20_000
    assert len(set(late)) == 1_000
    assert not set(first) & set(late)


def test_numbers_and_a_seed_decide_about_everything() -> None:
    """A part is the same part of every whole; another seed has others in another order."""
    assert code_prompts(40, 60) == code_prompts(0, 100)[40:60] == code_prompts(0, 60, 0)[40:]
    one, other = (
        {prompt.name: prompt.text for prompt in code_prompts(0, 500, seed)} for seed in (0, 1)
    )
    assert one.keys() != other.keys()
    assert len(set(one.values()) & set(other.values())) < 5


def test_a_prompt_by_hand() -> None:
    """Slots keep their word, raised and in capitals, and braces of the code are single."""
    texts = [
        prompt.text for prompt in code_prompts(0, ROUND) if prompt.name.startswith("Class def")
    ]
    (state, *_) = [text for text in texts if text.startswith("class ") and "Enum" in text]
    name, value = state.split("\n    ")[1].split(" = ")
    assert value.strip("'") in WORDS["state"]
    assert name == value.strip("'").upper()
    assert all("{noun}" not in text and "{{" not in text for text in texts)


@pytest.mark.slow
def test_words_are_evenly_used() -> None:
    """Of 40 rounds, every verb of the Python functions comes within a third of its due."""
    made = [
        prompt.text for prompt in code_prompts(0, 40 * ROUND) if prompt.name.startswith("Python")
    ]
    head = [text for text in made if text.startswith("def ") and "limit=" not in text]
    used = Counter(text[4:].split("_")[0] for text in head)
    verbs = {verb: used[verb] for verb in WORDS["verb"]}
    due = sum(verbs.values()) / len(verbs)
    assert max(abs(count - due) for count in verbs.values()) < due / 3


@pytest.mark.parametrize("category", ENDINGS)
def test_python_is_unfinished_and_could_be_finished(category: str) -> None:
    """What stands there is right as far as it goes: with an ending it is a program."""
    made = [prompt.text for prompt in code_prompts(0, ROUND) if prompt.name.startswith(category)]
    endings = ENDINGS[category]
    assert len(endings) == len(TEMPLATES[category])
    for n, text in enumerate(made):
        assert ast.parse(text + endings[n % len(endings)])


def test_words_have_no_spelling_that_makes_two_prompts_one() -> None:
    """Each word stands once in its list, and templates are different."""
    assert all(len(set(words)) == len(words) for words in WORDS.values())
    assert len({t for texts in TEMPLATES.values() for t in texts}) == sum(
        map(len, TEMPLATES.values())
    )


def test_there_is_an_end_to_them() -> None:
    """Beyond it the number of what there is is told."""
    with pytest.raises(BitlensError, match="at most") as caught:
        code_prompts(0, 10**8)
    last = int(caught.value.remedy.rpartition(":")[2])
    assert len(code_prompts(last - 5, last)) == 5
    assert last % ROUND == 0
    assert last > 300_000


def test_they_are_a_source_of_texts() -> None:
    """By count, or by number from and to, which makes texts that have nothing in common."""
    texts = read_texts("code-prompts:1066")
    assert texts.documents == tuple(code_prompts(0, ROUND))
    assert texts.marked
    assert texts.name == "code-prompts:1066"
    assert "230 Python functions, 100 Type annotations, 50 Class" in texts.notes[0]
    assert read_prompts("code-prompts:1066:1100") == code_prompts(ROUND, 1100)
    assert note(read_prompts("code-prompts:1")).count(",") == 0


@pytest.mark.parametrize(
    "source", ["", "0", "x", "-5", "1.5", "7:3", "3:3", "1:2:3", "٣", "1" * 5000, " 5", "5:"]
)
def test_a_source_that_means_no_prompts_is_refused(source: str) -> None:
    """With the form and one that works."""
    with pytest.raises(BitlensError, match="names no code prompts") as caught:
        read_texts(f"code-prompts:{source}")
    assert caught.value.remedy == "code-prompts:1066"
    assert read_texts(caught.value.remedy).documents
