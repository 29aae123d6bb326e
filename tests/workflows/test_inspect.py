"""What is in every matrix, worked out by hand for a tiny model with tied embeddings."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoConfig, PreTrainedTokenizerFast

from bitlens.compression.coverage import Storage, measure, tied
from bitlens.config.study import Study, audit_of
from bitlens.errors import BitlensError
from bitlens.models.files import fingerprint, weights_hash
from bitlens.models.source import ModelSource
from bitlens.report.page.parts import Table
from bitlens.workflows.inspect import COLUMNS, of_model, of_twin, summary, table

Rows = dict[tuple[str, str], dict[str, str]]

PARAMETERS = 128 * 64 + 64 * 64 + (64 * 192 + 192) + (64 * 64 + 64) + 2 * (64 * 256) + 256 + 64
PARAMETERS += 3 * 2 * 64
"""Of one block: tokens, positions, fused attention, its output, the MLP, three norms."""
NAME = "transformer.h.0.mlp"


@pytest.fixture(scope="module")
def folders(
    tiny_model: Callable[..., nn.Module],
    letters: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A GPT-2 of one block, and beside it one with the first matrix of the MLP larger by a tenth
    and half of the second, in which all are alike, zero; as bitlens would have made it."""
    root = tmp_path_factory.mktemp("inspected")
    model = tiny_model("gpt2", n_layer=1)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_proj.weight.fill_(0.5)
    for name in ("reference", "twin"):
        model.save_pretrained(root / name)
        letters.save_pretrained(root / name)
        with torch.no_grad():
            model.transformer.h[0].mlp.c_fc.weight.mul_(1.1)
            model.transformer.h[0].mlp.c_proj.weight[:, ::2] = 0
    matrices = {f"{NAME}.c_proj": {"bits": 4.25, "group": 64, "note": "damped"}}
    source = ModelSource(str(root / "reference"))
    record = {
        "compression": "gptq:bits=4,group=64",
        "reference": fingerprint(source, AutoConfig.from_pretrained(source.name)),
        "weights": weights_hash(root / "twin"),
        "matrices": matrices,
    }
    (root / "twin" / "bitlens.json").write_text(json.dumps(record))
    return root / "reference", root / "twin"


def study(model: Path, to: str = "nothing") -> Study:
    return audit_of(str(model), to, controls=())


def rows(found: Table) -> Rows:
    """By module and kind."""
    named = [dict(zip(COLUMNS, row, strict=True)) for row in found.rows]
    return {(row["module"], row["kind"]): row for row in named}


def test_a_model_is_shown_as_it_is_stored(folders: tuple[Path, Path]) -> None:
    """Format, bits and size of every parameter in the model's order; nothing is compared; the
    unembedding is the embedding's and counted there."""
    found = of_model(study(folders[0]))
    table = rows(found)
    assert [module for module, kind in table if kind != "bias"] == [
        "transformer.wte",
        "transformer.wpe",
        "transformer.h.0.ln_1",
        "transformer.h.0.attn.c_attn",
        "transformer.h.0.attn.c_proj",
        "transformer.h.0.ln_2",
        "transformer.h.0.mlp.c_fc",
        "transformer.h.0.mlp.c_proj",
        "transformer.ln_f",
        "lm_head",
    ]
    # 64 x 256 weights of 4 bytes.
    own = table[(f"{NAME}.c_fc", "block")]
    assert (own["format"], own["bits"], own["size"]) == ("float32", "32.00", "65.5 kB")
    head = table[("lm_head", "unembedding")]
    assert (head["note"], head["size"], head["format"]) == (
        "tied to transformer.wte.weight",
        "",
        "",
    )
    assert all(not row[name] for row in table.values() for name in ("group", "changed", "SQNR, dB"))
    size = f"{4 * PARAMETERS / 1000:.0f} kB"
    assert found.caption == (
        f"32.00 bits per weight over all {PARAMETERS:,} parameters, {size}. group: input columns "
        "that share a scale."
    )


def test_a_twin_is_compared_module_by_module(folders: tuple[Path, Path]) -> None:
    """A tenth more everywhere is an error of 0.1, 20 dB; of equal weights half zeroed is one of
    1/sqrt 2, 3 dB. Bits, group and note are those of the record beside the weights."""
    said: list[str] = []
    found = of_twin(study(folders[0], f"checkpoint:{folders[1]}"), said.append)
    table = rows(found)
    first, second = (table[(f"{NAME}.{part}", "block")] for part in ("c_fc", "c_proj"))
    assert (first["format"], first["bits"], first["group"]) == ("float32", "32.00", "")
    assert (first["changed"], first["SQNR, dB"]) == ("100.0%", "20.0")
    assert second == {
        "module": f"{NAME}.c_proj",
        "kind": "block",
        "format": "gptq:bits=4,group=64",
        "bits": "4.25",
        "group": "64",
        # 256 x 64 weights of 4.25 bits.
        "size": "8.7 kB",
        "changed": "50.0%",
        "SQNR, dB": "3.0",
        "note": "damped",
    }
    others = [
        row for key, row in table.items() if key[0] not in (first["module"], second["module"])
    ]
    assert all(row["changed"] in ("0.0%", "") and not row["SQNR, dB"] for row in others)
    assert table[("transformer.wte", "embedding")]["note"] == "as in the reference: embedding"
    assert table[("lm_head", "unembedding")]["note"] == "tied to transformer.wte.weight"
    matrix = 64 * 256
    bits = (32 * (PARAMETERS - matrix) + 4.25 * matrix) / PARAMETERS
    changed = 1.5 * matrix / PARAMETERS
    assert found.caption == (
        f"{bits:.2f} bits per weight over all {PARAMETERS:,} parameters, "
        f"{bits * PARAMETERS / 8000:.0f} kB when packed; {changed:.1%} of them changed; "
        f"{(32 + 4.25) / 2:.2f} bits per weight over what was compressed. group: input columns "
        "that share a scale."
    )
    assert said == [f"checkpoint:{folders[1]}: gptq:bits=4,group=64, run as dequantized weights."]


def test_an_identical_folder_may_be_looked_at(folders: tuple[Path, Path]) -> None:
    """That nothing was changed is what the table says, not an error."""
    found = of_twin(study(folders[0], f"checkpoint:{folders[0]}"), lambda line: None)
    assert {row["changed"] for row in rows(found).values()} == {"0.0%", ""}
    assert "; 0.0% of them changed. group" in (found.caption or "")


def test_errors_larger_than_the_weights_have_a_true_minus() -> None:
    """Ten times too large is an error of 9, -19.1 dB; a tied row counts nothing."""
    weight = torch.ones(4, 8)
    storage = Storage(format="rtn:bits=4", bits=4.0)
    row = measure("a", "block", weight, 10 * weight, storage=storage)
    made = table([row, tied("b", "unembedding", to="a.weight", storage=storage)])
    assert rows(made)[("a", "block")]["SQNR, dB"] == "−19.1"
    assert summary([row]) == (
        "4.00 bits per weight over all 32 parameters, 16 B when packed; 100.0% of them changed; "
        "4.00 bits per weight over what was compressed."
    )
    assert made.caption.startswith(summary([row])[:-1])  # type: ignore[union-attr]


def test_a_model_larger_than_memory_is_refused(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of it would be needed, too."""
    monkeypatch.setattr("bitlens.workflows.session.free_memory", lambda source: 1000)
    with pytest.raises(BitlensError, match="more than there is room for"):
        of_model(study(folders[0]))
