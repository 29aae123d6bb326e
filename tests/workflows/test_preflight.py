"""What a study needs and costs, told from names and configurations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bitlens.config.study import Study
from bitlens.errors import BitlensError
from bitlens.workflows.audit.budget import LOGITS, WORK
from bitlens.workflows.preflight import absent, costs, from_the_hub, table
from tests.support import tiny

GPT2 = {"models": ["gpt2"], "compressions": ["rtn:bits=4"], "analyses": ["behaviour"]}


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder with nothing but a configuration: width 64, 3 blocks of 4 heads, inner width 128."""
    folder = tmp_path / "llama"
    tiny.build("llama").config.save_pretrained(folder)
    return folder


def study(folder: Path, *compressions: str, **settings: Any) -> Study:
    return Study.model_validate(
        {"models": [str(folder)], "compressions": compressions, "controls": [], **settings}
    )


def test_what_is_on_the_hub_and_what_is_not_here_are_listed(tmp_path: Path, llama: Path) -> None:
    """Models, SAEs, texts and checkpoints, also those within other compressions; each once."""
    (tmp_path / "texts.json").write_text("[]")
    (tmp_path / "twin").mkdir()
    sae = "release:gpt2-small-res-jb:blocks.8.hook_resid_pre"
    wanted = Study.model_validate(
        {
            "models": [
                {"name": "gpt2", "saes": [sae, str(tmp_path / "no-sae")]},
                {"name": str(llama), "saes": [str(tmp_path / "twin")]},
            ],
            "compressions": [
                f"checkpoint:{tmp_path / 'twin'}",
                "checkpoint:owner/twin",
                "noise:like=[checkpoint:owner/twin]",
                "prune:match=[checkpoint:owner/other]",
                "rtn:bits=4",
            ],
            "text": "hf:owner/text:config:test",
            "calibration": str(tmp_path / "none.json"),
        }
    )
    hub = ["gpt2", sae, "hf:owner/text:config:test", "owner/twin", "owner/other"]
    assert from_the_hub(wanted) == hub
    assert absent(wanted) == [str(tmp_path / "none.json"), str(tmp_path / "no-sae")]
    here = study(llama, "rtn:bits=4", text="code-prompts:10", calibration=str(tmp_path))
    assert (from_the_hub(here), absent(here)) == ([], [])


def test_cost_by_hand(llama: Path) -> None:
    """A block has 64 x 64 queries and outputs, 32 x 64 keys and values, three matrices of
    128 x 64 and two norms: 36,992 numbers; around three of them stand two matrices of 128 x 64
    and a norm. One twin: 2 x (3 x 36,864 + 128 x 64) operations a token and model."""
    (cost,) = costs(study(llama, "rtn:bits=4", tokens=1000)).values()
    assert cost is not None
    assert cost.parameters == 3 * 36_992 + 2 * 128 * 64 + 64
    assert (cost.weight_bytes, cost.twins) == (4 * cost.parameters, 1)
    assert cost.flop == 2 * (3 * 36_864 + 128 * 64)
    assert cost.kept_bytes - cost.least_bytes == 4 * 3 * 36_992
    positions = json.loads((llama / "config.json").read_text())["max_position_embeddings"]
    logits = LOGITS * min(positions, 1024) * 128 * 4
    states = 1024 * 64 * 4 * 3
    assert cost.kept_bytes - cost.weight_bytes == 2 * 36_992 * 4 + WORK + logits + states
    row = table(study(llama, "rtn:bits=4", tokens=1000)).rows[0]
    assert cost.flop == 237_568
    assert row[4:6] == ("475 MFLOP", "1 s")
    assert table(study(llama, "rtn:bits=4", tokens=0)).rows[0][4] == "475 kFLOP a token"


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "qwen3_moe"])
def test_operations_are_those_that_torch_counts(family: str, tmp_path: Path) -> None:
    """Of one token alone, whose attention multiplies next to nothing; of experts only those that
    the router takes."""
    model = tiny.build(family)
    model.config.save_pretrained(tmp_path)
    if family == "qwen3_moe":
        # All its experts in one product, of which torch counts nothing.
        model.set_experts_implementation("eager")
    (cost,) = costs(study(tmp_path, "rtn:bits=4")).values()
    assert cost is not None
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.tensor([[5]]), use_cache=False)
    assert cost.flop == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_controls_are_twins_too(llama: Path) -> None:
    """A cast, and noise for each compression."""
    wanted = study(llama, "rtn:bits=4", "nf4", controls=["cast", "noise"])
    (cost,) = costs(wanted).values()
    assert cost is not None
    assert cost.twins == 5


def test_what_is_not_here_has_no_cost() -> None:
    """The row says what is needed to know it."""
    wanted = Study.model_validate({**GPT2, "models": ["owner/nowhere"]})
    assert costs(wanted) == {"owner/nowhere": None}
    assert table(wanted).rows[0][:2] == ("owner/nowhere", "needs the hub")


@pytest.mark.parametrize(
    ("compression", "settings", "said"),
    [
        ("rtn:bits=4,group=7", {}, "does not divide"),
        ("noise:like=[rtn:bits=4,group=7]", {}, "does not divide"),
        ("prune:match=[rtn:bits=4,group=7]", {}, "does not divide"),
        ("rtn:bits=4,include=*.nothing", {}, "nothing"),
        ("prune:pattern=2:5", {}, "5"),
        ("nf4", {"sites": ["resid.9"]}, "no site"),
        ("nf4", {"sites": ["resid.::0"]}, "no site"),
        ("nf4", {"context": 4096}, "reads 64"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    llama: Path, compression: str, settings: dict[str, Any], said: str
) -> None:
    """Shapes, patterns, sites and context, from the configuration alone."""
    with pytest.raises(BitlensError, match=said):
        costs(study(llama, compression, **settings))


@pytest.mark.parametrize(
    "compression",
    [
        "prune:match=[rtn:bits=6],on=perplexity",
        "gptq:bits=4",
        "int8",
        "mixed:*=[nf4]",
        "folded:of=[fp4]",
    ],
)
def test_what_fits_is_not_refused(llama: Path, compression: str) -> None:
    """Nor what finds its sparsity later, is calibrated, or wraps another."""
    assert costs(study(llama, compression, sites=["resid.::2", "resid.-1"]))
