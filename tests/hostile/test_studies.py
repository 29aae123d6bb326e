"""Files that are no studies."""

import pytest

from tests.support.hostile import Case, Refused, case

LAYERS = [
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
]
BILLION = "\n".join(["a: &a [x]", *LAYERS, "models: *i"])
WHOLE = "models: [gpt2]\ncompressions: ['rtn:bits=4']\n"


def study(name: str, said: str, text: str) -> Case:
    return case(name, said, lambda place: place.of_study(text))


CASES = [
    study("nothing", "study.yaml", ""),
    study("a list", "study.yaml", "- a\n- b\n"),
    study("a word", "study.yaml", "hello"),
    study("no YAML", "study.yaml", "models: [gpt2\n"),
    study("tabs", "study.yaml", "models:\n\t- gpt2\n"),
    study("brackets 100,000 deep", "study.yaml", "models: " + "[" * 100_000),
    study("a megabyte and more", "study.yaml", "# " + "x" * (1 << 20)),
    study(
        "an object of Python", "study.yaml", "models: !!python/object/apply:os.system ['true']\n"
    ),
    study("a setting twice", "tokens", WHOLE + "tokens: 5\ntokens: 6\n"),
    study("an unknown setting", "tokns", WHOLE + "tokns: 5\n"),
    study("no models", "models", "compressions: ['rtn:bits=4']\n"),
    study("models of nothing", "models", "models: []\ncompressions: ['rtn:bits=4']\n"),
    study("a model that is a number", "models", "models: [5]\ncompressions: ['rtn:bits=4']\n"),
    study(
        "a model without a name",
        "models",
        "models: [{dtype: float32}]\ncompressions: ['rtn:bits=4']\n",
    ),
    study(
        "an unknown setting of a model",
        "nam",
        "models: [{nam: gpt2}]\ncompressions: ['rtn:bits=4']\n",
    ),
    study("no compressions", "compressions", "models: [gpt2]\n"),
    study(
        "a compression twice",
        "twice",
        "models: [gpt2]\ncompressions: ['rtn:bits=4', 'rtn:bits=4']\n",
    ),
    study(
        "a compression that is a mapping",
        "compressions",
        "models: [gpt2]\ncompressions: [{rtn: 4}]\n",
    ),
    study("tokens that are a word", "tokens", WHOLE + "tokens: many\n"),
    study("tokens beyond 64 bits", "tokens", WHOLE + "tokens: 99999999999999999999\n"),
    study("seeds below nought", "seeds", WHOLE + "seeds: [-1]\n"),
    study("no seeds", "seeds", WHOLE + "seeds: []\n"),
    study("a text that is a list", "text", WHOLE + "text: [a, b]\n"),
    study("a date for a text", "text", WHOLE + "text: 2026-01-01\n"),
    study(
        "aliases a billion times",
        "study.yaml|models",
        BILLION,
    ),
    study(
        "consent to a model's code",
        "asks to run code",
        "models: [{name: gpt2, trust_remote_code: true}]\ncompressions: ['rtn:bits=4']\n",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_studies_are_refused(refused: Refused, case: Case) -> None:
    """With the file, and the line and the setting where there is one."""
    refused(case)
