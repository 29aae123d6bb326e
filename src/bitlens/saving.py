"""How does a twin become a folder of its own?"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bitlens.checkpoints.plain import RECORD
from bitlens.compress.checkpoint import Checkpoint
from bitlens.compress.coverage import Row
from bitlens.errors import BitlensError
from bitlens.making import Making, make_one
from bitlens.study import Study


def save(study: Study, out: Path, say: Callable[[str], None]) -> Sequence[Row]:
    """Write the twin of a study of one model and one compression: a transformers folder with its
    weights and tokenizer, and a record of how it was made. The rows of its coverage table.

    All of the folder appears at once, or nothing. Raises BitlensError where there is something
    already, and for what cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BitlensError(f"{out} is there already.", "a new or empty folder.", "another --save.")
    making, side, twin = make_one(study, say)
    if isinstance(side.compression, Checkpoint):
        raise BitlensError(
            f"{side.text} is a folder already.", "a compression that bitlens makes.", "copy it."
        )
    model = twin.model()
    rows = twin.coverage()
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model.save_pretrained(aside)
        making.loaded.tokenizer.save_pretrained(aside)
        record = _record(making, side.text, rows, sorted(twin.rounded))
        text = json.dumps(record, indent=1, allow_nan=False)
        (aside / RECORD).write_text(f"{text}\n", encoding="utf-8")
        aside.chmod(0o755)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if twin.rounded:
        say(
            f"An ordinary folder holds weights only. That the inputs of {len(twin.rounded)} "
            f"matrices are rounded too stands in {RECORD}; what loads the folder will not do it."
        )
    return rows


def _record(
    making: Making, compression: str, rows: Sequence[Row], rounded: Sequence[str]
) -> dict[str, Any]:
    corpus = making.calibration
    return {
        "bitlens": version("bitlens"),
        "model": making.loaded.name,
        "reference": making.loaded.fingerprint,
        "compression": compression,
        "seed": making.seed,
        "calibration": corpus
        and {
            "name": corpus.name,
            "documents": corpus.n_documents,
            "tokens": corpus.n_tokens,
            "sha256": corpus.token_hash,
        },
        "matrices": {
            row.module: {"bits": row.bits, "group": row.group, "note": row.note}
            for row in rows
            if row.compressed
        },
        "inputs_rounded": list(rounded),
    }
