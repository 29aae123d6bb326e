"""Greedy continuations of texts by one whole model: batch by batch, with its cache of keys and
values, until a stop string, the end of the text, or a budget of tokens."""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from bitlens.errors import ModelError

Ending = Literal["stop", "end", "budget"]
"""At a stop string; with the token that ends a text; or cut off."""


@dataclass(frozen=True)
class Generated:
    """What a model wrote after one text."""

    tokens: tuple[int, ...]
    """All it chose, that which ended it included."""
    text: str
    """Up to the first stop string, without special tokens."""
    ended: Ending


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How it is written, the same for all models that are compared."""

    until: tuple[str, ...]
    """Stop strings, none of them empty."""
    most: int
    """The budget: tokens at most."""
    config: GenerationConfig
    """The reference's: what ends a text, and a penalty for repetition where it has one."""


def context_ids(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> tuple[int, ...]:
    """The last `most` tokens of a text, with the special tokens that the tokenizer adds, unless it
    begins with BOS. Of a text without any: the token that ends texts, which a next one follows."""
    bos = tokenizer.bos_token
    added = not (bos and text.startswith(str(bos)))
    ids = tokenizer.encode(text, add_special_tokens=added, verbose=False)
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return tuple((ids or ([] if first is None else [int(first)]))[-most:])


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Sequence[tuple[int, ...]],
    writing: Writing,
) -> list[Generated]:
    """What the model writes after each context, all in one batch, padded on the left.

    The batch keeps its size until its last row has ended: which rows run together decides about
    rounding, and so, now and then, about a token. Each row is what the model would write alone but
    for that. ModelError where it computes no finite numbers: the first token would win.
    """
    width = max(map(len, contexts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    pad = 0 if pad is None else int(pad)
    rows = torch.tensor([[pad] * (width - len(c)) + list(c) for c in contexts])
    lengths = torch.tensor([len(c) for c in contexts])
    mask = torch.arange(width).ge(width - lengths[:, None]).long()
    config = copy.deepcopy(writing.config)
    # Settings of sampling, which nothing here does; they would only be warned of.
    config.update(do_sample=False, temperature=None, top_p=None, top_k=None, min_p=None)
    config.update(max_length=None, max_new_tokens=writing.most, pad_token_id=pad, use_cache=True)
    stops = [_Stops(tokenizer, writing.until, width)] if writing.until else []
    write: Any = model.generate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = write(
            input_ids=rows.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Finite()]),
            stopping_criteria=StoppingCriteriaList(stops),
        )
    ends = config.eos_token_id
    ending = set() if ends is None else set(ends) if isinstance(ends, list) else {int(ends)}
    own: list[list[int]] = written[:, width:].tolist()
    seen = stops[0].length.tolist() if stops else [0] * len(own)
    return [_ended(tokenizer, writing, row, n, ending) for row, n in zip(own, seen, strict=True)]


class _Finite(LogitsProcessor):
    """Logits as they are, if the largest of each row is a number."""

    def __call__(
        self,
        input_ids: Annotated[Tensor, "rows positions"],  # noqa: ARG002
        scores: Annotated[Tensor, "rows vocabulary"],
    ) -> Annotated[Tensor, "rows vocabulary"]:
        lost = int((~scores.amax(dim=-1).isfinite()).sum())
        if lost:
            raise ModelError(
                f"The model computes no finite logits in {lost} of {len(scores)} rows.",
                "a model that computes finite numbers.",
                "--compute float32, or a milder compression.",
            )
        return scores


class _Stops(StoppingCriteria):
    """Which rows have a stop string among their last tokens, and after how many they had one."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, until: Sequence[str], width: int
    ) -> None:
        self._tokenizer, self._until, self._width = tokenizer, until, width
        # A token holds a byte of it at least, and may begin before it and end after.
        self._window = 2 + max(len(stop.encode()) for stop in until)
        self.length = torch.zeros(0, dtype=torch.long)
        """`[rows]`: tokens up to the one that completed a stop string; 0: none has."""

    def __call__(
        self,
        input_ids: Annotated[Tensor, "rows positions"],
        scores: object,  # noqa: ARG002
        **_: object,
    ) -> Annotated[Tensor, "rows"]:
        own = input_ids[:, self._width :]
        last = self._tokenizer.batch_decode(own[:, -self._window :])
        found = torch.tensor([any(stop in text for stop in self._until) for text in last])
        if len(self.length) != len(found):
            self.length = torch.zeros(len(found), dtype=torch.long)
        self.length[found & (self.length == 0)] = own.shape[1]
        return (self.length > 0).to(input_ids.device)


def _ended(
    tokenizer: PreTrainedTokenizerBase,
    writing: Writing,
    row: list[int],
    stopped: int,
    ending: set[int],
) -> Generated:
    """A row without what follows its end, which is padding. `stopped`: tokens until a stop string;
    0: none came."""
    end = next((at + 1 for at, token in enumerate(row) if token in ending), len(row) + 1)
    how: Ending = "budget"
    if end <= len(row) and not 0 < stopped < end:
        how = "end"
    elif stopped:
        how = "stop"
    own = row[: stopped if how == "stop" else end]
    text = str(tokenizer.decode(own, skip_special_tokens=True))
    for stop in writing.until:
        text = text.split(stop)[0]
    return Generated(tuple(own), text, how)
