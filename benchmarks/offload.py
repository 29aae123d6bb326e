"""Can a model several times larger than the memory allowed be audited, with the same numbers?

    python benchmarks/offload.py

A random Llama whose float32 weights take 1.3 GB, swept in memory and with 400 MB allowed, each in
a process of its own. Prints the weights, both peaks (above what importing torch and transformers
takes) and whether the estimates are the same bytes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from drawn_texts import write_texts
from transformers import AutoModelForCausalLM, LlamaConfig

from bitlens.config.study import Study
from bitlens.models.source import ModelSource
from bitlens.workflows.audit.manifest import peak_bytes
from bitlens.workflows.audit.run import run

VOCABULARY, ALLOWED = 2048, "400MB"


def write_model(folder: Path) -> int:
    """The model, its tokenizer and texts; returns the bytes of its weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=19,
        num_attention_heads=16,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder, max_shard_size="200MB")
    write_texts(folder, VOCABULARY, 12, 64)
    return sum(p.numel() * p.element_size() for p in model.parameters())


def audit(folder: Path, out: Path, memory: str | None) -> None:
    """One audit; prints its peak above the imports, in bytes, and its seconds."""
    before = peak_bytes()
    start = time.perf_counter()
    study = Study(
        models=(ModelSource(str(folder)),),
        compressions=("rtn:bits=4", "prune:sparsity=0.3"),
        controls=(),
        text=str(folder / "texts.json"),
        tokens=0,
        memory=memory,
    )
    run(study, out, "benchmark", log=lambda line: print(line, file=sys.stderr))
    print(peak_bytes() - before, time.perf_counter() - start)


def main() -> None:
    """The same audit with all memory and with a share of it: peaks, times and tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audit", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.audit:
        folder, out, memory = options.audit
        audit(Path(folder), Path(out), None if memory == "all" else memory)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "llama-random"
        print(f"weights: {write_model(folder) / 1e6:,.0f} MB, allowed: {ALLOWED}", flush=True)
        estimates = []
        for memory in ("all", ALLOWED):
            out = Path(temporary) / memory
            command = [sys.executable, __file__, "--audit", str(folder), str(out), memory]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            peak, seconds = map(float, result.stdout.split()[-2:])
            print(f"memory {memory}: peak {peak / 1e6:,.0f} MB, {seconds:.0f} s", flush=True)
            estimates.append((out / "estimates.parquet").read_bytes())
        print(f"same bytes: {estimates[0] == estimates[1]}")


if __name__ == "__main__":
    main()
