"""At which sparsity does pruning do as much harm as another twin?"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from bitlens.compression import parse_spec, sparsity_search
from bitlens.compression.compression import CompressedMatrix, Compression, DataFree
from bitlens.compression.harm import Harm, HarmMeasure
from bitlens.compression.methods.prune import Prune
from bitlens.compression.sparsity_search import (
    FOUND,
    TOLERANCE,
    SparsitySearch,
    matched,
    recall,
    remember,
)
from bitlens.compression.twin import Twin
from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from bitlens.results.records import Check
from tests.support import tiny

DOCUMENTS = tiny.corpus([[40], [40], [40], [33], [21]], seed=3)
WHOLE = 1 << 30
"""Bytes for hidden states: all in one wave."""


def prune(text: str) -> Prune:
    compression = parse_spec(text)
    assert isinstance(compression, Prune)
    return compression


def made(layout: Layout, prunings: Sequence[Compression]) -> list[Twin]:
    return [tiny.twin(layout, one) for one in prunings]


def found(
    layout: Layout, asked: Prune, twin: Twin, corpus: Corpus = DOCUMENTS, memory: int = WHOLE
) -> tuple[Prune, Check]:
    measure = HarmMeasure(layout, corpus, 0, batch_tokens=96, hidden_bytes=memory)
    return matched(asked, twin, partial(made, layout), measure)


@torch.no_grad()
def harm(twin: Twin, corpus: Corpus = DOCUMENTS) -> dict[str, float]:
    """Mean KL from the reference and perplexity over the reference's, from the whole models, row
    by row; the first position of a row does not count, the last predicts nothing."""
    before, after = twin.layout.model, twin.model()
    kl, loss, count = 0.0, 0.0, 0
    for row in corpus.rows:
        tokens = torch.from_numpy(row).long()[None]
        p = before(tokens, use_cache=False).logits[0, 1:-1].double().log_softmax(-1)
        q = after(tokens, use_cache=False).logits[0, 1:-1].double().log_softmax(-1)
        target = tokens[0, 2:, None]
        kl += float((p.exp() * (p - q)).sum())
        loss += float((p - q).gather(1, target).sum())
        count += len(target)
    return {"kl": kl / count, "perplexity": loss / count}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("on", ["kl", "perplexity"])
@pytest.mark.parametrize("text", ["rtn:bits=3", "noise:like=[rtn:bits=3]"])
def test_it_does_as_much_harm(family: str, on: str, text: str) -> None:
    """Measured on whole models, position by position, the two are within the tolerance."""
    layout = tiny.speaker(family)
    documents = tiny.spoken(layout, (40, 40, 40, 33, 21), seed=1)
    twin = tiny.twin(layout, text)
    pruning, check = found(layout, prune(f"prune:match=[{text}],on={on}"), twin, documents)
    assert pruning.match is None
    assert pruning.sparsity is not None
    target, own = harm(twin, documents)[on], harm(tiny.twin(layout, pruning), documents)[on]
    assert target > 0
    assert own == pytest.approx(target, rel=1.001 * TOLERANCE)
    assert check.passed
    assert check.name == f"prune:match=[{text}]{',on=perplexity' * (on != 'kl')}: matched"
    assert f"{own:.4g} against {target:.4g} nats" in check.detail
    assert check.detail.endswith(f"on {sum(map(len, documents.rows)) - 10} positions")


@pytest.mark.slow
def test_candidates_are_calibrated_together() -> None:
    """Wanda at every sparsity of a round is asked for at once: calibration goes side by side."""
    layout, asked = tiny.layout("llama"), list[int]()

    def build(prunings: Sequence[Compression]) -> list[Twin]:
        asked.append(len(prunings))
        assert all(isinstance(one, Prune) and one.by == "wanda" for one in prunings)
        assert not any(one.parts for one in prunings)
        return made(layout, prunings)

    twin = tiny.twin(layout, "gptq:bits=2")
    wanted = prune("prune:match=[gptq:bits=2],by=wanda")
    measure = HarmMeasure(layout, DOCUMENTS, 0, batch_tokens=96, hidden_bytes=WHOLE)
    pruning, check = matched(wanted, twin, build, measure)
    assert asked[0] == len(sparsity_search.FIRST)
    assert check.passed
    assert harm(tiny.twin(layout, pruning))["kl"] == pytest.approx(harm(twin)["kl"], rel=0.011)


@pytest.mark.slow
def test_memory_changes_nothing() -> None:
    """One wave, or a wave for every batch."""
    layout = tiny.layout("llama")
    wanted, twin = prune("prune:match=[rtn:bits=3]"), tiny.twin(layout, "rtn:bits=3")
    assert found(layout, wanted, twin) == found(layout, wanted, twin, memory=1)


@pytest.mark.parametrize("text", ["nothing", "rtn:bits=8"])
def test_a_twin_that_does_no_harm_cannot_be_matched(text: str) -> None:
    """Nothing at all, and rounding of weights that are on the grid already."""
    model = tiny.build("llama")
    on_grid = tiny.twin(Layout(model), "rtn:bits=8,scope=tensor").model()
    layout = Layout(on_grid)
    text = text if text == "nothing" else "rtn:bits=8,scope=tensor"
    twin = tiny.twin(layout, text)
    assert harm(twin)["kl"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(BitlensError, match=r"No sparsity above .* does as little harm") as caught:
        found(layout, prune(f"prune:match=[{text}]"), twin)
    assert caught.value.expected == "a twin that does some harm."


def test_one_that_cannot_be_met_is_said_not_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one coarse round the nearest is taken, and the check has failed."""
    monkeypatch.setattr(sparsity_search, "ROUNDS", 1)
    monkeypatch.setattr(sparsity_search, "FIRST", (0.1, 0.9))
    layout = tiny.layout("llama")
    pruning, check = found(
        layout, prune("prune:match=[rtn:bits=3]"), tiny.twin(layout, "rtn:bits=3")
    )
    assert pruning.sparsity in (0.1, 0.9)
    assert check.passed is False
    assert "% apart" in check.detail


@dataclass(frozen=True)
class Explode(DataFree):
    """Weights that are finite, whose products are not."""

    name: ClassVar[str] = "explode"

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        return CompressedMatrix(matrix.weight.float() * 1e30, 32.0)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [(tiny.Refuse(at="layers.1"), "will not do"), (Explode(), "finite")],
)
def test_a_twin_that_cannot_be_run_is_an_error(broken: Compression, reason: str) -> None:
    """With the reason; it is not taken for one that does no harm."""
    layout = tiny.layout("llama")
    with pytest.raises(BitlensError, match=reason):
        found(layout, prune("prune:match=[rtn:bits=3]"), tiny.twin(layout, broken))


def test_harm_on_perplexity_is_what_it_grows_by() -> None:
    """3 nats after 2 are a ratio of e: 1 nat. What is no number is more than any harm."""
    assert Harm(kl=math.nan, loss=math.nan).on("kl", 2.0) == math.inf
    assert Harm(kl=0.5, loss=3.0).on("perplexity", 2.0) == 1.0
    assert Harm(kl=0.5, loss=3.0).on("kl", 2.0) == 0.5


def test_the_next_sparsities_are_where_the_logarithms_meet() -> None:
    """Harms of 0.01 and 0.04 at 0.2 and 0.4: 0.02 lies half way, 0.3, and a tenth of the gap to
    either side; below the first, where there is nothing to divide by, in the middle."""
    assert sparsity_search._closer({0.0: 0.0, 0.2: 0.01, 0.4: 0.04, 1.0: 1e9}, 0.02) == [
        0.28,
        0.3,
        0.32,
    ]
    assert sparsity_search._closer({0.0: 0.0, 0.2: 0.01, 1.0: 1e9}, 0.005) == [0.08, 0.1, 0.12]


def test_settings_besides_the_sparsity_stay() -> None:
    """Scope, and what is excluded."""
    layout = tiny.layout("llama")
    wanted = prune("prune:match=[rtn:bits=3],scope=row,exclude=[o_proj]")
    pruning, _ = found(layout, wanted, tiny.twin(layout, "rtn:bits=3"))
    assert replace(pruning, sparsity=None, match=wanted.match) == wanted


def test_what_was_found_is_read_back(tmp_path: Path) -> None:
    """The sparsity to the last digit, and the check."""
    asked = prune("prune:match=[rtn:bits=3],scope=row")
    pruning = replace(asked, match=None, sparsity=0.1 + 0.2)
    check = Check("matched", True, "sparsity 0.3")
    assert recall(tmp_path / "it", asked) is None
    remember(tmp_path / "it", {"weights": "0123"}, pruning, check)
    assert recall(tmp_path / "it", asked) == (pruning, check)
    assert json.loads((tmp_path / "it" / FOUND).read_text())["weights"] == "0123"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"sparsity": 0.3}', '{"sparsity": "x", "check": {}}',
     '{"sparsity": 3, "check": {"name": "", "passed": true, "detail": ""}}',
     '{"sparsity": 0.3, "check": {"name": ""}}', '{"sparsity": 0.3, "check": 4}'],
)  # fmt: skip
def test_what_cannot_be_read_was_not_found(tmp_path: Path, text: str) -> None:
    (tmp_path / FOUND).write_text(text)
    assert recall(tmp_path, prune("prune:match=[rtn:bits=3]")) is None


def test_a_sparsity_is_recalled_where_harm_was_measured_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not by an audit in float32 where one that multiplied in 16 bits had found it."""
    wanted, layout = prune("prune:match=[rtn:bits=3]"), tiny.layout("llama")
    folders = []

    def recalled(folder: Path, _prune: Prune) -> tuple[Prune, Check]:
        folders.append(folder)
        return prune("prune:sparsity=0.5"), Check("found", True, "close")

    monkeypatch.setattr("bitlens.compression.sparsity_search.recall", recalled)
    for paired in (False, True, False):
        layout.paired = paired
        search = SparsitySearch(
            loaded=SimpleNamespace(fingerprint="weights", attention="eager"),  # type: ignore[arg-type]
            layout=layout,
            evaluation=SimpleNamespace(token_hash="text"),  # type: ignore[arg-type]
            seed=0,
            batch_tokens=64,
            memory=1 << 20,
            log=lambda _: None,
            report=lambda _: None,
            calibrator=None,  # type: ignore[arg-type]
        )
        search.resolve(wanted, lambda found: [None for _ in found], lambda _: {})  # type: ignore[misc]
    assert folders[0] == folders[2] != folders[1]
