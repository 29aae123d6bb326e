"""Circuits from an audit to its page, on the model that was built by hand."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

import bitlens
from tests.support import planted_models as planted


@pytest.mark.slow
def test_circuits_from_an_audit_to_its_page(tmp_path: Path) -> None:
    """A model lent as an object and its tokenizer of 32 words: the task that it does has numbers,
    a section and a chart; the one that its tokenizer has no words for has a reason, and no twin is
    said to have lost it."""
    made = Tokenizer(WordLevel({f"w{n}": n for n in range(planted.SIZE)}, unk_token="w2"))
    made.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    texts = [" ".join(f"w{2 + (n * k) % 29}" for n in range(1, 9)) for k in range(1, 25)]
    audit = bitlens.audit(
        planted.copier().model,
        tokenizer=tokenizer,
        to=["rtn:bits=3"],
        controls=(),
        tasks=["induction", "ioi"],
        analyses=["causal"],
        text=texts,
        out=tmp_path / "out",
    )
    frame = audit.frame(metric="causal.gap_kept").set_index("item")
    assert frame.loc["induction", "value"] > 0.5
    assert "0 pairs of prompts" in frame.loc["ioi", "reason"]
    page = (audit.root / "report.html").read_text()
    assert "The circuit block by block" in page
    assert "What every node does in the twin" in page
