"""The text of a mixture says what each matrix was to have, and no more than it must."""

from collections.abc import Mapping

import numpy as np
import pytest

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.mixture import KEEP, mixture
from bitlens.compression.patterns import targets
from bitlens.errors import BitlensError

KINDS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
FOUR, EIGHT, NF4 = "rtn:bits=4,group=64", "rtn:bits=8", "nf4"


def names(blocks: int = 12) -> list[str]:
    """Of a Llama: every matrix that could be compressed."""
    within = [f"model.layers.{block}.{kind}" for block in range(blocks) for kind in KINDS]
    return ["model.embed_tokens", *within, "lm_head"]


def said(text: str, of: list[str]) -> dict[str, str]:
    """What a compression does to each matrix, by the rules that an audit follows."""
    compression = parse_spec(text)
    default = [name for name in of if ".layers." in name]
    taken = targets(of, default, compression)
    return {name: format_spec(compression.part_for(name)) if name in taken else KEEP for name in of}


def plan(changes: Mapping[str, str], rest: str = FOUR) -> dict[str, str]:
    """The blocks as `rest` says and the shell kept, but for what ends as is said."""
    found = {name: rest if ".layers." in name else KEEP for name in names()}
    for end, format_ in changes.items():
        found |= {name: format_ for name in found if f".{name}.".find(f".{end}.") >= 0}
    return found


@pytest.mark.parametrize(
    ("formats", "text"),
    [
        (plan({}), f"*=[{FOUR}]"),
        (plan({"11.mlp.down_proj": EIGHT}), f"11.mlp.down_proj=[{EIGHT}],*=[{FOUR}]"),
        (plan({"down_proj": EIGHT}), f"down_proj=[{EIGHT}],*=[{FOUR}]"),
        (plan({"0": NF4, "down_proj": EIGHT}), f"down_proj=[{EIGHT}],0.*=[nf4],*=[{FOUR}]"),
        (plan({"down_proj": EIGHT, "0": NF4}), f"0.*=[nf4],down_proj=[{EIGHT}],*=[{FOUR}]"),
        (plan({"11": KEEP}), f"*=[{FOUR}],exclude=[11.*]"),
        (plan({"lm_head": EIGHT}), f"lm_head=[{EIGHT}],*=[{FOUR}]"),
        (plan({"1.self_attn": EIGHT}, KEEP), f"1.self_attn.*=[{EIGHT}]"),
        (plan({"self_attn": EIGHT}, KEEP), f"self_attn.*=[{EIGHT}]"),
    ],
)
def test_patterns_are_short(formats: dict[str, str], text: str) -> None:
    """A matrix, a kind, a block, a part of one: what differs is named, the rest is `*`; block 1 is
    not 11."""
    assert mixture(formats) == f"mixed:{text}"
    assert said(f"mixed:{text}", names()) == formats


def test_every_matrix_gets_what_it_was_to_have() -> None:
    """Random plans, with what stays as it is among them: by block, by kind, by matrix, and of the
    shell; two runs write the same text."""
    random = np.random.default_rng(0)
    formats = [FOUR, EIGHT, NF4, KEEP]
    for trial in range(15):
        of = names(int(random.integers(1, 5)))
        key = (str, lambda n: n.rpartition(".")[2], lambda n: n.split(".")[2:3])[trial % 3]
        drawn = {str(key(name)): formats[random.integers(4)] for name in of}
        wanted = {name: drawn[str(key(name))] for name in of}
        wanted[of[1]] = FOUR
        shuffled = {of[place]: wanted[of[place]] for place in random.permutation(len(of))}
        text = mixture(shuffled)
        assert said(text, of) == wanted
        assert mixture(wanted) == text


def test_a_model_of_another_family_is_named_alike() -> None:
    """GPT-2 calls its blocks h; experts have numbers of their own, which are no blocks'."""
    of = [f"transformer.h.{block}.attn.c_attn" for block in range(3)]
    of += [f"transformer.h.{b}.mlp.experts.{e}.w1" for b in range(3) for e in range(3)]
    wanted = {name: EIGHT if ".h.1." in name else FOUR for name in of}
    assert mixture(wanted) == f"mixed:h.1.*=[{EIGHT}],*=[{FOUR}]"


def test_a_plan_that_keeps_everything_is_none() -> None:
    """There would be no twin."""
    with pytest.raises(BitlensError, match="All 62 matrices of the plan stay as they are"):
        mixture(dict.fromkeys(names(), KEEP))


def test_what_no_pattern_tells_apart_is_a_callers_mistake() -> None:
    """A path that is the end of another."""
    with pytest.raises(ValueError, match="no pattern tells"):
        mixture({"layers.0.up": EIGHT, "other.layers.0.up": FOUR, "a.layers.0.up": KEEP})
