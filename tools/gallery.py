"""The reports of the gallery, one a model: `python tools/gallery.py [MODEL ...]`.

The embedded model always; a folder or hub id besides, on texts that it can read.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import bitlens
from bitlens.config.study_settings import DEMO
from bitlens.demo import sae_paths

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
COMPRESSIONS = ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3", "nf4", "prune:sparsity=0.3")


def make(model: str, out: Path, text: str | None, tokens: int) -> Path:
    """Audit a model and put its page into a folder, under its name."""
    saes = [str(path) for path in sae_paths()] if model == DEMO else []
    with tempfile.TemporaryDirectory() as folder:
        made = bitlens.audit(
            model,
            COMPRESSIONS,
            Path(folder) / "results",
            text=None if model == DEMO else text,
            tokens=tokens,
            saes=saes,
        )
        print(made)
        out.mkdir(parents=True, exist_ok=True)
        page = out / f"{made.models[0].replace('/', '-')}.html"
        shutil.copy(made.root / "report.html", page)
    return page


def main(arguments: list[str]) -> None:
    """Parse, and make one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="folders or hub ids")
    parser.add_argument("--text", help="what they read; without it the texts of the demo")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--out", type=Path, default=GALLERY)
    given = parser.parse_args(arguments)
    for model in (DEMO, *given.models):
        print(make(model, given.out, given.text, given.tokens))


if __name__ == "__main__":
    main(sys.argv[1:])
