"""What does a sweep with `--compute paired` take beside one in float32?

    python benchmarks/paired.py [--twins 4] [--width 768] [--blocks 2] [--repeats 3]

A random GPT-2 of this width, stored in bfloat16, 4 documents of 256 tokens, twins of 8, 4 and 3
bits and pruned; blocks alone, without what is read of them. Both are swept alternately in one
process; the figure is the median of the ratios of processor time, of clock time on a GPU.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModelForCausalLM, GPT2Config

from bitlens.compression import parse_spec
from bitlens.compression.twin import CompressedTwin
from bitlens.engine.depth_blocks import blocks_at
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.models.layout import Layout
from bitlens.models.paired_block import PairedBlock, recorded
from bitlens.models.sixteen_bits import speedup

TWINS = ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3,group=64", "prune:sparsity=0.3")
ROWS, CONTEXT = 4, 256


@torch.no_grad()
def passed(layout: Layout, twins: int) -> float:
    """Seconds of all models through all blocks, made beforehand."""
    names = [name for name, _ in layout.matrices()]
    models = {REFERENCE: Reference(layout)} | {
        text: CompressedTwin(layout, parse_spec(text), names) for text in TWINS[:twins]
    }
    tokens = torch.randint(0, 1000, (ROWS, CONTEXT), device=layout.device)
    entry = layout.shell.enter(tokens, None)
    made = [blocks_at(layout, depth, models, {}) for depth in range(layout.depth)]
    states = dict.fromkeys(models, entry.hidden)
    started = _now(layout.device)
    for blocks, call in zip(made, entry.calls, strict=True):
        with recorded(blocks[REFERENCE], tokens.numel()) as products:
            states[REFERENCE] = blocks[REFERENCE](states[REFERENCE], call)[1]
        for name, block in blocks.items():
            if isinstance(block, PairedBlock):
                block.products = products
            if name != REFERENCE:
                states[name] = block(states[name], call)[1]
    return _now(layout.device) - started


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def main() -> None:
    """The median of float32 over paired."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twins", type=int, default=4)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=options.width,
        n_head=options.width // 64,
        n_layer=options.blocks,
        vocab_size=1000,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config).to(device, torch.bfloat16)
    ratios = []
    for _ in range(options.repeats):
        taken = []
        for paired in (False, True):
            layout = Layout(model)
            layout.paired = paired
            taken.append(passed(layout, options.twins))
        ratios.append(taken[0] / taken[1])
    print(
        f"products in bfloat16 {speedup(device):.2f} times as fast as in float32; a sweep paired, "
        f"V={options.twins}: {statistics.median(ratios):.2f} times as fast"
    )


if __name__ == "__main__":
    main()
