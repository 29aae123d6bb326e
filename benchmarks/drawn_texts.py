"""Texts of words drawn at random, and the tokenizer that reads each word as one token: what a model
with random weights is measured on."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def write_texts(folder: Path, vocabulary: int, documents: int, tokens: int) -> None:
    """So many documents of so many tokens as `texts.json`, and the tokenizer, in a model's
    folder."""
    words = {f"w{n}": n for n in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    drawn = np.random.default_rng(0).integers(0, vocabulary, (documents, tokens))
    texts = [" ".join(f"w{n}" for n in row) for row in drawn]
    (folder / "texts.json").write_text(json.dumps(texts))
