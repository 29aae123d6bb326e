"""Labelled texts: sets that are made, files, and what is wrong with them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.data.corpus import make_corpus
from bitlens.data.label_templates import TEMPLATES, made
from bitlens.data.labelled import LabelledTexts, distinct_names, read_labelled, require_labelled
from bitlens.data.labelled_corpus import as_texts, in_parts
from bitlens.demo import model_path
from bitlens.errors import BitlensError


def written(folder: Path, rows: list[Any], name: str = "mine.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


ROWS = [{"text": f"It is {n}.", "label": ("odd", "even")[n % 2 == 0]} for n in range(60)]


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_length_tells_nothing_of_sets_that_are_made(name: str) -> None:
    """As many documents of both classes at every length, 300 of each, none twice; as many
    sentences of both end with each punctuation mark."""
    positive, negative, documents = made(name)
    by_class = {label: [d.text for d in documents if d.label == label]
                for label in (positive, negative)}  # fmt: skip
    lengths = [Counter(map(len, texts)) for texts in by_class.values()]
    assert lengths[0] == lengths[1]
    assert [len(texts) for texts in by_class.values()] == [300, 300]
    assert len({d.text for d in documents}) == 600
    ends = [Counter(text[-1] == "." for text in texts) for texts in by_class.values()]
    assert ends[0] == ends[1]


def test_true_sums_are_true_and_false_ones_false() -> None:
    """And cities are capitals of what they are said to be where they should."""
    _, _, documents = made("truth")
    sums = [d for d in documents if d.text.startswith("The sum")]
    for document in sums:
        a, b, total = (int(word) for word in document.text[:-1].split() if word.isdigit())
        assert (a + b == total) == (document.label == "true")
    assert any("capital of France is Paris" in d.text for d in documents if d.label == "true") or (
        len(sums) < len(documents)
    )


def test_a_file_of_labels_is_read(tmp_path: Path) -> None:
    """The later label in the alphabet is watched for, or the one that is named."""
    path = written(tmp_path, ROWS)
    found = read_labelled(str(path))
    assert (found.name, found.positive, found.negative) == ("mine", "odd", "even")
    assert len(found.documents) == 60
    assert read_labelled(f"{path}=even").positive == "even"


def test_a_pair_is_a_group(tmp_path: Path) -> None:
    """Both texts of a line stay together."""
    rows = [{"positive": f"yes {n}", "negative": f"no {n}"} for n in range(25)]
    found = read_labelled(str(written(tmp_path, rows)))
    assert (found.positive, found.negative) == ("positive", "negative")
    assert len({d.group for d in found.documents}) == 25


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a"}], "Line 1"),
        ([{"text": " ", "label": "a"}], "Line 1"),
        ([{"text": "a", "label": None}], "Line 1"),
        ([["a", "b"]], "Line 1"),
        ([{"text": "a", "label": "x"}] * 30, "1 labels: x"),
        ([*ROWS, {"text": "a", "label": "third"}], "3 labels"),
        (ROWS[:10], "5 documents"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, rows: list[Any], said: str) -> None:
    """With what was found, what was expected and what to do."""
    with pytest.raises(BitlensError, match=said):
        read_labelled(str(written(tmp_path, rows)))


def test_names_that_are_not_there_are_said(tmp_path: Path) -> None:
    """A misspelt set, a label that no document has, and two sets of one name."""
    with pytest.raises(BitlensError, match="sentiment"):
        require_labelled("sentimant")
    with pytest.raises(BitlensError, match="no label 'odds'"):
        read_labelled(f"{written(tmp_path, ROWS)}=odds")
    one = LabelledTexts("code", (), "a", "b")
    with pytest.raises(BitlensError, match="2 sets"):
        distinct_names([one, one])


def test_both_classes_are_learned_and_read(tmp_path: Path) -> None:
    """60 % of the groups of each set come first, whole groups only; every document has the label
    of its text, whatever its number."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path())
    pairs = [{"positive": f"return x{n}", "negative": f"we go {n} times"} for n in range(25)]
    sets = [read_labelled(str(written(tmp_path, rows, name)))
            for rows, name in ((ROWS, "one.jsonl"), (pairs, "two.jsonl"))]  # fmt: skip
    corpus = make_corpus(as_texts(sets), tokenizer, 64)
    found = in_parts(corpus, sets, seed=0)
    groups = found.corpus.groups
    assert groups is not None
    assert found.training == 36 + 30
    first, rest = groups.together[: found.training], groups.together[found.training :]
    assert not set(first) & set(rest)
    for pair, share in zip(found.sets, (18, 15), strict=True):
        for label in pair.labels:
            assert (groups.label[: found.training] == label).sum() == share
    for row, document in zip(found.corpus.rows, found.corpus.document, strict=True):
        text = tokenizer.decode(row, skip_special_tokens=True)
        label = groups.label_of(int(document))
        if "return" in text or "we go" in text:
            assert label == f"two\t{'positive' if 'return' in text else 'negative'}"
        else:
            number = int(text.strip(" .").split()[-1])
            assert label == f"one\t{('odd', 'even')[number % 2 == 0]}"


def test_copies_are_on_one_side(tmp_path: Path) -> None:
    """Texts that a file has three times, without groups and in a group of two of them, are one
    unit; a text beside it that differs in a word is another."""
    from transformers import AutoTokenizer

    rows = [{"text": f"It is {n}.", "label": ("odd", "even")[n % 2 == 0]} for n in range(60)]
    joined = {"text": "It is 7.", "label": "odd", "group": "a"}
    other = {"text": "Another one.", "label": "odd", "group": "a"}
    sets = [read_labelled(str(written(tmp_path, [*rows, *rows, joined, other, *rows])))]
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    corpus = make_corpus(as_texts(sets), tokenizer, 64)
    found = in_parts(corpus, sets, seed=0).corpus
    groups, training = found.groups, in_parts(corpus, sets, seed=0).training
    assert groups is not None
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in found.rows]
    assert not set(texts[:training]) & set(texts[training:])
    assert len(np.unique(groups.together)) == 60 == found.n_units
    unit = dict(zip(texts, groups.together.tolist(), strict=True))
    assert unit["It is 7."] == unit["Another one."] != unit["It is 9."]


def test_sentences_about_one_fact_are_together() -> None:
    """Both sums of two numbers, and all that is said of a country's capital, are one group."""
    _, _, documents = made("truth")
    for document in documents:
        numbers = [word.strip(".") for word in document.text.split() if word.strip(".").isdigit()]
        if numbers:
            assert document.group == " and ".join(sorted(numbers[:2]))
        else:
            assert document.group is not None
            assert document.group in document.text
    assert len({d.group for d in documents}) < len(documents)


def test_cut_texts_are_counted_once(tmp_path: Path) -> None:
    """A text of many windows is one of which only the beginning is read."""
    from transformers import AutoTokenizer

    rows = [*ROWS, {"text": "one two three four five six " * 20, "label": "odd"}]
    sets = [read_labelled(str(written(tmp_path, rows)))]
    corpus = make_corpus(as_texts(sets), AutoTokenizer.from_pretrained(model_path()), 16)
    assert "in 1 case." in in_parts(corpus, sets, seed=0).corpus.notes[-1]
