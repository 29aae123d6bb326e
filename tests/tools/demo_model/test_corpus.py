"""Nothing that is measured on may have been learnt from."""

import sys

import numpy as np
import pytest

from bitlens.demo import calibration_path, evaluation_path
from tools.demo_model.corpus import (
    Document,
    Split,
    families,
    read_documents,
    split_documents,
    split_of,
    write_documents,
)

WINDOW = 200


@pytest.fixture(scope="module")
def parts() -> dict[Split, list[Document]]:
    return split_documents()


def shared_share(of: list[Document], within: list[Document]) -> float:
    """The share of sampled long passages of one part that stand word for word in another."""
    text = "\0".join(document.text for document in of)
    haystack = "\0".join(document.text for document in within)
    starts = np.random.default_rng(0).integers(len(text) - WINDOW, size=250)
    passages = [text[start : start + WINDOW] for start in starts]
    return sum(passage in haystack for passage in passages) / len(passages)


def test_no_file_is_in_two_parts(parts: dict[Split, list[Document]]) -> None:
    """Every file has one place."""
    names = [document.name for part in parts.values() for document in part]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("other", ["train", "calibration"])
def test_evaluation_repeats_nothing(parts: dict[Split, list[Document]], other: Split) -> None:
    """Long passages of evaluation files stand nowhere else, licence notices apart."""
    assert shared_share(parts["evaluation"], parts[other]) <= 0.02


def test_the_measure_of_overlap_sees_overlap(parts: dict[Split, list[Document]]) -> None:
    """The test above would fail if a fifth of evaluation leaked into training."""
    leaked = parts["train"][:5] + parts["evaluation"][::5]
    assert shared_share(parts["evaluation"], leaked) > 0.05


def test_copies_are_of_one_family() -> None:
    """A file that repeats another's long lines follows it, even through a third."""
    lines = [f"value_{i} = compute_the_value_of({i}, {i + 1})" for i in range(40)]
    documents = [
        Document("a.py", "\n".join(lines[:20])),
        Document("b.py", "\n".join(lines[12:30])),
        Document("c.py", "\n".join(lines[24:40])),
        Document("d.py", "an_unrelated_line_of_some_length = 1\n"),
    ]
    assert families(documents) == {"a.py": "a.py", "b.py": "a.py", "c.py": "a.py", "d.py": "d.py"}


def test_split_does_not_depend_on_other_files() -> None:
    """A family's place follows from its name alone."""
    assert [split_of(name) for name in ("subprocess.py", "argparse.py", "re/_compiler.py")] == [
        "evaluation",
        "train",
        "calibration",
    ]


@pytest.mark.skipif(sys.version_info[:3] != (3, 11, 7), reason="texts shipped are of 3.11.7")
def test_shipped_texts_are_the_rebuilt_ones(parts: dict[Split, list[Document]]) -> None:
    """What ships is what the script would write."""
    assert read_documents(calibration_path()) == parts["calibration"]
    assert read_documents(evaluation_path()) == parts["evaluation"]


def test_shipped_texts_share_no_file() -> None:
    """Calibrating on what is measured would flatter the calibrated method."""
    calibration = {document.name for document in read_documents(calibration_path())}
    evaluation = {document.name for document in read_documents(evaluation_path())}
    assert calibration
    assert evaluation
    assert not calibration & evaluation


def test_documents_survive_the_file(tmp_path) -> None:
    """Names and texts come back exactly, line ends and all."""
    documents = [Document("a.py", 'x = "é"\n\n\tpass\n'), Document("b.py", "\\u0000 \u2028")]
    write_documents(documents, tmp_path / "texts.jsonl")
    assert read_documents(tmp_path / "texts.jsonl") == documents
