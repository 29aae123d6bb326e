"""The types in llama.cpp's mixtures, against its own code."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tests.support
from bitlens.compression.methods.gguf import Gguf
from bitlens.compression.numerics.llama_mixtures import mixed_type
from bitlens.compression.twin import CompressedTwin
from bitlens.models.matrices import LinearMap
from bitlens.models.roles import BlockStanding
from tests.support import tiny

SIGNS = {"8": "q8_0", "a": "q4_0", "b": "q5_0", "c": "q5_1", "f": "f16"} | {
    sign: f"q{sign}_k" for sign in "23456"
}
FILE = Path(tests.support.__path__[0]) / "llama_mixtures.txt"
"""What llama_tensor_get_type of llama.cpp answered, compiled from the source that llama-cpp-python
0.3.36 brings: mixture, family, blocks, queries to a key, experts, columns, role, a sign a block."""


def answers() -> Iterator[tuple[str, LinearMap, str]]:
    for line in FILE.read_text().splitlines():
        mix, family, *numbers, role, signs = line.split()
        blocks, queries, experts, columns = map(int, numbers)
        weight = torch.empty(1, columns, device="meta")
        for depth, sign in enumerate(signs):
            standing = BlockStanding(
                family=family, depth=depth, blocks=blocks, queries=queries, experts=experts
            )
            yield mix, LinearMap("m", weight, role=role, standing=standing), SIGNS[sign]


def test_every_matrix_has_the_type_that_llama_cpp_gives_it() -> None:
    """Of models of one and many queries a key, of 3 to 80 blocks, with eight experts, of Falcon,
    of widths that are no whole blocks of 256, or of 32."""
    known = list(answers())
    assert len(known) > 1500
    for mix, matrix, kind in known:
        assert mixed_type(mix, matrix) == kind, (mix, matrix.role, matrix.standing)


def test_a_small_file_by_hand() -> None:
    """Q4_K_M of three blocks: of eighths there are none, of every third between none, and the last
    block is beyond seven eighths. Rows of 64 are no blocks of 256: q5_0 stands for q4_k, q8_0 for
    q6_k; the MLP's last maps read 128."""
    layout = tiny.layout("llama")
    twin = CompressedTwin(
        layout, Gguf(mix="q4_k_m", include=("*", "lm_head")), [n for n, _ in layout.matrices()]
    )
    twin.complete_coverage()
    notes = {row.module: (row.note, row.bits) for row in twin.coverage() if row.compressed}
    more = {"model.layers.2.self_attn.v_proj", "model.layers.2.mlp.down_proj"}
    assert more < notes.keys()
    for module, found in notes.items():
        assert found == (("q8_0", 8.5) if module in more else ("q5_0", 5.5)), module


def test_rows_that_are_no_blocks_of_anything_are_halves() -> None:
    """As llama-quantize stores them."""
    matrix = LinearMap("m", torch.full((2, 80), 0.1), role="up")
    made = Gguf(mix="q4_k_m").compress_matrix(matrix)
    assert torch.equal(made.weight, matrix.weight.half().float())
    assert (made.bits, made.group, made.note) == (16, 0, "f16: 80 columns are no whole blocks")


@pytest.mark.parametrize("role", [None, "up", "query", "embedding"])
def test_everything_else_has_the_type_that_names_it(role: str | None) -> None:
    """What is of no known role too."""
    weight = torch.empty(1, 256, device="meta")
    assert mixed_type("q5_k_s", LinearMap("m", weight, role=role)) == "q5_k"
