"""How long does GPTQ take, and how much memory, next to gptqmodel?

    OMP_WAIT_POLICY=PASSIVE python benchmarks/compress.py [--repeats 3]      # gptqmodel installed

A random Llama of about 100 million parameters at 4 bits in groups of 128, true-sequential, on the
same calibration tokens in batches of the same size; each side in a process of its own, in turn,
after a rehearsal on a tiny model. Times are those of making the twin, the model loaded: by the
clock, and the processor's, which other work on the machine leaves alone. The memory is the most
that was held above what the process held before it loaded the model. Ours keeps the twin in a
folder, theirs in memory. Figures are medians over repeats, ours over theirs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from bitlens.compression.calibration.cache import WeightCache
from bitlens.compression.calibration.pipeline import CalibrationJob, calibrate
from bitlens.compression.methods.gptq import Gptq
from bitlens.data.corpus import Corpus
from bitlens.models.layout import Layout
from bitlens.workflows.audit.manifest import peak_bytes

VOCABULARY, GROUP, BATCH_ROWS = 8192, 128, 8
SIZES: dict[str, dict[str, Any]] = {
    "rehearsal": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1},
    "model": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12},
}
ROWS = {"rehearsal": 16, "model": 64}
LENGTH = 128
MEASURED = ("seconds", "processor seconds", "MB")


def write_model(folder: Path, size: str) -> int:
    """Returns its number of parameters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        num_attention_heads=SIZES[size]["hidden_size"] // 64,
        max_position_embeddings=LENGTH,
        **SIZES[size],
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    words = {f"w{n}": n for n in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="w1", eos_token="w2", pad_token="w3"
    ).save_pretrained(folder)
    return int(sum(p.numel() for p in model.parameters()))


def tokens(size: str) -> np.ndarray:
    """`[rows, length]`."""
    return np.random.default_rng(0).integers(4, VOCABULARY, (ROWS[size], LENGTH), dtype=np.int32)


def ours(folder: Path, size: str) -> Callable[[], object]:
    """Loads the model; what is returned makes the twin."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    layout = Layout(model)
    rows = tokens(size)
    corpus = Corpus(
        name="random",
        rows=tuple(rows),
        document=np.arange(len(rows)),
        starts=np.zeros(len(rows), np.int64),
        document_names=tuple(map(str, range(len(rows)))),
        context=LENGTH,
        bos=False,
        bos_id=None,
    )
    compression = Gptq(bits=4, group=GROUP, convention="gptq")
    names = frozenset(name for name, _ in layout.matrices())
    twin = CalibrationJob(compression, names, WeightCache(Path(tempfile.mkdtemp(dir=folder))), {})

    def make() -> None:
        failed = calibrate(
            layout, {"twin": twin}, corpus, batch_tokens=BATCH_ROWS * LENGTH, seed=0, memory=2**33
        )
        for error in failed.values():
            raise error

    return make


def theirs(folder: Path, size: str) -> Callable[[], object]:
    """Loads the model; what is returned makes the twin."""
    from gptqmodel import GPTQModel, QuantizeConfig

    config = QuantizeConfig(
        bits=4,
        group_size=GROUP,
        desc_act=False,
        act_group_aware=False,
        damp_percent=0.01,
        offload_to_disk=False,
    )
    model = GPTQModel.load(str(folder), config, device="cpu", dtype=torch.float32)
    given = [{"input_ids": row.tolist(), "attention_mask": [1] * LENGTH} for row in tokens(size)]
    return lambda: model.quantize(given, batch_size=BATCH_ROWS)


def measure(side: str, folder: Path) -> None:
    """Prints what is `MEASURED`."""
    prepare = {"ours": ours, "theirs": theirs}[side]
    prepare(folder / "rehearsal", "rehearsal")()
    # The most so far is forgotten: it then counts from what is held now.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    make = prepare(folder / "model", "model")
    clock, processor = time.perf_counter(), time.process_time()
    make()
    taken = time.perf_counter() - clock, time.process_time() - processor
    print(json.dumps([*taken, (peak_bytes() - before) / 1e6]))


def compare(folder: Path, repeats: int) -> None:
    """Both sides in turn."""
    found: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    environment = {**os.environ, "GPTQMODEL_CPU_WORKERS": "2"}
    for _ in range(repeats):
        for side, results in found.items():
            command = [sys.executable, __file__, "--measure", side, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(done.stderr)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            told = zip(results[-1], MEASURED, strict=True)
            print(f"{side}:", ", ".join(f"{value:,.1f} {name}" for value, name in told), flush=True)
    for n, name in enumerate(MEASURED):
        one, other = (median(result[n] for result in results) for results in found.values())
        print(f"gptq over gptqmodel, {name}: {one / other:.2f}")


def main() -> None:
    """Ours and gptqmodel by turns, and the medians of what they take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        side, folder = options.measure
        measure(side, Path(folder))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sizes = {size: write_model(folder / size, size) for size in SIZES}
        print(f"{sizes['model'] / 1e6:.0f} M parameters, {ROWS['model'] * LENGTH:,} tokens")
        compare(folder, options.repeats)


if __name__ == "__main__":
    main()
