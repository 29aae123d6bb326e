"""How does the embedded model cut text into tokens?

A byte-level BPE, so every text round-trips exactly and none is ever unknown. It puts `<|bos|>`
before each text by default, as Llama tokenizers do, so whoever reads this model has to treat
that position as carefully as in a large one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tools.demo_model.corpus import Document

BOS = "<|bos|>"
EOS = "<|eos|>"
N_SPECIAL = 2
"""Special tokens take the first ids, so ordinary ones are `range(N_SPECIAL, n_vocabulary)`."""


def train_tokenizer(
    documents: Iterable[Document], n_vocabulary: int, context: int
) -> PreTrainedTokenizerFast:
    """Learn the merges from the training documents only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((document.text for document in documents), trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> NDArray[np.int64]:
    """The document's own tokens, without BOS; each window of it gets one later."""
    ids = tokenizer.encode(document.text, add_special_tokens=False, verbose=False)
    return np.asarray(cast(list[int], ids), dtype=np.int64)
