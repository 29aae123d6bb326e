"""What is compared before any weight is read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from bitlens.errors import BitlensError
from bitlens.models.load import Loaded
from tests.support.checkpoints import opened

Reference = Callable[[str], Loaded]


def refused(path: Path, reference: Loaded) -> BitlensError:
    """The error, although there are no weights that could be read."""
    (path / "model.safetensors").unlink(missing_ok=True)
    with pytest.raises(BitlensError) as error:
        opened(path, reference)
    return error.value


@pytest.mark.parametrize(
    ("family", "settings", "found"),
    [
        ("gpt2", {}, "tiny-gpt2 is a gpt2, tiny-llama a llama."),
        ("llama", {"vocab_size": 160}, "tiny-llama knows 160 tokens, tiny-llama 128."),
        ("llama", {"num_hidden_layers": 2}, "model.layers.2.self_attn.q_proj.weight is missing"),
        (
            "llama",
            {"intermediate_size": 96},
            "model.layers.0.mlp.gate_proj.weight is of shape [96, 64] in tiny-llama, of shape"
            " [128, 64] in tiny-llama.",
        ),
    ],
)
def test_the_first_difference_is_named(
    tiny_folder: Callable[..., Path],
    reference: Reference,
    family: str,
    settings: dict[str, int],
    found: str,
) -> None:
    assert found in refused(tiny_folder(family, **settings), reference("llama")).found


def test_the_first_other_token_is_named(
    tiny_folder: Callable[..., Path], reference: Reference, letters: PreTrainedTokenizerFast
) -> None:
    """One that was put in another's place, and one that is missing at the end."""
    folder = tiny_folder("llama")
    file = folder / "tokenizer.json"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace('"a":', '"ä":'), encoding="utf-8")
    error = refused(folder, reference("llama"))
    number = letters.convert_tokens_to_ids("a")
    assert f"token {number} is 'ä' in tiny-llama, 'a' in tiny-llama" in error.found
    assert "the same token ids" in error.expected
