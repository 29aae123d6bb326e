"""Contexts, firings and directions of features: what is stored is what models and SAE do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from bitlens.config.study import Study, audit_of
from bitlens.results.store import Store
from bitlens.workflows.audit import feature_contexts
from bitlens.workflows.audit.feature_contexts import AFTER, BEFORE, BINS, PAIRS, STEPS, _firings
from bitlens.workflows.audit.feature_places import MOST
from bitlens.workflows.audit.run import run
from bitlens.workflows.compress import save
from bitlens.workflows.session import Session

pytestmark = pytest.mark.slow
TWIN = "rtn:bits=3"
LATENTS = 16


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def sae(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SAE behind block 1, of the plain kind."""
    folder = tmp_path_factory.mktemp("sae") / "sae"
    folder.mkdir()
    draw = torch.Generator().manual_seed(5)
    width = json.loads((llama / "config.json").read_text())["hidden_size"]
    w_dec = nn.functional.normalize(torch.randn(LATENTS, width, generator=draw), dim=1)
    tensors = {"W_enc": w_dec.T.contiguous(), "W_dec": w_dec, "b_dec": torch.zeros(width),
               "b_enc": torch.full((LATENTS,), -0.1)}  # fmt: skip
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": width, "d_sae": LATENTS,
              "hook_name": "blocks.1.hook_resid_post"}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def study(llama: Path, short_texts: Path, sae: Path) -> Study:
    """The features of a tiny model and of its twin."""
    fields: dict[str, Any] = {"controls": (), "allow": ("poor-fit",), "positions": "all"}
    return audit_of(str(llama), TWIN, saes=(str(sae),), text=str(short_texts), tokens=900,
                    analyses=("features",), **fields)  # fmt: skip


@pytest.fixture(scope="module")
def tables(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By name, the rows of what the twin's cell shows."""
    store: Store = run(study, tmp_path_factory.mktemp("contexts") / "out", "audit", silent)
    (cell,) = store.manifest()["cells"]
    found = {n: store.read_cell_table(cell["id"], n)
             for n in ("features", "contexts", "firings", "directions")}  # fmt: skip
    return {name: table.to_pylist() for name, table in found.items() if table is not None}


@pytest.fixture(scope="module")
def codes(
    study: Study, llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[np.ndarray]]:
    """By model, the codes of every row of the corpus by transformers alone: `[tokens, latents]`."""
    twin = tmp_path_factory.mktemp("twin") / "twin"
    save(audit_of(str(llama), TWIN, controls=()), twin, silent)
    (folder,) = study.models[0].saes
    w_dec = nn.functional.normalize(
        torch.randn(LATENTS, _width(llama), generator=torch.Generator().manual_seed(5)), dim=1
    )
    assert Path(str(folder)).is_dir()
    found: dict[str, list[np.ndarray]] = {}
    for who, path in (("reference", llama), ("twin", twin)):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        for row in Session.open(study, silent).corpus.rows:
            with torch.no_grad():
                ids = torch.from_numpy(np.array(row, dtype=np.int64))[None]
                states: Tensor = model(ids, output_hidden_states=True).hidden_states[2][0]
            found.setdefault(who, []).append((states @ w_dec.T - 0.1).clamp(min=0).numpy())
    return found


def _width(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["hidden_size"])


def test_activations_around_a_top_position_are_the_models(
    study: Study, tables: dict[str, Any], codes: dict[str, list[np.ndarray]]
) -> None:
    """Every token of every context has the activation that transformers and the SAE give it, in
    both models; the peak is the position, the text is the row's."""
    session = Session.open(study, silent)
    corpus = session.corpus
    assert len(tables["contexts"]) > 2 * LATENTS
    for row in tables["contexts"]:
        document = corpus.document_names.index(row["document"])
        number = session.texts.row(document, row["offset"])
        place = row["offset"] - int(corpus.starts[number])
        begin, end = max(0, place - BEFORE), min(len(corpus.rows[number]), place + AFTER + 1)
        assert row["peak"] == place - begin
        tokens = [session.texts.token(int(t)) for t in corpus.rows[number][begin:end]]
        assert row["tokens"] == tokens
        for who in ("reference", "twin"):
            expected = codes[who][number][begin:end, row["latent"]]
            assert row[who] == pytest.approx(expected.tolist(), abs=2e-5)


def test_read_again_they_are_the_same(
    study: Study, tables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a text too long for its codes to be kept a second sweep finds what they say."""
    monkeypatch.setattr("bitlens.analyses.features.codes.MOST_BYTES", 0)
    monkeypatch.setattr(feature_contexts, "few", lambda _: MOST)
    store: Store = run(study, tmp_path / "out", "audit", silent)
    (cell,) = store.manifest()["cells"]
    table = store.read_cell_table(cell["id"], "contexts")
    assert table is not None
    for again, row in zip(table.to_pylist(), tables["contexts"], strict=True):
        for who in ("reference", "twin"):
            assert again.pop(who) == pytest.approx(row[who], abs=2e-5)
        assert again == {name: of for name, of in row.items() if name in again}


def test_ranks_are_among_all_positions(
    tables: dict[str, Any], codes: dict[str, list[np.ndarray]]
) -> None:
    """A context's rank counts the positions of the whole text where its model fires higher."""
    for row in tables["contexts"]:
        everywhere = np.concatenate([of[:, row["latent"]] for of in codes[row["found"]]])
        higher = int((everywhere > row[row["found"]][row["peak"]] + 1e-5).sum())
        assert higher <= row["rank"] <= higher + 1


def test_every_active_feature_has_contexts(tables: dict[str, Any]) -> None:
    """Of both models, and firings and a direction beside."""
    active = {row["latent"] for row in tables["features"]}
    assert len(active) > LATENTS // 2
    for name in ("contexts", "firings", "directions"):
        assert {row["latent"] for row in tables[name]} == active, name
    assert {row["found"] for row in tables["contexts"]} == {"reference", "twin"}


def test_a_direction_is_read_by_the_norm_and_the_unembedding(
    tables: dict[str, Any], llama: Path
) -> None:
    """The same tokens, and by as much, as transformers' own last modules give the direction."""
    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    w_dec = nn.functional.normalize(
        torch.randn(LATENTS, _width(llama), generator=torch.Generator().manual_seed(5)), dim=1
    )
    with torch.no_grad():
        logits = model.lm_head(model.model.norm(w_dec))
    for row in tables["directions"]:
        ordered = logits[row["latent"]].sort(descending=True)
        assert row["up_by"] == pytest.approx(ordered.values[:5].tolist(), abs=1e-5)
        assert row["down_by"] == pytest.approx(ordered.values.flip(0)[:5].tolist(), abs=1e-5)
        assert row["up"] == [tokenizer.decode([int(t)]) for t in ordered.indices[:5]]


def test_firings_by_hand() -> None:
    """Of four positions the reference fires at three and the twin at three: shares of the largest,
    rounded up, and counts by twelfths of it."""
    reference = (np.array([3, 5, 9]), np.array([6.0, 0.01, 3.0]))
    twin = (np.array([5, 7, 9]), np.array([2.0, 1.0, 3.0]))
    found = _firings(reference, twin)
    assert (found["top"], found["positions"]) == (6.0, 4)
    pairs = set(zip(found["reference"].tolist(), found["twin"].tolist(), strict=True))
    assert pairs == {(255, 0), (1, 85), (0, 43), (128, 128)}
    assert found["bins_reference"].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert found["bins_twin"].tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]


def test_few_pairs_of_many_hold_both_ends() -> None:
    """Of a thousand positions 24 are kept, the strongest and the weakest of the reference's."""
    at, value = np.arange(1000), np.linspace(0.1, 50, 1000)
    found = _firings((at, value), (at, value / 2))
    assert len(found["reference"]) == len(found["twin"]) == PAIRS
    assert (found["reference"].max(), found["reference"].min()) == (STEPS, 1)
    assert found["bins_reference"].sum() == found["bins_twin"].sum() == found["positions"] == 1000
    assert found["bins_twin"][BINS // 2 :].sum() == 0
