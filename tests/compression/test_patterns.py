"""Which matrices are compressed."""

import pytest

from bitlens.compression import parse_spec
from bitlens.compression.patterns import left_alone, targets
from bitlens.errors import BitlensError

NAMES = ["embed", *(f"layers.{i}.{m}" for i in (0, 1, 10) for m in ("q_proj", "gate", "mlp.up"))]
NAMES.append("lm_head")
DEFAULT = [name for name in NAMES if name.endswith(("q_proj", "up"))]


def chosen(settings: str) -> list[str]:
    return targets(NAMES, DEFAULT, parse_spec("rtn:bits=4" + settings))


def test_default() -> None:
    """Without patterns it is what the layout takes, in the model's order."""
    assert targets(NAMES, reversed(DEFAULT), parse_spec("rtn:bits=4")) == DEFAULT


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (",include=[lm_head]", ["lm_head"]),
        (",include=[q_proj]", ["layers.0.q_proj", "layers.1.q_proj", "layers.10.q_proj"]),
        (",include=[layers.1.*]", ["layers.1.q_proj", "layers.1.gate", "layers.1.mlp.up"]),
        (",include=[layers.?.gate,embed]", ["embed", "layers.0.gate", "layers.1.gate"]),
        (",exclude=[*.up,layers.[01].*]", ["layers.10.q_proj"]),
        (",include=[*.gate],exclude=[1.gate]", ["layers.0.gate", "layers.10.gate"]),
        (",exclude=[lm_head]", DEFAULT),
        (",include=[*]", DEFAULT),
        (",include=[embed,*],exclude=[10.*]", ["embed", *DEFAULT[:4]]),
    ],
)
def test_patterns(settings: str, expected: list[str]) -> None:
    """Include replaces the default and reaches every matrix, but * alone is the default; exclude
    wins; a pattern matches the whole path or its end after a dot."""
    assert chosen(settings) == expected


@pytest.mark.parametrize("settings", [",include=[proj]", ",exclude=[*.Gate]", ",include=[ead]"])
def test_a_pattern_that_matches_nothing(settings: str) -> None:
    """A pattern without a match is refused, with names that there are."""
    with pytest.raises(BitlensError) as error:
        chosen(settings)
    assert "matches no matrix" in error.value.found
    assert "embed, layers.0.q_proj" in error.value.expected
    assert "exclude=[*.lm_head]" in error.value.remedy


def test_patterns_that_leave_nothing() -> None:
    """Excluding everything is refused."""
    with pytest.raises(BitlensError, match="leave no matrix"):
        chosen(",include=[embed],exclude=[*]")


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("rtn:bits=4", "embedding", "left alone: embedding"),
        ("rtn:bits=4,exclude=[layers.1.*]", "block", "left alone: excluded"),
        ("rtn:bits=4,include=[lm_head]", "block", "left alone: no pattern matches"),
        ("mixed:lm_head=[nf4]", "block", "left alone: no pattern matches"),
        ("mixed:lm_head=[nf4]", "router", "left alone: router"),
    ],
)
def test_why_a_module_is_left_alone(text: str, kind: str, why: str) -> None:
    """It is excluded, or patterns do not reach it, or its kind is not compressed unasked."""
    assert left_alone("layers.1.mlp.up", kind, parse_spec(text)) == why
