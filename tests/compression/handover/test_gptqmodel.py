"""Settings of GPTQModel, read as its documentation says: the first pattern of `dynamic` that
matches a module's path decides, `-:` leaves it alone, and the base is for the rest."""

import re
from typing import Any

import pytest

from bitlens.compression.handover.gptqmodel import gptqmodel
from tests.support.handover import plan, run

OTHERS = {
    "mlp.down_proj": "gptq:bits=8,convention=gptq",
    "1": "gptq:bits=3,group=32,symmetric=false",
    "11.self_attn": "keep",
    "5.mlp": "nf4",
}
MOST = "gptq:bits=4,group=64,convention=gptq"
EXPECTED = {
    MOST: (4, 64, True),
    OTHERS["mlp.down_proj"]: (8, -1, True),
    OTHERS["1"]: (3, 32, False),
    "keep": None,
    "nf4": None,
}


def as_documented(given: dict[str, Any], name: str) -> tuple[Any, ...] | None:
    """Bits, group size and symmetry of a module; None where it is left alone."""
    for pattern, changes in given["dynamic"].items():
        if re.match(pattern[2:], name):
            settings = None if pattern.startswith("-:") else {**given, **changes}
            break
    else:
        settings = given
    return settings and tuple(settings[key] for key in ("bits", "group_size", "sym"))


def test_every_matrix_of_a_block_has_its_settings() -> None:
    """As in the plan, but for what GPTQModel has not: that is left alone, and said."""
    formats = plan(MOST, OTHERS)
    text = gptqmodel(formats).text
    given = run(text, gptqmodel={"QuantizeConfig": dict}).quantize_config
    for name, format_ in formats.items():
        if ".layers." in name:
            assert as_documented(given, name) == EXPECTED[format_]
    assert not any("embed" in pattern for pattern in given["dynamic"])
    assert text.startswith(
        "# GPTQModel, not as in the plan: nf4 (3 matrices) stays as it is.\nfrom gptqmodel import"
    )


@pytest.mark.parametrize(
    ("format_", "told"),
    [
        ("rtn:bits=4,group=128", "is gptq:bits=4,group=128,convention=gptq"),
        ("awq:bits=4", "is gptq:bits=4,group=128,symmetric=false"),
        ("gptq:bits=4,act_order=true", "is gptq:bits=4,convention=gptq"),
        ("fp8", "fp8 (84 matrices) stays as it is"),
    ],
)
def test_what_it_has_not_is_said(format_: str, told: str) -> None:
    """It calibrates everything, on a grid with all codes."""
    assert told in gptqmodel(plan(format_, {})).text.split("\n")[0]


@pytest.mark.against
def test_the_library_reads_it_as_documented() -> None:
    """Its own class takes the settings, and its own matching finds the same of every matrix."""
    library = pytest.importorskip("gptqmodel", reason="gptqmodel is absent (bitlens[gptq])")
    formats = plan(MOST, OTHERS)
    fragment = gptqmodel(formats).text
    config = run(fragment).quantize_config
    given = run(fragment, gptqmodel={"QuantizeConfig": dict}).quantize_config
    assert isinstance(config, library.QuantizeConfig) or config.bits == 4
    for name in formats:
        if ".layers." not in name:
            continue
        expected = as_documented(given, name)
        assert (config.dynamic_get(layer_name=name) is False) == (expected is None)
        if expected is not None:
            keys = ("bits", "group_size", "sym")
            found = tuple(config.dynamic_get(name, key, getattr(config, key)) for key in keys)
            assert found == expected
