"""Does an audit keep to the memory it was allowed, whatever the vocabulary?

    python benchmarks/memory.py [--vocabularies 50000 150000 260000] [--width 640] [--latents 4096]

A random Llama of two blocks in bfloat16 with an SAE at block 0, 24 documents of 128 tokens, two
twins and a cast, all analyses. `--memory` is the least that the audit says it needs. Each audit
runs in a process of its own; its peak is that of resident memory above what is resident once
everything is imported. The ratio of peak to allowance is to be below 1. Linux only.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import torch
from drawn_texts import write_texts
from transformers import AutoModelForCausalLM, LlamaConfig

from bitlens.config.study import Study
from bitlens.config.study_settings import parse_bytes
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.sae.formats.load import save_sae
from bitlens.sae.sae import Sae
from bitlens.workflows.audit.run import run

TWINS = ("rtn:bits=4", "rtn:bits=8")
DOCUMENTS, TOKENS = 24, 128


def write_model(folder: Path, vocabulary: int, width: int, latents: int) -> None:
    """A random model, its tokenizer with a word for every token, an SAE and texts."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(folder)
    write_texts(folder, vocabulary, DOCUMENTS, TOKENS)
    directions = torch.nn.functional.normalize(torch.randn(latents, width), dim=1)
    encoder, zeros = directions.T.contiguous(), torch.zeros(latents)
    hook = "blocks.0.hook_resid_post"
    sae = Sae(
        label="sae",
        hook=hook,
        architecture="topk",
        w_enc=encoder,
        b_enc=zeros,
        w_dec=directions,
        b_dec=torch.zeros(width),
        k=32,
    )
    save_sae(sae, folder / "sae")


def study(folder: Path, memory: str) -> Study:
    """Twins, a control and an SAE on a model, within `memory`."""
    return Study(
        models=(ModelSource(str(folder), saes=(str(folder / "sae"),)),),
        compressions=TWINS,
        controls=("cast",),
        text=str(folder / "texts.json"),
        tokens=0,
        # Random directions explain little: they cost what an SAE costs.
        allow=("poor-fit",),
        memory=memory,
    )


def audit(folder: Path) -> None:
    """Prints what was allowed and the peak above the imports, in bytes."""
    with tempfile.TemporaryDirectory() as out:
        try:
            run(study(folder, "1MB"), Path(out) / "none", "benchmark", log=lambda _: None)
            raise SystemExit("a megabyte was enough")
        except BitlensError as refused:
            found = re.search(r"--memory (\d+MB)", refused.remedy)
            if found is None:
                raise
            least = found[1]
    print(least)


def measured(folder: Path, least: str) -> None:
    """Prints the peak above the imports of an audit with `least` memory, in bytes."""
    # What is imported late is imported now.
    import sklearn.ensemble  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    with tempfile.TemporaryDirectory() as out:
        run(study(folder, least), Path(out) / "store", "benchmark", log=print)
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
    print(peak - before)


def main() -> None:
    """For every vocabulary: what an audit says it needs, and what it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[50_000, 150_000, 260_000])
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--least-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.least_of:
        audit(options.least_of)
        return
    if options.peak_of:
        measured(options.peak_of, options.memory)
        return

    def child(*arguments: str) -> list[str]:
        command = [sys.executable, __file__, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip().splitlines()

    for vocabulary in options.vocabularies:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / f"llama-{vocabulary}"
            write_model(folder, vocabulary, options.width, options.latents)
            least = child("--least-of", str(folder))[-1]
            *said, peak = child("--peak-of", str(folder), "--memory", least)
            print(*(line for line in said if line.startswith("Memory")), sep="\n")
            ratio = int(peak) / parse_bytes(least)
            print(
                f"vocabulary {vocabulary:,}: {int(peak) / 1e6:,.0f} MB of {least} allowed, "
                f"{ratio:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
