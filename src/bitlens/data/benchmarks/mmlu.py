"""MMLU's computer-science subjects, version 1 of the harness: the letter of the right choice by
log-likelihood, without shots (Hendrycks et al. 2020, arXiv 2009.03300)."""

from pathlib import Path
from typing import Any

from bitlens.data.benchmarks.rows import Row, read_csv, require_columns
from bitlens.errors import DataError

SUBJECTS = (
    "college_computer_science",
    "computer_security",
    "high_school_computer_science",
    "machine_learning",
)
LETTERS = ("A", "B", "C", "D")


def file_name(subject: str) -> str:
    """How the test split of a subject is called."""
    return f"{subject}_test.csv"


def define(folder: Path) -> list[dict[str, Any]]:
    """A task a subject. DataError for a folder without one of them."""
    found = []
    for subject in SUBJECTS:
        path = folder / file_name(subject)
        if not path.is_file():
            raise DataError(
                f"{folder} has no {path.name}.",
                f"the subjects of MMLU as CSV files: {', '.join(map(file_name, SUBJECTS))}.",
                "the folder that holds them, or fetch the one that is missing.",
            )
        found.append(_task(subject, path))
    return found


def _task(subject: str, path: Path) -> dict[str, Any]:
    rows, mended = read_csv(path, mend=True)
    require_columns(rows, path, ("question", *LETTERS, "answer"))
    lines = ", ".join(map(str, mended))
    note = f"{path.name}: questions that had been cut at commas were put together again: {lines}."
    return {
        "task": f"mmlu_{subject}",
        "rows": [_question(row, path) for row in rows],
        "notes": [note] if mended else [],
        "description": "The following are multiple choice questions (with answers) about "
        f"{subject.replace('_', ' ')}.\n\n",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\n"
        "C. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:",
        "doc_to_choice": list(LETTERS),
        "doc_to_target": "answer",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }


def _question(row: Row, path: Path) -> Row:
    answer = str(row["answer"]).strip()
    known = (*LETTERS, "0", "1", "2", "3")
    if answer not in known:
        raise DataError(
            f"An answer in {path} is {answer!r}.",
            "a digit from 0 to 3, or a letter from A to D.",
            "the subject's own file.",
        )
    choices = [row[letter] for letter in LETTERS]
    return {
        "question": row["question"],
        "choices": choices,
        "answer": known.index(answer) % len(LETTERS),
    }
