"""An audit of a mixture of experts, from its folder to the page: what is planted is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bitlens.config.study import Study
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.report.audit_results import AuditResults
from bitlens.report.build import build
from bitlens.workflows.audit.run import run
from tests.support import tiny

EXPERT, ROUTER = "model.layers.1.mlp.experts.down_proj", "model.layers.2.mlp.gate.weight"


def silent(line: str) -> None:
    """Nobody listens."""


def save(model: torch.nn.Module, folder: Path) -> Path:
    """A folder of a model, with words for tokens."""
    model.save_pretrained(folder)  # type: ignore[operator]
    words = {f"w{n}": n for n in range(tiny.VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


def study(folder: Path, *compressions: str, analyses: tuple[str, ...] = ("routing",)) -> Study:
    texts = folder.parent / "texts.json"
    draw = torch.Generator().manual_seed(1)
    documents = [torch.randint(0, tiny.VOCABULARY, (24,), generator=draw) for _ in range(24)]
    texts.write_text(json.dumps([" ".join(f"w{n}" for n in d) for d in documents]))
    return Study(
        models=(ModelSource(str(folder)),),
        compressions=compressions,
        text=str(texts),
        calibration=str(texts),
        allow=("overlap",),
        tokens=0,
        context=24,
        controls=(),
        analyses=analyses,
    )


@pytest.mark.slow
def test_planted_lesions_are_named_on_the_page(tmp_path: Path) -> None:
    """An expert set to nought and a router of three bits, each by its place; the table has every
    expert's weight error, and the calibration tokens that it met where something is calibrated."""
    model = tiny.build("qwen3_moe")
    folder = save(model, tmp_path / "mixture")
    with torch.no_grad():
        model.get_parameter(EXPERT)[2] = 0
        lost = save(model, tmp_path / "lost")
        model = tiny.build("qwen3_moe")
        weight = model.get_parameter(ROUTER)
        scale = weight.abs().amax(1, keepdim=True) / 3
        weight.copy_((weight / scale).round() * scale)
        rounded = save(model, tmp_path / "rounded")
    twins = (f"checkpoint:{lost}", f"checkpoint:{rounded}", "gptq:bits=4")
    store = run(study(folder, *twins), tmp_path / "out", "audit", silent)
    page = build(store.root).read_text(encoding="utf-8")
    assert "Expert 1.2 is the one that is lost" in page
    assert "The router of block 2 is damaged itself" in page
    results = AuditResults.read(store.root)
    table = results.table(results.models[0], twins[0], "routing", "experts")
    off = {(r["block"], r["expert"]): r["weight_error"] for r in table}
    assert len(off) == 3 * 4
    # One of the two matrices that an expert has is nought.
    assert {place for place, error in off.items() if error} == {(1, 2)}
    assert 0.3 < off[(1, 2)] < 0.9
    met = {b: sum(r["tokens_calibration"] for r in table if r["block"] == b) for b in range(3)}
    # Every token goes to two experts, and all positions of the documents are calibrated on.
    assert set(met.values()) == {2 * 24 * 24}


@pytest.mark.slow
def test_a_model_without_routers_is_not_asked(tmp_path: Path) -> None:
    """Somebody who named it is told; of nothing else to ask it is refused."""
    folder = save(tiny.build("llama"), tmp_path / "dense")
    said: list[str] = []
    both = study(folder, "rtn:bits=4", analyses=("behaviour", "routing"))
    store = run(both, tmp_path / "out", "audit", said.append)
    assert {cell["analysis"] for cell in store.manifest()["cells"]} == {"behaviour"}
    assert any("dense has no router: routing" in line for line in said)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(BitlensError, match="has no router, and only routing was asked for"):
        run(study(folder, "rtn:bits=4"), tmp_path / "out", "audit", silent)
