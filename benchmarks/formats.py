"""What do compressions without data cost, over copying the weights once?

    python benchmarks/formats.py [--repeats 5]      # where hqq is installed, against it too

Every matrix of the blocks of a random Llama of about 100 million parameters, in float32, on one
thread. The unit is copying them into memory that is there already. Each compression makes one
matrix after the other and keeps none, as a sweep does; copy and compression take turns, and figures
are medians of the ratios. Times are the processor's, which other work on the machine leaves alone.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap

AT_MOST = {
    "rtn:bits=4": 10,
    "rtn:bits=4,group=64": 10,
    "nf4": 40,
    "prune:sparsity=0.5": 25,
}
"""Times a copy."""
MORE = ("rtn:bits=4,symmetric=false", "nf4:double=true", "fp4", "gguf:type=q4_0", "gguf:type=q8_0")
"""Told for comparison: nobody set them a bound."""
HQQ = "hqq:bits=4,group=64"


def model_matrices() -> list[LinearMap]:
    """Every matrix of the blocks of a random Llama, in the order they are made."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
    )
    layout = Layout(LlamaForCausalLM(config))
    print(f"{sum(p.numel() for p in layout.model.parameters()) / 1e6:.0f} M parameters", flush=True)
    blocks = (layout.maps(depth, layout.weights(depth)) for depth in range(layout.depth))
    return [matrix for block in blocks for group in block for matrix in group]


def seconds(do: Callable[[], object]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    do()
    return time.process_time() - start


def ratio(one: Callable[[], object], other: Callable[[], object], repeats: int) -> float:
    """How many times the second does the first take?"""
    one(), other()
    return median(seconds(one) / seconds(other) for _ in range(repeats))


def by_library(weight: Tensor) -> Tensor:
    """What the library hqq makes of a matrix with the settings of `HQQ`."""
    from hqq.core.quantize import Quantizer

    codes, meta = Quantizer.quantize(
        weight, nbits=4, group_size=64, axis=1, bitpack=False, device="cpu"
    )
    restored: Tensor = Quantizer.dequantize(codes, {**meta, "compute_dtype": torch.float32})
    return restored


def compressing(text: str, matrices: Sequence[LinearMap]) -> Callable[[], None]:
    """A call that compresses every matrix and keeps none."""
    compression = parse_spec(text)

    def make() -> None:
        for matrix in matrices:
            compression.compress(MatrixGroup([matrix], 0))

    return make


def main() -> None:
    """Every compression over a copy, then HQQ over its library."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    matrices = model_matrices()
    copies = [torch.empty_like(matrix.weight) for matrix in matrices]

    def copy() -> None:
        for target, matrix in zip(copies, matrices, strict=True):
            target.copy_(matrix.weight)

    def clone() -> None:
        for matrix in matrices:
            matrix.weight.clone()

    print(f"{'':36} over a copy  at most")
    print(f"{'a copy into new memory':36} {ratio(clone, copy, repeats):11.1f}")
    for text in (*AT_MOST, *MORE, HQQ):
        over = ratio(compressing(text, matrices), copy, repeats)
        print(f"{text:36} {over:11.1f} {AT_MOST.get(text, ''):>8}", flush=True)
    if importlib.util.find_spec("hqq") is None:
        print("hqq is not installed: ours is not compared with it.")
        return
    few = matrices[:14]

    def library() -> None:
        for matrix in few:
            by_library(matrix.weight)

    over = ratio(compressing(HQQ, few), library, repeats)
    print(f"{HQQ} over the library hqq, on two blocks: {over:.2f} (at most 1.00)")


if __name__ == "__main__":
    main()
