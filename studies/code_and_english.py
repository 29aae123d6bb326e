"""Twenty short texts, Python of the standard library and English in turn, as a JSON list: what the
sensitivity of Qwen2.5-Coder was measured on.

    python studies/code_and_english.py MODEL wikitext2_raw_validation.parquet --out texts.json
"""

import argparse
import json
import random
import sysconfig
from pathlib import Path

import pyarrow.parquet as pq
from transformers import AutoTokenizer

MODULES = (
    *("heapq", "argparse", "textwrap", "csv", "queue"),
    *("shelve", "statistics", "calendar", "fractions", "configparser"),
)
TOKENS = 20


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description="Short texts of code and English.")
    parser.add_argument("model", help="whose tokenizer cuts them")
    parser.add_argument("english", type=Path, help="a Parquet file with a column text")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    rng = random.Random(0)
    code = []
    for name in MODULES:
        path = Path(sysconfig.get_paths()["stdlib"]) / f"{name}.py"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        starts = [
            n for n, line in enumerate(lines) if n > 20 and line.startswith(("def ", "class "))
        ]
        begin = rng.choice(starts[: max(1, len(starts) // 2)])
        code.append("".join(lines[begin : begin + 30]))
    rows = pq.read_table(given.english).column("text").to_pylist()
    long = [row.strip() for row in rows if len(row) > 700 and not row.strip().startswith("=")]
    texts = [text for pair in zip(code, rng.sample(long, 10), strict=True) for text in pair]
    cut = [tokenizer.decode(tokenizer.encode(text)[:TOKENS]) for text in texts]
    given.out.write_text(json.dumps(cut), encoding="utf-8")


if __name__ == "__main__":
    main()
