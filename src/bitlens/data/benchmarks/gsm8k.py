"""GSM8K, version 3 of the harness: five worked questions, then one to be answered in text
(Cobbe et al. 2021, arXiv 2110.14168).

The harness takes its shots from the training split. Where only the test split is at hand the first
five of it are the shots, and are not asked.
"""

from pathlib import Path
from typing import Any

from bitlens.data.benchmarks.rows import read_rows
from bitlens.errors import DataError

SHOTS = 5


def define(path: Path) -> list[dict[str, Any]]:
    """The one task. DataError where there are no questions beside the shots."""
    rows = read_rows(path, ("question", "answer"))
    if len(rows) <= SHOTS:
        raise DataError(
            f"{path} has {len(rows)} questions, and {SHOTS} of them are worked examples.",
            f"more than {SHOTS}.",
            "the whole test split of GSM8K.",
        )
    return [
        {
            "task": "gsm8k",
            "rows": rows[SHOTS:],
            "notes": [
                f"gsm8k: the {SHOTS} worked examples are the first of the file, and not asked. "
                "The harness takes them from the training split: its scores are others."
            ],
            "shots": rows[:SHOTS],
            "output_type": "generate_until",
            "doc_to_text": "Question: {{question}}\nAnswer:",
            "doc_to_target": "{{answer}}",
            "num_fewshot": SHOTS,
            "metric_list": [
                {
                    "metric": "exact_match",
                    "aggregation": "mean",
                    "higher_is_better": True,
                    "ignore_case": True,
                    "ignore_punctuation": False,
                    "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"],
                }
            ],
            "generation_kwargs": {
                "until": ["Question:", "</s>", "<|im_end|>"],
                "do_sample": False,
                "temperature": 0.0,
            },
            "filter_list": [
                _filter("strict-match", {"regex_pattern": "#### (\\-?[0-9\\.\\,]+)"}),
                _filter(
                    "flexible-extract",
                    {"group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"},
                ),
            ],
            "metadata": {"version": 3.0},
        }
    ]


def _filter(name: str, regex: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "filter": [{"function": "regex", **regex}, {"function": "take_first"}],
    }
