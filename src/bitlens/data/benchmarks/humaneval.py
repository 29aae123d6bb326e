"""HumanEval, version 1.0 of the harness: a function is completed and must pass its tests
(Chen et al. 2021, arXiv 2107.03374)."""

from pathlib import Path
from typing import Any

from bitlens.data.benchmarks.rows import read_rows

COLUMNS = ("task_id", "prompt", "entry_point", "test")


def define(path: Path) -> list[dict[str, Any]]:
    """The one task: what is generated, and where it stops. Whether it passes is for whoever runs
    it: `test` and `entry_point` are in every row."""
    return [
        {
            "task": "humaneval",
            "rows": read_rows(path, COLUMNS),
            "unsafe_code": True,
            "output_type": "generate_until",
            "doc_to_text": "{{prompt}}",
            "doc_to_target": "{{test}}\ncheck({{entry_point}})",
            "generation_kwargs": {
                "until": ["\nclass", "\ndef", "\n#", "\nif", "\nprint"],
                "max_gen_toks": 1024,
                "do_sample": False,
            },
            "num_fewshot": 0,
            "metadata": {"version": 1.0},
        }
    ]
