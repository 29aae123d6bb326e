"""Are these two models of one kind? Asked before any weight is read."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from bitlens.errors import BitlensError
from bitlens.models.load import Loaded

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
        raise BitlensError(
            f"{name} is a {other.model_type}, {reference.name} a {own.model_type}.",
            "two models of one architecture.",
            REMEDY,
        )
    if own.vocab_size != other.vocab_size:
        raise BitlensError(
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


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of every parameter."""
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def require_shapes(reference: Loaded, name: str, found: Mapping[str, tuple[int, ...]]) -> None:
    """Has every parameter of the reference this shape here too?"""
    for parameter, shape in shapes(reference.model).items():
        other = found.get(parameter)
        if other != shape:
            has = f"of shape {list(other)}" if other else "missing"
            raise BitlensError(
                f"{parameter} is {has} in {name}, of shape {list(shape)} in {reference.name}.",
                "two models of one architecture and size.",
                REMEDY,
            )


def require_tokens(reference: Loaded, name: str, tokens: Sequence[str | None]) -> None:
    """Has every token of the reference's tokenizer the same number here?"""
    for number in range(len(reference.tokenizer)):
        own = reference.tokenizer.convert_ids_to_tokens(number)
        other = tokens[number] if number < len(tokens) else None
        if own != other:
            raise BitlensError(
                f"The tokenizers differ: token {number} is {other!r} in {name}, {own!r} in"
                f" {reference.name}.",
                "one tokenizer: the same token ids are read by both models.",
                REMEDY,
            )
