"""Documents token by token: which are shown, and what transformers says of every token."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from bitlens.analyses import predictions
from bitlens.config.study import Study
from bitlens.models.source import ModelSource
from bitlens.results.store import Store
from bitlens.workflows.audit import shown_documents
from bitlens.workflows.audit.run import run
from bitlens.workflows.audit.shown_documents import picks
from tests.support import tiny

CONTEXT, WINDOW = 48, 60
Row = dict[str, Any]


@pytest.fixture(scope="module")
def twin_folder(
    tiny_model: Callable[..., nn.Module],
    letters: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A checkpoint near the tiny Llama."""
    folder = tmp_path_factory.mktemp("twins") / "near"
    model = tiny_model("llama")
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    model.save_pretrained(folder)
    letters.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def store(
    llama: Path, twin_folder: Path, short_texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """Its audit, with BOS and documents of several windows, cut to sixty tokens where shown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shown_documents, "WINDOW", WINDOW)
        folder = tmp_path_factory.mktemp("shown") / "results"
        return run(study(llama, twin_folder, short_texts), folder, "audit", lambda line: None)


def study(llama: Path, twin_folder: Path, short_texts: Path) -> Study:
    """The tiny Llama beside the checkpoint, and noise."""
    return Study(
        models=(ModelSource(str(llama)),),
        compressions=(f"checkpoint:{twin_folder}",),
        controls=("noise",),
        analyses=("behaviour",),
        text=str(short_texts),
        tokens=0,
        context=CONTEXT,
        bos="yes",
    )


def table(store: Store, name: str, *, control: bool = False) -> list[Row]:
    """A table of the twin's cell, or of its control's."""
    (cell,) = (
        cell
        for cell in store.manifest()["cells"]
        if cell["compression"].startswith("noise") == control
    )
    found = store.read_cell_table(cell["id"], name)
    return [] if found is None else found.to_pylist()


@pytest.fixture(scope="module")
def oracle(
    llama: Path, twin_folder: Path, letters: PreTrainedTokenizerFast, short_texts: Path
) -> dict[str, list[tuple[int, np.ndarray, np.ndarray]]]:
    """By document and in its order, every token with both models' log-probabilities of it, by
    transformers alone: none before the first of a window, which BOS predicts."""
    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in (llama, twin_folder)]
    found: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {}
    for number, line in enumerate(short_texts.read_text().splitlines(), 1):
        ids = letters(json.loads(line)["text"], add_special_tokens=False)["input_ids"]
        tokens = found.setdefault(f"line {number}", [])
        for begin in range(0, len(ids), CONTEXT - 1):
            window = ids[begin : begin + CONTEXT - 1]
            given = torch.tensor([[letters.bos_token_id, *window]])
            with torch.no_grad():
                logits = [model(given).logits[0].double().numpy() for model in models]
            p, q = (log_softmax(of, axis=-1) for of in logits)
            tokens += [(token, p[at], q[at]) for at, token in enumerate(window)]
    return found


@pytest.mark.slow
def test_every_token_is_what_transformers_says(
    store: Store,
    oracle: dict[str, list[tuple[int, np.ndarray, np.ndarray]]],
    letters: PreTrainedTokenizerFast,
) -> None:
    """KL, the true token's probability and the five likeliest of both models, at every token that
    counts: what BOS predicts is not kept."""
    agree(store, oracle, letters, kept=True)


@pytest.mark.slow
def test_of_long_texts_documents_are_read_again(
    llama: Path,
    twin_folder: Path,
    short_texts: Path,
    oracle: dict[str, list[tuple[int, np.ndarray, np.ndarray]]],
    letters: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where too much would have to be kept a second sweep says the same of every token, and of what
    BOS predicts."""
    monkeypatch.setattr(shown_documents, "WINDOW", WINDOW)
    monkeypatch.setattr(predictions, "MOST_BYTES", 0)
    again = run(study(llama, twin_folder, short_texts), tmp_path / "out", "audit", lambda _: None)
    agree(again, oracle, letters, kept=False)


def agree(
    store: Store,
    oracle: dict[str, list[tuple[int, np.ndarray, np.ndarray]]],
    letters: PreTrainedTokenizerFast,
    *,
    kept: bool,
) -> None:
    """A store says of every token what transformers says."""
    names = {row["number"]: row["document"] for row in table(store, "documents")}
    seen: dict[str, list[Row]] = {}
    for row in table(store, "tokens"):
        seen.setdefault(names[row["number"]], []).append(row)
    assert seen.keys() == {row["document"] for row in table(store, "documents") if row["shown"]}
    for name, rows in seen.items():
        expected = oracle[name][:WINDOW]
        assert len(rows) == len(expected)
        for at, (row, (token, p, q)) in enumerate(zip(rows, expected, strict=True)):
            assert row["offset"] == at + at // (CONTEXT - 1) + 1
            assert row["token"] == letters.decode([token])
            if kept and not row["counts"]:
                assert at % (CONTEXT - 1) == 0
                assert (row["kl"], row["ids_reference"], row["target_twin"]) == (None, [], None)
                continue
            assert row["kl"] == pytest.approx(rel_entr(np.exp(p), np.exp(q)).sum(), abs=1e-5)
            # BOS predicts the first token of a window, and its position does not count.
            assert row["counts"] == (at % (CONTEXT - 1) > 0)
            for who, of in (("reference", p), ("twin", q)):
                first = np.argsort(-of, kind="stable")[:5]
                assert row[f"ids_{who}"] == first.tolist()
                assert row[f"top_{who}"] == [letters.decode([n]) for n in first]
                assert row[f"shares_{who}"] == pytest.approx(np.exp(of[first]), abs=1e-5)
                assert row[f"target_{who}"] == pytest.approx(np.exp(of[token]), abs=1e-5)


@pytest.mark.slow
def test_every_document_has_the_mean_of_its_tokens(
    store: Store, oracle: dict[str, list[tuple[int, np.ndarray, np.ndarray]]]
) -> None:
    """Of every position that counts, whether it is shown or not; and all of them together are the
    estimates."""
    rows = table(store, "documents")
    assert len(rows) == len(oracle) == 24
    for row in rows:
        counted = [of for at, of in enumerate(oracle[row["document"]]) if at % (CONTEXT - 1)]
        kl = [rel_entr(np.exp(p), np.exp(q)).sum() for _, p, q in counted]
        assert row["positions"] == len(counted)
        assert row["kl"] == pytest.approx(np.mean(kl), rel=1e-4)
        assert row["changed"] == sum(p.argmax() != q.argmax() for _, p, q in counted)
    positions = sum(row["positions"] for row in rows)
    estimates = {
        row["metric"]: row["value"]
        for row in store.read_table("estimates").to_pylist()
        if not row["compression"].startswith("noise")
    }
    assert sum(row["kl"] * row["positions"] for row in rows) / positions == pytest.approx(
        estimates["kl"]
    )
    changed = sum(row["changed"] for row in rows)
    assert 1 - changed / positions == pytest.approx(estimates["same_top"])


@pytest.mark.slow
def test_a_control_has_its_documents_and_shows_none(store: Store) -> None:
    """It is there to be compared with, not to be read."""
    rows = table(store, "documents", control=True)
    assert len(rows) == 24
    assert not any(row["shown"] for row in rows)
    assert table(store, "tokens", control=True) == []


def test_worst_median_and_random_by_hand() -> None:
    """Of 60 documents three of each kind: the farthest apart, those around the middle of the
    order, and a draw that is the same for every twin."""
    corpus = tiny.corpus([[5 + n] for n in range(60)])
    number = np.arange(60)
    rising, falling = number / 60, 1 - number / 60
    up, down = (picks({"number": number, "kl": kl}, corpus, seed=0) for kl in (rising, falling))

    def of(kind: str, found: dict[int, list[str]]) -> list[int]:
        return [n for n, why in found.items() if kind in why]

    assert of("worst", up) == [59, 58, 57]
    assert of("worst", down) == [0, 1, 2]
    assert of("median", up) == [31, 30, 29]
    assert of("median", down) == [28, 29, 30]
    assert len(of("random", up)) == 3
    assert sorted(of("random", up)) == sorted(of("random", down))
    other = picks({"number": number, "kl": rising}, corpus, seed=1)
    assert sorted(of("random", other)) != sorted(of("random", up))


def test_copies_are_shown_once() -> None:
    """The same text five times over is one document to read, and ties are in order of number."""
    corpus = tiny.corpus([[[*range(9, 30)]] for _ in range(5)] + [[20 + n] for n in range(7)])
    number = np.arange(12)
    found = picks({"number": number, "kl": np.ones(12)}, corpus, seed=0)
    assert set(found) & set(range(5)) <= {0}
    assert [n for n, why in found.items() if "worst" in why] == [0, 5]


def test_few_documents_are_all_shown() -> None:
    """A single document is the worst, the median and any."""
    corpus = tiny.corpus([[8]])
    found = picks({"number": np.array([0]), "kl": np.array([0.5])}, corpus, seed=0)
    assert found == {0: ["worst", "median", "random"]}
