"""Options that several commands have are written once."""

from inspect import signature
from typing import Any

import pytest

from bitlens.cli import COMMANDS
from bitlens.cli.options import SETTINGS, count, study_of, with_settings
from bitlens.config.study import DEFAULT
from bitlens.errors import BitlensError


def test_a_command_lists_its_own_and_others_in_order() -> None:
    """A default of its own stands in the place of the setting's."""

    @with_settings("model tokens out context", tokens=7)
    def command(model: str, out: str = "here", **settings: Any) -> None:
        """A command."""

    found = signature(command).parameters
    assert list(found) == ["model", "tokens", "out", "context"]
    assert found["tokens"].default == 7
    assert found["context"].default == DEFAULT["context"]
    assert found["out"].default == "here"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("demo", "study")])
def test_an_option_means_the_same_everywhere(name: str) -> None:
    """Whatever command has it: `seed`, `sae` and `labelled` apart, which training, repair and
    steering have of their own."""
    for option, parameter in signature(COMMANDS[name]).parameters.items():
        own = (name, option) in {("train-sae", "seed"), ("repair", "sae"), ("steer", "labelled")}
        if option in SETTINGS and not own:
            assert parameter.annotation == SETTINGS[option][0]


def test_options_become_settings() -> None:
    """Lists by their commas, a seed as the only one; what is not given stays the study's own."""
    given = {"controls": "none", "analyses": "lens, behaviour", "seed": 5, "sae": ["release:a:b"]}
    study = study_of("gpt2", "rtn:bits=4", given)
    assert study.controls == ()
    assert study.analyses == ("lens", "behaviour")
    assert study.seeds == (5,)
    assert study.models[0].saes == ("release:a:b",)
    assert study.tokens == DEFAULT["tokens"]
    assert study_of("gpt2", "rtn:bits=4", {"controls": "cast"}).controls == ("cast",)


@pytest.mark.parametrize(("text", "number"), [("20000", 20_000), ("20k", 20_000), ("1M", 10**6)])
def test_a_number_of_tokens(text: str, number: int) -> None:
    """As a person writes it."""
    assert count(text) == number


def test_no_number_of_tokens() -> None:
    """It says what one looks like."""
    with pytest.raises(BitlensError, match="no number of tokens"):
        count("many")
