"""Can a mixture of experts several times larger than the memory allowed be audited from disk?

    python benchmarks/mixture.py --folder /somewhere/with/20GB

Writes a random mixture of 3.1 billion weights (120 blocks of 32 experts, 6.2 GB in bfloat16), shard
by shard, so that it is never in memory; audits 4 bits of it on a few tokens with 1.5 GB allowed,
and deletes it. Prints the bytes on disk, the peak of what the process holds itself, above what
importing torch and transformers takes; the peak with pages of files that are mapped, which any
machine takes back when it needs them; the processor's time and the KL. Loading writes the blocks
once more beside it. Linux only.
"""

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from drawn_texts import write_texts
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen3MoeConfig

from bitlens.config.study import Study
from bitlens.models.source import ModelSource
from bitlens.results.store import Store
from bitlens.workflows.audit.manifest import peak_bytes
from bitlens.workflows.audit.run import run

ALLOWED, VOCABULARY, DOCUMENTS, TOKENS = "1.5GB", 2048, 12, 24
BLOCKS_A_SHARD = 8


def configuration(blocks: int) -> Qwen3MoeConfig:
    """Blocks of 25.8 million weights."""
    return Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        moe_intermediate_size=512,
        intermediate_size=512,
        num_hidden_layers=blocks,
        num_attention_heads=8,
        num_key_value_heads=2,
        num_experts=32,
        num_experts_per_tok=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        dtype="bfloat16",
    )


def block(config: Qwen3MoeConfig, number: int, random: torch.Generator) -> dict[str, Tensor]:
    """The weights of one block, by the names they have on disk."""

    def drawn(*shape: int) -> Tensor:
        return (0.02 * torch.randn(shape, generator=random)).bfloat16()

    width, inner = config.hidden_size, config.moe_intermediate_size
    queries, head = width, width // config.num_attention_heads
    keys = config.num_key_value_heads * head
    found = {
        "self_attn.q_proj": drawn(queries, width),
        "self_attn.k_proj": drawn(keys, width),
        "self_attn.v_proj": drawn(keys, width),
        "self_attn.o_proj": drawn(width, queries),
        "mlp.gate": drawn(config.num_experts, width),
    }
    for norm, size in (("input_layernorm", width), ("post_attention_layernorm", width)):
        found[norm] = torch.ones(size).bfloat16()
    for norm in ("self_attn.q_norm", "self_attn.k_norm"):
        found[norm] = torch.ones(head).bfloat16()
    for expert in range(config.num_experts):
        found[f"mlp.experts.{expert}.gate_proj"] = drawn(inner, width)
        found[f"mlp.experts.{expert}.up_proj"] = drawn(inner, width)
        found[f"mlp.experts.{expert}.down_proj"] = drawn(width, inner)
    return {f"model.layers.{number}.{name}.weight": of for name, of in found.items()}


def write_model(folder: Path, blocks: int) -> int:
    """The model shard by shard, its tokenizer and texts; returns the bytes of its weights."""
    folder.mkdir(parents=True)
    config = configuration(blocks)
    config.architectures = ["Qwen3MoeForCausalLM"]
    config.save_pretrained(folder)
    random = torch.Generator().manual_seed(0)
    shell = (VOCABULARY, config.hidden_size)
    around = {
        "model.embed_tokens.weight": torch.randn(shell, generator=random).bfloat16(),
        "lm_head.weight": (0.05 * torch.randn(shell, generator=random)).bfloat16(),
        "model.norm.weight": torch.ones(config.hidden_size).bfloat16(),
    }
    where: dict[str, str] = {}
    written = 0
    for first in range(0, blocks, BLOCKS_A_SHARD):
        shard = around if first == 0 else {}
        for number in range(first, min(first + BLOCKS_A_SHARD, blocks)):
            shard = shard | block(config, number, random)
        name = f"model-{first // BLOCKS_A_SHARD:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, name)
        written += sum(tensor.nbytes for tensor in shard.values())
    index = {"metadata": {"total_size": written}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_texts(folder, VOCABULARY, DOCUMENTS, TOKENS)
    return written


def held(name: str) -> int:
    """Bytes in a line of what the system knows of this process."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


@contextmanager
def watched() -> Iterator[list[int]]:
    """While it lasts the most bytes that are no file's are looked up ten times a second."""
    most, done = [held("RssAnon")], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            most[0] = max(most[0], held("RssAnon"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def audit(folder: Path, out: Path) -> None:
    """One audit; prints its peaks above the imports, the processor's time and the twin's KL."""
    import transformers.models.qwen3_moe.modeling_qwen3_moe  # noqa: F401

    before, alone = peak_bytes(), held("RssAnon")
    study = Study(
        models=(ModelSource(str(folder)),),
        compressions=("rtn:bits=4",),
        controls=(),
        analyses=("behaviour", "geometry", "routing"),
        text=str(folder / "texts.json"),
        tokens=0,
        memory=ALLOWED,
    )
    with watched() as most:
        run(study, out, "benchmark", log=lambda line: print(line, file=sys.stderr, flush=True))
    rows = Store.open(out).read_table("estimates").to_pylist()
    kl = [row for row in rows if row["metric"] == "kl"]
    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = spent.ru_utime + spent.ru_stime
    print(json.dumps([most[0] - alone, peak_bytes() - before, seconds, kl[0]["value"]]))


def main() -> None:
    """Write, audit in a process of its own, delete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=120)
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.audit:
        audit(options.audit, options.folder / "store")
        return
    model = options.folder / "mixture"
    try:
        written = write_model(model, options.blocks)
        print(f"{written / 1e9:.2f} GB on disk, {ALLOWED} allowed", flush=True)
        command = [sys.executable, __file__, "--folder", str(options.folder), "--audit", str(model)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        own, mapped, seconds, kl = json.loads(done.stdout.splitlines()[-1])
        print(
            f"peak {own / 1e9:.2f} GB, with mapped files {mapped / 1e9:.2f} GB; "
            f"{seconds:.0f} s of processor time, KL {kl:.4g}"
        )
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
