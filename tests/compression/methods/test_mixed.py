"""Each matrix by the first pattern that matches it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from bitlens.compression import parse_spec
from bitlens.compression.compression import CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.methods.mixed import Mixed
from bitlens.compression.methods.prune import Prune
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.methods.squeezellm import SqueezeLlm
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.compression.patterns import targets
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


@dataclass(frozen=True, kw_only=True)
class Spy(Compression):
    """Gives back what it was called with, in the note."""

    name: ClassVar[str] = "spy"

    def prepare(self, matrices: Any) -> list[str]:
        return [matrix.name for matrix in matrices()]

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        names = [matrix.name for matrix in group.matrices]
        called = f"{names} of {group.prepared}, inputs {group.inputs is not None}"
        return [CompressedMatrix(matrix.weight + 1, 8, note=called) for matrix in group.matrices]


def named(*names: str) -> list[LinearMap]:
    random = torch.Generator().manual_seed(0)
    return [LinearMap(name, torch.randn(4, 16, generator=random)) for name in names]


def compressed(mixed: Compression, matrices: Sequence[LinearMap]) -> list[CompressedMatrix]:
    return mixed.compress(MatrixGroup(matrices, 0, mixed.prepare(lambda: matrices)))


def test_the_first_pattern_that_matches_decides() -> None:
    """Maps come back in the order they came in, each as its own compression makes it, and the note
    says which that was."""
    matrices = named("layers.0.up", "layers.1.up", "layers.0.down", "layers.1.down")
    mixed = parse_spec("mixed:0.down=[rtn:bits=8],*.down=[nf4],*=[rtn:bits=2]")
    for matrix, result, text in zip(
        matrices,
        compressed(mixed, matrices),
        ("rtn:bits=2", "rtn:bits=2", "rtn:bits=8", "nf4"),
        strict=True,
    ):
        alone = parse_spec(text).compress(MatrixGroup([matrix], 0))[0]
        assert torch.equal(result.weight, alone.weight)
        assert (result.bits, result.note) == (alone.bits, text)


def test_each_compression_meets_its_own_maps_together() -> None:
    """What one surveys and is called with are the maps its pattern decides on, and no others'."""
    matrices = named("a.up", "b.up", "a.down")
    spied = compressed(Mixed(rules=(("a.*", Rtn(bits=2)), ("*", Spy()))), matrices)
    assert spied[1].note.startswith("spy; ['b.up'] of ['b.up']")
    spied = compressed(Mixed(rules=(("*.up", Spy()), ("*", Rtn(bits=2)))), matrices)
    assert spied[0].note == spied[1].note
    assert spied[1].note.startswith("spy; ['a.up', 'b.up'] of ['a.up', 'b.up']")


def test_global_pruning_cuts_among_its_own() -> None:
    """Half of what it prunes is zero, however large the weights of others are."""
    matrices = named("a.up", "b.up", "a.down")
    matrices[0] = LinearMap("a.up", matrices[0].weight * 100)
    mixed = Mixed(rules=(("a.up", Rtn(bits=8)), ("*", Prune(sparsity=0.5, scope="global"))))
    pruned = compressed(mixed, matrices)[1:]
    assert sum(int((result.weight == 0).sum()) for result in pruned) == 64


def test_needs_what_any_of_them_needs() -> None:
    """Its statistics are those of all, handed only to those that asked; it is calibrated one by
    one where any calibrated compression is."""
    one, all = SqueezeLlm(bits=2), parse_spec("prune:sparsity=0.5,by=wanda")
    assert Mixed(rules=(("*", Rtn(bits=4)),)).statistics == frozenset()
    assert Mixed(rules=(("a", one), ("*", Rtn(bits=4)))).statistics == {"mean_square"}
    assert not Mixed(rules=(("a", one), ("*", Rtn(bits=4)))).sequential
    assert Mixed(rules=(("a", one), ("*", all))).sequential is all.sequential
    matrices = named("a", "b")
    inputs = InputStatistics(count=torch.tensor(5), mean_square=torch.ones(16))
    mixed = Mixed(rules=(("a", one), ("*", Spy())))
    results = mixed.compress(MatrixGroup(matrices, 0, mixed.prepare(lambda: matrices), inputs))
    assert torch.equal(
        results[0].weight, one.compress(MatrixGroup(matrices[:1], 0, inputs=inputs))[0].weight
    )
    assert results[1].note.endswith("inputs False")


NAMES = ["embed", "layers.0.q", "layers.0.gate", "layers.0.up", "layers.1.up", "lm_head"]
DEFAULT = ["layers.0.q", "layers.0.up", "layers.1.up"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mixed:*=[nf4]", DEFAULT),
        ("mixed:*.up=[nf4],*=[rtn:bits=4]", DEFAULT),
        ("mixed:*.up=[nf4],lm_head=[rtn:bits=8]", ["layers.0.up", "layers.1.up", "lm_head"]),
        ("mixed:embed=[nf4],*=[rtn:bits=4]", ["embed", *DEFAULT]),
        (
            "mixed:gate=[nf4],*=[rtn:bits=4],exclude=[0.up]",
            ["layers.0.q", *NAMES[2:3], "layers.1.up"],
        ),
    ],
)
def test_targets(text: str, expected: list[str]) -> None:
    """`*` is every matrix of every block but routers; other patterns reach all; what none matches
    is no target."""
    assert targets(NAMES, DEFAULT, parse_spec(text)) == expected


def test_a_pattern_that_matches_nothing() -> None:
    """Is refused, as in include."""
    with pytest.raises(BitlensError, match=r"'\*\.dwon' matches no matrix"):
        targets(NAMES, DEFAULT, parse_spec("mixed:*.dwon=[nf4],*=[rtn:bits=4]"))


def test_a_map_of_no_rule_is_a_programming_error() -> None:
    """It is no target, so it never gets here."""
    with pytest.raises(ValueError, match="no pattern matches b"):
        Mixed(rules=(("a", Rtn(bits=4)),)).compress(MatrixGroup(named("b"), 0))


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ((), "there is no pattern"),
        ((("a", Rtn(bits=4)), ("a", Rtn(bits=8))), "a is given twice"),
        ((("*", Rtn(bits=4)), ("a", Rtn(bits=8))), "a comes after *"),
        ((("exclude", Rtn(bits=4)),), "exclude is the name of a setting"),
        (
            (("a", Rtn(bits=4, exclude=("b",))),),
            "a has patterns of its own, rtn:bits=4,exclude=[b]",
        ),
        ((("a", parse_spec("nothing")),), "a is to be nothing"),
        ((("a", parse_spec("noise:like=[nf4]")),), "a is to be noise:like=[nf4]"),
        ((("a", parse_spec("mixed:*=[nf4]")),), "a has patterns of its own"),
        ((("a", parse_spec("cast:dtype=bf16")),), "a is to be cast:dtype=bfloat16"),
        ((("a", parse_spec("checkpoint:folder")),), "a is to be checkpoint:folder"),
        ((("a=b", Rtn(bits=4)),), "rules is"),
        ((("a", "rtn:bits=4"),), "rules is"),
        ((("a",),), "rules is"),
        ([("a", Rtn(bits=4))], "rules is"),
    ],
)
def test_rules_that_cannot_be(rules: Iterable[Any], found: str) -> None:
    """Rules without effect, and compressions that do more than change matrices, are refused; and so
    is what could not be read back."""
    with pytest.raises(BitlensError) as error:
        Mixed(rules=rules)
    assert found in error.value.found
    assert error.value.remedy.startswith("mixed:")
