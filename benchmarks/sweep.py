"""What does an audit cost over the bare forwards it cannot avoid?

    python benchmarks/sweep.py [--twins 1 4] [--repeats 3]

A random GPT-2-small (12 blocks, 768 wide, 50,257 tokens), 16 documents of 256 tokens. The floor
is every bare forward the audit needs: one of the reference and one of each twin, unembedding
included, and one pass through the blocks for each twin on the documents that forks run on. The
audit is `bitlens.run` from an empty folder to a complete store (not the report), loading
included. Both are timed alternately in one process; figures are medians of the ratios.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

from bitlens.data.corpus import make_corpus
from bitlens.data.texts import read_texts
from bitlens.manifest import peak_bytes
from bitlens.models.layout import Layout
from bitlens.models.source import ModelSource
from bitlens.plan import make_plan
from bitlens.records import to_json
from bitlens.runner import BATCH_TOKENS, run
from bitlens.study import Study

TWINS = ("rtn:bits=4", "rtn:bits=8", "rtn:bits=3,group=64", "prune:sparsity=0.3")
DOCUMENTS, CONTEXT = 16, 256


def write_model(folder: Path) -> None:
    """A random GPT-2-small with a tokenizer that has a word for every token."""
    torch.manual_seed(0)
    config = GPT2Config(bos_token_id=None, eos_token_id=None)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = {f"w{n}": n for n in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    drawn = np.random.default_rng(0).integers(0, config.vocab_size, (DOCUMENTS, CONTEXT))
    texts = [" ".join(f"w{n}" for n in row) for row in drawn]
    (folder / "texts.json").write_text(to_json(texts))


def study(folder: Path, twins: int) -> Study:
    return Study(
        models=(ModelSource(str(folder)),),
        compressions=TWINS[:twins],
        controls=(),
        text=str(folder / "texts.json"),
        context=CONTEXT,
        tokens=0,
    )


@torch.no_grad()
def floor(folder: Path, twins: int) -> tuple[float, float]:
    """Seconds of the bare forwards alone, and with the passes that forks need."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    corpus = make_corpus(read_texts(folder / "texts.json"), tokenizer, CONTEXT)
    plan = make_plan(corpus, "content", 0, BATCH_TOKENS["cpu"], [1])
    model(plan.batches[0].tokens, use_cache=False)
    start = time.perf_counter()
    for batch in plan.batches:
        for _ in range(twins + 1):
            model(batch.tokens, use_cache=False)
    bare = time.perf_counter() - start
    for batch in plan.batches:
        for _ in range(twins if batch.subset else 0):
            model.base_model(batch.tokens, use_cache=False)
    return bare, time.perf_counter() - start


def audit(folder: Path, twins: int) -> float:
    """Seconds of a whole audit."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        run(study(folder, twins), Path(out) / "store", "benchmark", say=lambda line: None)
        return time.perf_counter() - start


def memory(folder: Path, twins: int) -> str:
    """Peak of an audit in a process of its own, beside what is allowed."""
    measured = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(folder), "--twins", str(twins)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak = int(measured.stdout.split()[-1])
    layout = Layout(AutoModelForCausalLM.from_pretrained(folder))
    weights = sum(p.numel() for p in layout.model.parameters()) * 4
    block = sum(p.numel() for p in layout.blocks[0].parameters()) * 4
    hidden = DOCUMENTS * CONTEXT * layout.width * 4 * (twins + 2)
    allowed = weights + twins * block + hidden + (1 << 30)
    return f"peak memory, V={twins}: {peak / 1e9:.2f} GB (allowed {allowed / 1e9:.2f} GB)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twins", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        audit(options.memory_of, options.twins[0])
        print(peak_bytes())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "gpt2-small-random"
        write_model(folder)
        for twins in options.twins:
            print(memory(folder, twins), flush=True)
        for twins in options.twins:
            over_floor, over_bare = [], []
            for _ in range(options.repeats):
                bare, whole_floor = floor(folder, twins)
                seconds = audit(folder, twins)
                over_floor.append(seconds / whole_floor)
                over_bare.append(seconds / bare)
                print(f"V={twins}: floor {whole_floor:.1f} s, audit {seconds:.1f} s", flush=True)
            print(
                f"sweep over floor, V={twins}: {statistics.median(over_floor):.2f} "
                f"(over {twins + 1} bare forwards: {statistics.median(over_bare):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
