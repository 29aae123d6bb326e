"""Comparison of two models in kind, before any weight is read."""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from bitlens.errors import ModelError
from bitlens.models.load import Loaded

UNREAD = re.compile(
    r"_.*|architectures|auto_map|model_type|dtype|torch_dtype|transformers_version"
    r"|quantization_config|use_cache|return_dict|chunk_size_feed_forward|output_.*|id2label"
    r"|label2id|problem_type|tie_word_embeddings|vocab_size|.*_token_ids?|initializer_range"
    r"|.*(drop|dropout|pdrop)|dropout_.*|.*_dropout.*|gradient_.*|pretraining_tp|is_decoder"
    r"|bos_.*|eos_.*|router_aux_loss_coef|summary_.*|embedding_initializer_range"
    # Of which layers attend how, which is a setting of its own
    r"|max_window_layers|use_sliding_window"
    # What text generation does with the logits
    r"|temperature|top_[kp]|max_length|min_length|num_beams.*|do_sample|repetition_penalty|.*beam.*"
)
"""Settings that no forward in evaluation mode reads; sizes and ties are seen in the weights."""

REMEDY = "the reference that this checkpoint was made of."


def require_same(
    reference: Loaded,
    name: str,
    config: Any,
    tokenizer: PreTrainedTokenizerBase | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Could this be a twin of the reference? Raises with the first difference: architecture,
    vocabulary size, a parameter's shape, a token. `tokenizer` None: it has none of its own."""
    own, other = reference.model.config.get_text_config(), config.get_text_config()
    if own.model_type != other.model_type:
        raise ModelError(
            f"{name} is a {other.model_type}, {reference.name} a {own.model_type}.",
            "two models of one architecture.",
            REMEDY,
        )
    if own.vocab_size != other.vocab_size:
        raise ModelError(
            f"{name} knows {other.vocab_size} tokens, {reference.name} {own.vocab_size}.",
            "two models of one vocabulary.",
            REMEDY,
        )
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    require_shapes(reference, name, shapes(skeleton))
    if tokenizer is not None:
        size = max(len(reference.tokenizer), len(tokenizer))
        require_tokens(reference, name, tokenizer.convert_ids_to_tokens(list(range(size))))


def other_settings(reference: Any, own: Any) -> tuple[str, ...]:
    """What changes the forward and is not the same in two configurations, in words."""
    theirs, ours = (_settings(config) for config in (reference, own))
    keys = theirs.keys() | ours.keys()
    if "default" in (_rotary(theirs), _rotary(ours)):
        keys -= {"max_position_embeddings"}  # then only how far a model was meant to read
    return tuple(
        f"{key} is {_shown(ours, key)}, in the reference {_shown(theirs, key)}"
        for key in sorted(keys)
        if not _equal(theirs.get(key), ours.get(key))
    )


def _settings(config: Any) -> dict[str, Any]:
    """The settings that the configuration's class knows: programs leave notes of their own among
    them, which no model reads."""
    text = config.get_text_config()
    given = text.to_dict()
    try:
        known = type(text)().to_dict().keys()
    except Exception:  # a class that came with a model may want arguments
        known = given.keys()
    return {k: v for k, v in given.items() if k in known and not UNREAD.fullmatch(k)}


def _rotary(settings: dict[str, Any]) -> Any:
    return (settings.get("rope_parameters") or {}).get("rope_type")


def _equal(first: Any, second: Any) -> bool:
    """Numbers to what float32 holds: a file may have no more."""
    if isinstance(first, dict) and isinstance(second, dict):
        return all(_equal(first.get(k), second.get(k)) for k in first.keys() | second.keys())
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(first == second)


def _shown(settings: dict[str, Any], key: str) -> str:
    return json.dumps(settings.get(key), default=str)[:200]


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter, by its name."""
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def require_shapes(reference: Loaded, name: str, found: Mapping[str, tuple[int, ...]]) -> None:
    """Has every parameter of the reference this shape here too? ModelError for the first that has
    not."""
    for parameter, shape in shapes(reference.model).items():
        other = found.get(parameter)
        if other != shape:
            has = f"of shape {list(other)}" if other else "missing"
            raise ModelError(
                f"{parameter} is {has} in {name}, of shape {list(shape)} in {reference.name}.",
                "two models of one architecture and size.",
                REMEDY,
            )


def require_tokens(
    reference: Loaded,
    name: str,
    tokens: Sequence[str | None],
    spaced: Collection[int] = (),
) -> None:
    """Has every token of the reference's tokenizer the same number here? `spaced`: tokens in which
    this file may write a space where a tokenizer has its sign for one. ModelError for the first
    that has not."""
    for number in range(len(reference.tokenizer)):
        own = reference.tokenizer.convert_ids_to_tokens(number)
        other = tokens[number] if number < len(tokens) else None
        if number in spaced and other is not None and other == str(own).replace("▁", " "):
            continue
        if own != other:
            raise ModelError(
                f"The tokenizers differ: token {number} is {other!r} in {name}, {own!r} in"
                f" {reference.name}.",
                "one tokenizer: the same token ids are read by both models.",
                REMEDY,
            )
