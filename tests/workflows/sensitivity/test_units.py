"""The units of a model."""

import pytest

from bitlens.workflows.sensitivity.units import units_of
from tests.support import tiny


def test_blocks_and_what_stands_around_them() -> None:
    """The embedding first and the unembedding last; every matrix of a block is its own."""
    layout = tiny.layout("llama")
    units = units_of(layout, "block")
    names = [unit.name for unit in units]
    assert names == ["embedding", "block 0", "block 1", "block 2", "unembedding"]
    inside = [name for unit in units if unit.block is not None for name in unit.matrices]
    assert inside == [name for name, _ in layout.matrices()]


def test_tied_embeddings_are_one_unit() -> None:
    """They are stored once, and have one format; positions have an embedding of their own."""
    outside = [u.name for u in units_of(tiny.layout("gpt2"), "block") if u.block is None]
    assert outside == ["embedding", "embedding wpe"]


@pytest.mark.parametrize(
    ("family", "kinds"),
    [
        (
            "llama",
            [
                "self_attn.q_proj+k_proj+v_proj",
                "self_attn.o_proj",
                "mlp.gate_proj+up_proj",
                "mlp.down_proj",
            ],
        ),
        ("gpt2", ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]),
        ("mixtral", ["self_attn.q_proj+k_proj+v_proj", "self_attn.o_proj", "mlp.experts"]),
    ],
)
def test_kinds_are_what_a_kernel_fuses(family: str, kinds: list[str]) -> None:
    """Query, key and value; gate and up; the experts of a block."""
    units = units_of(tiny.layout(family), "kind")
    assert [unit.kind for unit in units if unit.block == 1] == kinds


def test_matrices_one_by_one() -> None:
    """As many as the model has in its blocks."""
    layout = tiny.layout("llama")
    units = [unit for unit in units_of(layout, "matrix") if unit.block is not None]
    assert [unit.matrices for unit in units] == [(name,) for name, _ in layout.matrices()]
