"""Planted lesions: damage is done in one place, and the audit names that place."""

from pathlib import Path

import pytest

from bitlens.results.records import Value
from tests.support import tiny

FAMILIES = ["gpt2", "gpt_neox", "llama", "gemma3_text", "bloom", "qwen3_moe", "gpt_oss", "opt"]
SHAPE = [[10], [8], [10], [6], [9], [10], [7], [10]]
Sites = dict[str, Value]

each_family = pytest.mark.parametrize("family", FAMILIES)
each_block = pytest.mark.parametrize("block", [0, 1, 2])


def errors(
    family: str,
    compression: tiny.Compression | str,  # type: ignore[name-defined]
    folder: Path,  # type: ignore[name-defined]
) -> tuple[Sites, Sites, float]:
    """Relative error by site, local and cumulative, and the KL divergence it all comes to."""
    analyses = [tiny.analysis(name) for name in ("behaviour", "geometry")]
    layout, plan = tiny.layout(family), tiny.plan(tiny.corpus(SHAPE, seed=2), analyses)
    values = tiny.values(
        tiny.measurement(layout, {"twin": compression}, plan, folder, analyses=analyses)
    )
    local, cumulative = (
        {
            site: value
            for (_, _, found, site, metric), value in values.items()
            if metric == "relative_error" and found == item
        }
        for item in ("local", "cumulative")
    )
    kl = values[("behaviour", "twin", "", "logits", "kl")].value
    assert kl is not None
    return local, cumulative, kl


def mlp_matrices(family: str, block: int) -> tuple[str, ...]:
    """The matrices of a block that are not attention's."""
    layout = tiny.layout(family)
    inside = f"{layout.block_name(block)}.{layout.block_layouts[block].pattern}."
    names = [n for n, _ in layout.matrices() if n.startswith(f"{layout.block_name(block)}.")]
    return tuple(n for n in names if not n.startswith(inside))


@pytest.mark.slow
@each_family
@each_block
def test_an_erased_mlp_is_found(family: str, block: int, tmp_path: Path) -> None:
    """One block's MLP is set to nought: that MLP's local error is the largest of all sites, its
    block's output is off, and every other site has no local error whatever."""
    lesion = tiny.Erase(include=mlp_matrices(family, block))
    local, cumulative, kl = errors(family, lesion, tmp_path)
    numbers = {site: value.value for site, value in local.items()}
    assert max(numbers, key=numbers.__getitem__) == f"mlp.{block}"
    off = {site for site, number in numbers.items() if number}
    assert off == {f"mlp.{block}", f"resid.{block}"}
    # Downstream of it everything is off, upstream nothing.
    for site, value in cumulative.items():
        kind, _, depth = site.partition(".")
        behind = int(depth) > block or (int(depth) == block and kind != "attn")
        assert bool(value.value) == behind, site
    assert kl > 0


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "phi3"])
def test_an_erased_mlp_without_biases_is_off_by_all_of_itself(family: str, tmp_path: Path) -> None:
    """What gives nothing has a relative error of exactly 1."""
    local, *_ = errors(family, tiny.Erase(include=mlp_matrices(family, 1)), tmp_path)
    assert local["mlp.1"].value == 1.0
    assert 0 < local["resid.1"].value < 1


@pytest.mark.slow
@each_family
@each_block
def test_one_damaged_block_is_named(family: str, block: int, tmp_path: Path) -> None:
    """Only one block is compressed, to two bits: the largest local error is at that block, and
    no other block has any."""
    name = tiny.layout(family).block_name(block)
    local, _, kl = errors(family, f"rtn:bits=2,include=[{name}.*]", tmp_path)
    blocks = {n: local[f"resid.{n}"].value for n in range(3)}
    assert max(blocks, key=blocks.__getitem__) == block
    assert {n for n, number in blocks.items() if number} == {block}
    assert kl > 0


@pytest.mark.slow
@each_family
def test_the_worst_of_unequal_damage_is_named(family: str, tmp_path: Path) -> None:
    """All blocks lose a little, the second much more: its local error is the largest, whatever
    has piled up by the last."""
    layout = tiny.layout(family)
    mild = f"rtn:bits=6,exclude=[{layout.block_name(1)}.*]"
    local, *_ = errors(family, mild, tmp_path / "mild")
    assert local["resid.1"].value == 0
    severe = f"rtn:bits=2,include=[{layout.block_name(1)}.*]"
    worse, *_ = errors(family, severe, tmp_path / "severe")
    others = max(local[f"resid.{n}"].value for n in (0, 2))
    assert worse["resid.1"].value > 3 * others > 0
