"""The model that ships is the one the card describes."""

import json
from pathlib import Path

import pytest
import torch

from bitlens.demo import evaluation_path, model_path
from tools.demo_model.corpus import read_documents
from tools.demo_model.measure import (
    Subject,
    bits_per_byte,
    divergence,
    induction,
    load,
    previous_token,
)

BUDGET = 20 * 2**20
"""Model and texts; two dictionaries of about 2 MB each are to come beside them."""


@pytest.fixture(scope="module")
def subject() -> Subject:
    return load(model_path())


def test_folder_is_small_and_safe() -> None:
    """Within the size budget, and no file that runs code when it is opened."""
    files = [
        p for p in model_path().parent.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ]
    shipped = [p for p in files if {"bitlens-demo", "texts"} & set(p.parts)]
    assert sum(p.stat().st_size for p in shipped) <= BUDGET
    assert {p.suffix for p in shipped} <= {".safetensors", ".json", ".jsonl", ".md", ""}
    assert evaluation_path().stat().st_size >= 1_000_000


def test_tokenizer_adds_bos_and_round_trips(subject: Subject) -> None:
    """BOS comes first by default, and any text survives."""
    for text in ("def f(x):\n\treturn x  # é 漢字 😀\r\n", " a , b .  c", "\x00\x7f", ""):
        ids = subject.tokenizer(text)["input_ids"]
        assert ids[0] == subject.bos
        assert subject.bos not in ids[1:]
        assert subject.tokenizer.decode(ids, skip_special_tokens=True) == text


def test_architecture_suits_group_scales(subject: Subject) -> None:
    """Groups of 128 divide every block linear; weights are fp32 and tied."""
    assert subject.model.config.tie_word_embeddings
    for parameter in subject.model.parameters():
        assert parameter.dtype == torch.float32
        assert all(size % 128 == 0 for size in parameter.shape)


@pytest.mark.slow
@torch.inference_mode()
def test_it_reads_held_out_files(subject: Subject) -> None:
    """On a sample of held-out files it needs at most three quarters of what xz needs."""
    documents = [d for d in read_documents(evaluation_path()) if 4_000 < len(d.text) < 12_000]
    assert bits_per_byte(subject, documents[::6])["share_of_xz"].value <= 0.75


@pytest.mark.slow
@torch.inference_mode()
def test_it_has_induction_heads(subject: Subject) -> None:
    """Two heads or more look at what followed, and copying is then easy."""
    found = induction(subject)
    assert sum(score.low >= 0.5 for score in found["heads"].values()) >= 2
    assert all(score.high < 0.1 for score in found["beside"].values())
    assert found["second_over_first"].high <= 0.4


@pytest.mark.slow
@torch.inference_mode()
def test_it_has_a_previous_token_head(subject: Subject) -> None:
    """At least one head looks one token back on ordinary held-out text."""
    found = previous_token(subject, read_documents(evaluation_path())[:30])
    assert max(score.value for score in found.values()) >= 0.5


@pytest.mark.slow
@torch.inference_mode()
def test_eight_bits_are_harmless_and_three_are_not(subject: Subject) -> None:
    """A sample of the card's divergence: an order of magnitude lies between the two."""
    documents = [d for d in read_documents(evaluation_path()) if 3_000 < len(d.text) < 6_000][:5]
    assert divergence(subject, documents, 8).high < 0.005
    assert divergence(subject, documents, 3).low > 0.05


def test_figures_belong_to_the_card() -> None:
    """The card's figures ship as strict JSON beside the weights."""
    figures = json.loads(Path(model_path() / "figures.json").read_text())
    assert figures["bits_per_byte"]["bytes"] >= 1_000_000
