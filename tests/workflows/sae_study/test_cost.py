"""What a part of a study costs, without running it."""

from pathlib import Path

import pytest

from bitlens.config.sae_study import SaeStudy, load_sae_study
from bitlens.workflows.sae_study import cost


def study(path: Path, model: str, kind: str = "k: [4, 8]") -> SaeStudy:
    path.write_text(
        f"train: {{site: resid.0, width: [1x, 32], {kind}, tokens: [4096, 9000], seed: [0, 1]}}\n"
        f"models: ['{model}']\ncompressions: ['rtn:bits=4']\n"
    )
    return load_sae_study(path)


def test_costs_by_hand(tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models, two seeds, two ks and two sizes of 2 and 4 steps of 2,048 positions: of 32 dense
    latents in width 64, and k of them, 2 x 64 x (2 x 32 + 3 k) a position. A step of a second."""
    monkeypatch.setattr(cost, "_seconds", lambda *_: 1.0)
    wanted = study(tmp_path / "a.yaml", str(llama))
    monkeypatch.setattr(cost, "_width", lambda _: 64)
    table = cost.costs(wanted, wanted.part(["width=32", "tokens=4096"]))
    rows = {row[0]: row[1:] for row in table.rows}
    flop = 2 * 2 * 2 * 2048 * 2 * 64 * (2 * 32 + 3 * 4)
    assert rows["k 4"] == ("4", cost.figure(flop / 1e12), cost.figure(8 / 60))  # type: ignore[attr-defined]
    assert rows["all"][0] == "8"
    assert rows["all"][2] == cost.figure(16 / 60)  # type: ignore[attr-defined]
    assert list(rows) == [
        "width 32", "k 4", "k 8", "epochs 1", "tokens 4096", "seed 0", "seed 1", "all",
    ]  # fmt: skip
    whole = cost.costs(wanted, wanted.axes).rows[-1]
    assert whole == ("all", "32", *whole[2:])
    assert whole[3] == cost.figure(8 * 2 * (2 + 4) / 60)  # type: ignore[attr-defined]


def test_steps_are_timed_on_the_models_width(tmp_path: Path, llama: Path) -> None:
    """From its configuration alone; the caption says what is counted."""
    wanted = study(tmp_path / "a.yaml", str(llama), "architecture: gated")
    table = cost.costs(wanted, wanted.axes)
    assert float(table.rows[-1][3]) > 0
    assert "extrapolated from 3 steps" in table.caption


def test_a_model_that_is_not_here_costs_what_is_not_known(tmp_path: Path) -> None:
    """The grid is counted all the same."""
    wanted = study(tmp_path / "a.yaml", "somebody/elses-model")
    table = cost.costs(wanted, wanted.axes)
    assert table.rows[-1] == ("all", "32", "–", "–")
    assert "not known" in table.caption
