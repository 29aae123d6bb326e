"""The settings of a study of trained SAEs, and what part of it is asked for."""

from pathlib import Path

import pytest

from bitlens.config.sae_study import Configuration, configurations, load_sae_study, trains
from bitlens.errors import BitlensError

STUDY = """
train:
  site: resid.1
  width: [0.5x, 2x]
  k: [4, 8]
  epochs: [1, 2]
  tokens: [1_000, 4_000]
  seed: [0, 1, 2]
models: [demo]
compressions: ["rtn:bits=4,group=32", "rtn:bits=3"]
"""


def written(path: Path, text: str = STUDY) -> Path:
    path.write_text(text)
    return path


def test_a_study_is_its_axes_and_its_model(tmp_path: Path) -> None:
    """Every axis under the name by which a part of it is asked for; the twins are compressions."""
    path = written(tmp_path / "a.yaml")
    study = load_sae_study(path)
    assert trains(path)
    assert study.axes == {
        "width": ("0.5x", "2x"),
        "k": (4, 8),
        "epochs": (1, 2),
        "tokens": (1000, 4000),
        "seed": (0, 1, 2),
        "twin": ("rtn:bits=4,group=32", "rtn:bits=3"),
    }
    assert study.study.texts.endswith(".jsonl")
    assert study.study.controls == ()


def test_an_audits_study_trains_nothing(tmp_path: Path) -> None:
    """Without `train`."""
    path = written(tmp_path / "a.yaml", "models: [demo]\ncompressions: ['rtn:bits=4']\n")
    assert not trains(path)


def test_a_part_is_named_axis_by_axis(tmp_path: Path) -> None:
    """In the study's order; numbers however they are written; a twin's text holds commas."""
    study = load_sae_study(written(tmp_path / "a.yaml"))
    part = study.part(
        ["seed=2,0", "tokens=4000", "width=0.5x", "twin=rtn:bits=4,group=32", "seed=1"]
    )
    assert part["seed"] == (0, 1, 2)
    assert part["tokens"] == (4000,)
    assert part["width"] == ("0.5x",)
    assert part["twin"] == ("rtn:bits=4,group=32",)
    assert part["k"] == (4, 8)
    assert study.part([]) == study.axes


def test_every_point_but_for_seed_and_twin(tmp_path: Path) -> None:
    """Data size by data size, so that its activations are read once."""
    study = load_sae_study(written(tmp_path / "a.yaml"))
    found = configurations(study.part(["k=8", "epochs=1"]))
    assert found == [
        Configuration(width, 8, 1, tokens) for tokens in (1000, 4000) for width in ("0.5x", "2x")
    ]


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ("size=8x", "--only size=8x names no axis"),
        ("width", "--only width names no axis"),
        ("l1=4", "--only l1=4 names no axis"),
        ("width=8x", r"--only width=8x is not in this study"),
        ("seed=7", "--only seed=7 is not in this study"),
        ("tokens=", "--only tokens= is not in this study"),
        ("twin=rtn:bits=4", "is not in this study"),
    ],
)
def test_a_part_that_is_not_there_is_refused(tmp_path: Path, only: str, found: str) -> None:
    """With what there is."""
    study = load_sae_study(written(tmp_path / "a.yaml"))
    with pytest.raises(BitlensError, match=found):
        study.part([only])


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("site: resid.1", "site: resid.1\n  sight: x", "line 4: train.sight is not a setting"),
        ("  site: resid.1\n", "", "train.site is not given"),
        ("width: [0.5x, 2x]", "width: [wide]", "line 2: train: --width is 'wide'"),
        ("width: [0.5x, 2x]", "width: [2x, 2x]", "line 4: train.width: 2x is given twice"),
        ("width: [0.5x, 2x]", "width: []", "line 4: train.width is not given"),
        ("width: [0.5x, 2x]", "width: [yes]", "Expected: text"),
        ("k: [4, 8]", "l1: [4, 8]", "--l1 says nothing about topk"),
        ("k: [4, 8]", "k: [0]", "k is 0"),
        ("k: [4, 8]", "k: [4, 8]\n  l1: [1]", "--l1 says nothing about topk"),
        ("epochs: [1, 2]", "epochs: [0]", r"line 6: train.epochs\[0\] is 0"),
        ("tokens: [1_000, 4_000]", "tokens: [many]", r"train.tokens\[0\] is 'many'"),
        ("seed: [0, 1, 2]", "seed: [-1]", r"train.seed\[0\] is -1"),
        ("models: [demo]", "models: [demo, gpt2]", "models names 2 models"),
        ("models: [demo]", "models: [demo]\ntokens: 5", "tokens says nothing about SAEs"),
        ("models: [demo]", "models: [demo]\nanalyses: [heads]", "analyses says nothing about SAEs"),
        ("rtn:bits=3", "rtn:bits=0", "bits"),
        ("  site: resid.1\n", "  site: resid.1\n  site: resid.2\n", "site is given twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, before: str, after: str, found: str
) -> None:
    """The line of the file, and the setting."""
    assert before in STUDY
    with pytest.raises(BitlensError, match=found):
        load_sae_study(written(tmp_path / "a.yaml", STUDY.replace(before, after)))


@pytest.mark.parametrize(
    ("axis", "name", "values"),
    [
        ("k: [4, 8]", "k", (4, 8)),
        ("architecture: topk", "k", (32,)),
        ("architecture: standard", "l1", (2.5,)),
        ("architecture: standard\n  l1: [0, 2]", "l1", (0.0, 2.0)),
        ("architecture: seed-gated", "l1", (0.0,)),
    ],
)
def test_what_firing_costs_is_an_axis_of_every_architecture(
    tmp_path: Path, axis: str, name: str, values: tuple[float, ...]
) -> None:
    """k or the penalty, by default the architecture's; a config has what was asked for."""
    study = load_sae_study(written(tmp_path / "a.yaml", STUDY.replace("k: [4, 8]", axis)))
    assert study.axes[name] == values
    ((_, config),) = study.train.grid(["2x"], values[-1:], [0], 1).configs(64, [1000])
    assert (config.k if name == "k" else config.penalty) == values[-1]


def test_train_must_hold_settings(tmp_path: Path) -> None:
    """Not a word."""
    with pytest.raises(BitlensError, match=r"train is 'resid\.3'"):
        load_sae_study(written(tmp_path / "a.yaml", "train: resid.3\nmodels: [demo]\n"))
