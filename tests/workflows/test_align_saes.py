"""The table, and the command that prints it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bitlens import cli
from bitlens.sae.alignment.align import align
from bitlens.sae.alignment.compare import MEASURES
from bitlens.sae.formats.load import load_sae, save_firing_rates, save_sae
from bitlens.sae.sae import Sae
from bitlens.workflows.align_saes import align_folders, table
from tests.support.planted_dictionaries import noisy, order, sae_of, unit

COMMON = unit(60, 16, seed=77)


def saes(name: str, noise: float, seed: int) -> list[Sae]:
    return [
        sae_of(noisy(COMMON, noise, seed + n)[order(60, n)], label=f"{name}-{n}") for n in range(2)
    ]


FIRST, SECOND, AGAIN = saes("bf16", 0.1, 0), saes("int4", 0.7, 10), saes("again", 0.1, 20)


@pytest.fixture
def bitlens(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command: its code, what it printed, what it complained of."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bitlens", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """`--first A --second B --ceiling C`, twice."""
    arguments = []
    for option, group in (("first", FIRST), ("second", SECOND), ("ceiling", AGAIN)):
        for sae in group:
            save_sae(sae, tmp_path / sae.label)
            arguments += [f"--{option}", str(tmp_path / sae.label)]
    return arguments


def test_every_number_stands_between_chance_and_ceiling() -> None:
    """A row a side and measure; the chance that is analytic, with intervals where there are."""
    found = table(align(FIRST, SECOND, AGAIN))
    titles = [column.title for column in found.columns]
    assert titles[1:] == [
        "uniform chance",
        "random chance",
        "alignment",
        "seed ceiling",
        "normalised",
    ]
    assert len(found.rows) == 2 * len(MEASURES)
    row = found.rows[0]
    assert row[0] == "decoder: best match of the first, mean"
    assert "±" in row[3]
    assert "±" in row[5]
    assert "bf16-0 (resid.0, 60 of 60 latents) against int4-0 (" in found.caption
    assert "dead ones are compared too" in found.caption
    assert "over 2 pairs" in found.caption


def test_reasons_stand_below() -> None:
    """Each once; a table of alive latents says so."""
    alive = {sae: sae.b_enc == 0 for sae in (FIRST[0], SECOND[0])}
    caption = table(align(FIRST[:1], SECOND[:1], alive=alive)).caption
    assert caption.count("there is 1 pair; it takes SAEs trained from at least 2 seeds") == 1
    assert caption.count("no SAE of the first precision from another seed was given") == 1
    assert "60 alive of 60 latents" in caption
    assert "dead" not in caption


def test_what_never_fired_by_its_folder_is_left_out(folders: list[str], tmp_path: Path) -> None:
    """`sparsity.safetensors` says so: the numbers are those of the living alone. Of a folder
    without one all latents count, and the table says that."""
    first, second = folders[1], folders[7]
    bare = align_folders([first], [second], [])
    assert not bare.pairs[0].first.alive_given
    assert "dead ones" in table(bare).caption
    alive = torch.arange(60) < 40
    for folder in (first, second):
        save_firing_rates(0.25 * alive, folder)
    found = align_folders([first], [second], [])
    about = found.pairs[0].second
    assert (about.alive_given, about.compared, about.latents) == (True, 40, 60)
    assert "dead ones" not in table(found).caption
    one, other = load_sae(first), load_sae(second)
    expected = align([one], [other], alive={one: alive, other: alive})
    assert [m.value for m in found.measures] == [m.value for m in expected.measures]
    assert [m.value for m in found.measures] != [m.value for m in bare.measures]


def test_the_command_prints_the_table_and_writes_all_of_it(
    bitlens: Callable[..., tuple[int, str, str]], folders: list[str], tmp_path: Path
) -> None:
    """The numbers are those of the function; the file holds every pair's."""
    code, out, err = bitlens("align", *folders, "--out", tmp_path / "found.json")
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    expected = align(FIRST, SECOND, AGAIN)
    for written, known in zip(found["measures"], expected.measures, strict=True):
        assert written["value"]["value"] == pytest.approx(known.value.value, abs=1e-5)
    assert found["pairs"][1]["second"]["label"] == "int4-1"
    assert set(found["pairs"][0]["found"]["encoder"]) == {"value", "random", "ceiling"}
    assert "decoder: mutual nearest neighbours" in out
    assert "seed ceiling" in out


@pytest.mark.parametrize(
    ("drop", "message"),
    [(slice(0, 2), "1 first, 2 second"), (slice(8, 10), "1 ceiling"), (slice(0, 4), "--first")],
)
def test_options_that_do_not_go_together(
    bitlens: Callable[..., tuple[int, str, str]], folders: list[str], drop: slice, message: str
) -> None:
    """Exit code 2, no traceback."""
    del folders[drop]
    code, _, err = bitlens("align", *folders)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_folders_that_are_no_saes(
    bitlens: Callable[..., tuple[int, str, str]], folders: list[str]
) -> None:
    """As wherever an SAE is read."""
    code, _, err = bitlens("align", *folders[:-1], "nowhere")
    assert code == 2
    assert "no folder nowhere" in err
