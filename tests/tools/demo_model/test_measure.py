"""The figures of the model card mean what they say."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tools.demo_model.measure import chosen_heads, ratio, rounded_twin


def test_ratio_of_equal_weights_is_the_textbook_mean() -> None:
    """With equal denominators the jackknife is the standard error of the mean, by hand."""
    found = ratio([1.0, 2.0, 6.0], [1.0, 1.0, 1.0])
    error = math.sqrt(7.0 / 3)
    assert found.value == pytest.approx(3.0)
    assert found.high - found.value == pytest.approx(1.96 * error)


def test_ratio_weighs_by_the_denominator() -> None:
    """A long document counts for more than a short one."""
    assert ratio([10.0, 1.0], [10.0, 4.0]).value == pytest.approx(11 / 14)


def test_rounding_keeps_few_values_a_row_and_spares_the_embedding() -> None:
    """Three bits symmetric leave at most seven values a row; only block linears change."""
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    twin = rounded_twin(model, 3)
    for (name, before), after in zip(model.named_parameters(), twin.parameters(), strict=True):
        if before.dim() == 2 and "layers" in name:
            assert max(len(row.unique()) for row in after) <= 7
            assert not torch.equal(before, after)
        else:
            assert torch.equal(before, after)


def test_heads_are_scored_where_they_were_not_chosen() -> None:
    """A head that was only lucky on the choosing rows is reported with its honest score."""
    choosing, scoring = np.zeros((2, 1, 3)), np.zeros((2, 1, 3))
    choosing[:, 0, 0], scoring[:, 0, 0] = 0.9, 0.8
    choosing[:, 0, 2], scoring[:, 0, 2] = 0.6, 0.1
    found = chosen_heads(choosing, scoring, 0.5)
    assert {name: round(head.value, 6) for name, head in found.items()} == {"0.0": 0.8, "0.2": 0.1}
