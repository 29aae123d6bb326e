"""Patterns of heads: what is stored is what the models pay, on texts that are the same for all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr
from transformers import AutoModelForCausalLM, AutoTokenizer

from bitlens.config.study import audit_of
from bitlens.engine.runs import REFERENCE
from bitlens.results.records import Value
from bitlens.results.store import Store
from bitlens.workflows.audit import head_patterns, lens_grids
from bitlens.workflows.audit.head_patterns import STEPS, ShownText, _Patterns, moved
from bitlens.workflows.audit.run import run
from bitlens.workflows.compress import save

TWIN = "rtn:bits=3"


def silent(line: str) -> None:
    pass


def tables(store: Store, twin: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is stored of a twin's patterns, and of the texts."""
    (cell,) = [c for c in store.manifest()["cells"] if c["compression"] == twin]
    found = [store.read_cell_table(cell["id"], name) for name in ("patterns", "pattern_texts")]
    rows = [[] if table is None else table.to_pylist() for table in found]
    return rows[0], rows[1]


@pytest.fixture(scope="module")
def store(llama: Path, short_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The attention of a tiny model and of its twin, beside noise."""
    study = audit_of(
        str(llama), TWIN, text=str(short_texts), tokens=900, analyses=("attention",), bos="yes"
    )
    return run(study, tmp_path_factory.mktemp("patterns") / "out", "audit", silent)


@pytest.mark.slow
def test_patterns_are_those_of_transformers(store: Store, llama: Path, tmp_path: Path) -> None:
    """Every stored share is what transformers' eager attention pays, in both models, to half a
    step; and every head of every block is there for every text."""
    save(audit_of(str(llama), TWIN, controls=()), tmp_path / "twin", silent)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    number = {tokenizer.decode([n]): n for n in range(len(tokenizer))}
    assert len(number) == len(tokenizer)
    rows, texts = tables(store, TWIN)
    of = {"reference": llama, "twin": tmp_path / "twin"}
    for who, folder in of.items():
        model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32
        )
        heads = model.config.num_attention_heads * model.config.num_hidden_layers
        assert len(rows) == heads * len(texts)
        for text in texts:
            ids = [number[token] for token in text["tokens"]]
            with torch.no_grad():
                pays = model(torch.tensor([ids]), output_attentions=True).attentions
            lower = np.tril_indices(len(ids))
            for row in (row for row in rows if row["text"] == text["text"]):
                expected = pays[row["block"]][0, row["head"]].numpy()[lower]
                assert np.abs(np.array(row[who]) / STEPS - expected).max() < 0.5 / STEPS + 1e-5


@pytest.mark.slow
def test_texts_are_two_documents_and_one_that_repeats(store: Store) -> None:
    """Beginnings of different documents, then random tokens said twice, each after BOS."""
    _, texts = tables(store, TWIN)
    assert len(texts) == 3
    assert len({text["document"] for text in texts}) == 3
    assert {text["offset"] for text in texts} == {0}
    assert len({text["tokens"][0] for text in texts}) == 1
    said = texts[2]["tokens"][1:]
    period = len(said) // 2
    assert said[:period] == said[period:]
    assert len(set(said)) == period
    assert "twice" in texts[2]["document"]


@pytest.mark.slow
def test_controls_have_none(store: Store) -> None:
    """Patterns are shown of the twins that were asked for."""
    for cell in store.manifest()["cells"]:
        expected = cell["compression"] == TWIN
        assert (store.read_cell_table(cell["id"], "patterns") is not None) == expected


def test_how_far_heads_moved_is_read_from_their_values() -> None:
    """By block and head; means over heads and other metrics are no head's."""
    rows = [("jsd", "pattern.1", "head 2", 0.5), ("jsd", "pattern.1", "", 0.4),
            ("tv", "pattern.1", "head 2", 0.3), ("jsd", "pattern", "", 0.2),
            ("jsd", "pattern.0", "head 3", None)]  # fmt: skip
    values = [Value(metric=m, site=s, item=i, value=v) for m, s, i, v in rows]
    assert moved(values) == {(1, 2): 0.5}


def test_a_head_that_copies_is_shown_however_little_it_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three heads two may be shown: the one that moved most, and the one that copies."""
    monkeypatch.setattr(head_patterns, "MOST_HEADS", 2)
    text = ShownText(tokens=np.arange(5), document="x", offset=0, period=2)
    pays = torch.zeros(1, 3, 5, 5)
    pays[..., 0] = 1.0
    # Head 2 looks one token after the same one before: from place 4 at place 3, from 3 at 2.
    pays[0, 2, 3:] = torch.eye(5)[2:4]
    read = _Patterns(texts=[text], far={"t": {(0, 0): 0.9, (0, 1): 0.8, (0, 2): 0.1}})
    for name in (REFERENCE, "t"):
        read.add(name, 0, pays, torch.zeros(5, dtype=torch.int64))
    columns = read.table("t").columns
    assert columns["head"] == [0, 2]
    first = [255, 255, 0, 255, 0, 0]
    assert columns["reference"][0].tolist() == [*first, 255, 0, 0, 0, 255, 0, 0, 0, 0]
    assert columns["twin"][1].tolist() == [*first, 0, 0, 255, 0, 0, 0, 0, 255, 0]


@pytest.mark.slow
def test_a_lens_grid_is_what_transformers_says(store: Store, llama: Path, tmp_path: Path) -> None:
    """After every block, at the last tokens of both documents: the first token of either model,
    and how far apart the two are. Transformers hands out the last state with its norm."""
    save(audit_of(str(llama), TWIN, controls=()), tmp_path / "twin", silent)
    models = [AutoModelForCausalLM.from_pretrained(f).double() for f in (llama, tmp_path / "twin")]
    tokenizer = AutoTokenizer.from_pretrained(llama)
    number = {tokenizer.decode([n]): n for n in range(len(tokenizer))}
    (cell,) = [c for c in store.manifest()["cells"] if c["compression"] == TWIN]
    table = store.read_cell_table(cell["id"], "grid")
    assert table is not None
    _, texts = tables(store, TWIN)
    rows = table.to_pylist()
    assert {row["text"] for row in rows} == {0, 1}
    for text in texts[:2]:
        ids = [number[token] for token in text["tokens"]]
        lenses = [_lenses(model, torch.tensor([ids])) for model in models]
        mine = [row for row in rows if row["text"] == text["text"]]
        assert len(mine) == len(lenses[0]) * min(lens_grids.WIDE, len(ids) - 1)
        assert max(row["place"] for row in mine) == len(ids) - 1
        for row in mine:
            p, q = (of[row["block"]][row["place"] - 1] for of in lenses)
            assert row["token"] == text["tokens"][row["place"]]
            assert row["top_reference"] == tokenizer.decode([int(p.argmax())])
            assert row["top_twin"] == tokenizer.decode([int(q.argmax())])
            assert row["kl"] == pytest.approx(rel_entr(np.exp(p), np.exp(q)).sum(), abs=1e-5)


def _lenses(model: Any, given: torch.Tensor) -> list[np.ndarray]:
    """Log-probabilities after every block."""
    with torch.no_grad():
        *states, last = model(given, output_hidden_states=True).hidden_states[1:]
        normed = [*(model.model.norm(state) for state in states), last]
        return [log_softmax(model.lm_head(h)[0].numpy(), axis=-1) for h in normed]


def test_of_many_blocks_twelve_are_shown() -> None:
    """Spread evenly, the first and the last among them; of few all."""
    assert lens_grids.depths(4) == [0, 1, 2, 3]
    assert lens_grids.depths(23) == [*range(0, 23, 2)]
