"""GGUF files."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AddedToken, AutoTokenizer

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.gguf import Gguf
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, load
from bitlens.models.matrices import LinearMap
from bitlens.models.source import ModelSource
from tests.support import k_blocks
from tests.support.checkpoints import check_laws, logits, opened, weights
from tests.support.gguf_files import rewritten, write

READ = ("llama", "gpt2", "qwen3_moe", "mistral")
Reference = Callable[[str], Loaded]


@pytest.mark.parametrize("family", READ)
def test_unrounded_files_are_the_reference(
    reference: Reference, family: str, tmp_path: Path
) -> None:
    """Every weight, in its place and order, and every logit: rows that llama.cpp reorders,
    transposed matrices and experts included; sliding windows, which files do not mention, too."""
    model = reference(family)
    checkpoint = opened(write(model.model, tmp_path / "whole.gguf"), model)
    assert checkpoint.format == "F32 gguf"
    assert not checkpoint.kernels
    before = dict(model.model.named_parameters(remove_duplicate=False))
    assert all(torch.equal(w, before[name]) for name, w in weights(checkpoint).items())
    assert torch.equal(logits(checkpoint.model), logits(model.model))
    assert type(checkpoint.model) is type(model.model)


def test_queries_and_keys_are_in_the_reference_s_order(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """Whole numbers that Q8_0 holds exactly (the largest of every block is 127): rounded blocks
    come back in the order they had, row by row."""
    folder = tiny_folder("llama")
    model = load(ModelSource(str(folder)), 1 << 34)
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if parameter.ndim == 2:
                numbers = torch.arange(parameter.numel()) * 37 % 251 - 125
                parameter.copy_(numbers.reshape(parameter.shape))
                parameter.reshape(-1, 32)[:, 0] = 127
                assert name.endswith("weight")
    checkpoint = opened(write(model.model, tmp_path / "exact.gguf", Kind.Q8_0), model)
    before = dict(model.model.named_parameters())
    assert checkpoint.format == "Q8_0 gguf"
    assert all(torch.equal(w, before[name]) for name, w in weights(checkpoint).items())


@pytest.mark.parametrize("family", READ)
@pytest.mark.parametrize(("kind", "bits"), [(Kind.Q4_0, 4 + 16 / 32), (Kind.Q8_0, 8 + 16 / 32)])
def test_blocks(reference: Reference, family: str, kind: Kind, bits: float, tmp_path: Path) -> None:
    """A block of 32 shares a scale of 16 bits; what is stored is what is multiplied with."""
    model = reference(family)
    checkpoint = opened(write(model.model, tmp_path / "blocks.gguf", kind), model)
    check_laws(checkpoint, model, 1e-6)
    for name, entry in checkpoint.stored.items():
        in_blocks = entry.weight().ndim > 1 and not name.endswith("mlp.gate.weight")
        expected = (kind.name, bits, 32) if in_blocks else ("F32", 32, 0)
        assert (entry.format, entry.bits, entry.group) == expected, name


def oss_types(tensor: str) -> Kind:
    """As gpt-oss is deployed: experts in MXFP4, everything else in eight bits."""
    return Kind.MXFP4 if "_exps" in tensor else Kind.Q8_0


YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 32.0,
    "rope.scaling.original_context_length": 4096,
}


def test_a_file_of_gpt_oss_is_the_reference(reference: Reference, tmp_path: Path) -> None:
    """Every weight, sinks and biases of experts among them, and every logit: transformers looks for
    experts under names that no file has, so these tensors are read here."""
    model = reference("gpt_oss")
    checkpoint = opened(write(model.model, tmp_path / "whole.gguf", **YARN), model)
    before = dict(model.model.named_parameters())
    assert {name for name, _ in model.model.named_parameters()} == checkpoint.stored.keys()
    assert all(torch.equal(w, before[name]) for name, w in weights(checkpoint).items())
    assert torch.equal(logits(checkpoint.model), logits(model.model))
    assert not checkpoint.own_settings


@pytest.mark.parametrize("family", ["gpt_oss", "qwen3_moe"])
def test_experts_in_mxfp4_are_our_twin(reference: Reference, family: str, tmp_path: Path) -> None:
    """Experts at 4.25 bits in blocks of 32 are, bit by bit, what our own compression makes of them,
    gate and up apart or row by row; the rest is in eight bits, and its logits are its own."""
    model = reference(family)
    settings = YARN if family == "gpt_oss" else {}
    checkpoint = opened(write(model.model, tmp_path / "mx.gguf", oss_types, **settings), model)
    check_laws(checkpoint, model, 1e-6)
    layout = Layout(model.model)
    twin = {
        m.name: m
        for depth in range(layout.depth)
        for g in layout.maps(depth, layout.weights(depth))
        for m in g
    }
    experts = [name for name in checkpoint.stored if ".experts." in name and "bias" not in name]
    assert len(experts) == 2 * layout.depth
    for name in experts:
        entry = checkpoint.stored[name]
        (made,) = Gguf(type="mxfp4").compress(MatrixGroup([twin[name]], 0))
        own = entry.weight().mT if family == "gpt_oss" else entry.weight()
        assert torch.equal(own, made.weight)
        assert (entry.format, entry.bits, entry.group) == ("MXFP4", 4.25, 32)
    assert checkpoint.stored["model.layers.0.self_attn.q_proj.weight"].format == "Q8_0"
    assert not torch.equal(logits(checkpoint.model), logits(model.model))


def test_a_file_of_gpt_oss_that_lacks_a_weight_is_refused(
    reference: Reference, tmp_path: Path
) -> None:
    """What is not there is named as the reference calls it."""
    model = reference("gpt_oss")
    whole = write(model.model, tmp_path / "whole.gguf", **YARN)
    lacking = "blk.1.attn_sinks.weight"
    path = rewritten(whole, tmp_path / "part.gguf", lambda n: False if n == lacking else None)
    with pytest.raises(BitlensError, match=r"no weights for .*\.1\.self_attn\.sinks"):
        opened(path, model)


@pytest.mark.parametrize("kind", k_blocks.KINDS)
def test_a_file_in_a_k_format_is_our_twin(
    tiny_folder: Callable[..., Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of rows whose blocks llama.cpp's library made: its file, read, holds what our own
    compression makes of the model, bit by bit, at as many bits."""
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    model = load(ModelSource(str(tiny_folder("llama", **sizes))), 1 << 34)
    rows = torch.from_numpy(k_blocks.WEIGHTS)
    with torch.no_grad():
        for parameter in model.model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(rows[torch.arange(len(parameter)) % len(rows)])
    monkeypatch.setattr(gguf, "quantize", lambda array, _: k_blocks.looked_up(array, kind))
    checkpoint = opened(write(model.model, tmp_path / "k.gguf", Kind[kind.upper()]), model)
    compression = Gguf(type=kind)
    for name, parameter in model.model.named_parameters():
        entry = checkpoint.stored[name]
        if parameter.ndim == 2:
            (made,) = compression.compress(MatrixGroup([LinearMap(name, parameter.detach())], 0))
            assert torch.equal(entry.weight(), made.weight), name
            assert (entry.bits, entry.group) == (made.bits, made.group)
            assert entry.format == kind.upper()


def test_types_of_one_file_may_differ(reference: Reference, tmp_path: Path) -> None:
    """The file is called by what its maker called it, every weight by its own type."""
    model = reference("llama")
    whole = write(model.model, tmp_path / "whole.gguf")
    path = rewritten(
        whole,
        tmp_path / "mixed.gguf",
        lambda name: Kind.Q5_1 if "ffn" in name and "norm" not in name else None,
        file_type=gguf.LlamaFileType.MOSTLY_Q4_K_M,
    )
    checkpoint = opened(path, model)
    assert checkpoint.format == "Q4_K_M gguf"
    formats = {name: entry.format for name, entry in checkpoint.stored.items()}
    assert formats["model.layers.0.mlp.down_proj.weight"] == "Q5_1"
    assert formats["model.layers.0.self_attn.q_proj.weight"] == "F32"
    assert checkpoint.stored["model.layers.0.mlp.down_proj.weight"].bits == 5 + 32 / 32


def test_an_unembedding_of_its_own_is_not_dropped(reference: Reference, tmp_path: Path) -> None:
    """A file may hold one although the reference ties it to the embedding."""
    model = reference("gpt2")
    tied = write(model.model, tmp_path / "tied.gguf")
    own = 2 * model.model.get_output_embeddings().weight.detach()
    path = rewritten(tied, tmp_path / "own.gguf", added={"output.weight": own.numpy()})
    checkpoint = opened(path, model)
    assert torch.equal(checkpoint.stored["lm_head.weight"].weight(), own)
    assert torch.allclose(logits(checkpoint.model), 2 * logits(model.model), atol=1e-5)


def test_the_reference_s_tokenizer_and_settings_are_said(
    reference: Reference, tmp_path: Path
) -> None:
    model = reference("llama")
    tokens = model.tokenizer.convert_ids_to_tokens(list(range(len(model.tokenizer))))
    checkpoint = opened(write(model.model, tmp_path / "a.gguf", tokens=tokens), model)
    assert checkpoint.tokenizer is model.tokenizer
    assert "tokens were compared" in checkpoint.notes[1]
    bare = opened(write(model.model, tmp_path / "b.gguf"), model)
    assert "has no tokens" in bare.notes[1]
    assert bare.fingerprint != checkpoint.fingerprint


@pytest.mark.parametrize(
    ("family", "settings", "found"),
    [
        ("llama", {"attention.head_count_kv": 4}, "attention.head_count_kv is 4"),
        ("llama", {"block_count": 4}, "block_count is 4"),
        ("gpt2", {}, "is a gpt2, tiny-llama a llama"),
    ],
)
def test_the_first_difference_is_named(
    reference: Reference, family: str, settings: dict[str, float], found: str, tmp_path: Path
) -> None:
    path = write(reference(family).model, tmp_path / "other.gguf", **settings)
    with pytest.raises(BitlensError) as error:
        opened(path, reference("llama"))
    assert found in error.value.found


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("llama", {"rope.freq_base": 5e5}, '"rope_theta": 500000.0'),
        ("llama", {"attention.layer_norm_rms_epsilon": 0.1}, "rms_norm_eps is 0.1"),
        ("gpt2", {"attention.layer_norm_epsilon": 0.1}, "layer_norm_epsilon is 0.1"),
        ("llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, '"factor": 4.0'),
        ("qwen3_moe", {"expert_used_count": 1}, "num_experts_per_tok is 1"),
    ],
)
def test_the_file_s_own_settings_are_used_and_said(
    reference: Reference, family: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """As in the same model with that in its config.json."""
    model = reference(family)
    checkpoint = opened(write(model.model, tmp_path / "own.gguf", **settings), model)
    (line,) = checkpoint.own_settings
    assert said in line
    assert "in the reference" in line
    by_hand = type(model.model)._from_config(copy.deepcopy(checkpoint.model.config)).eval()
    by_hand.load_state_dict(model.model.state_dict())
    assert torch.equal(logits(checkpoint.model), logits(by_hand))
    assert not torch.allclose(logits(by_hand), logits(model.model), atol=1e-4)


def test_scaling_that_it_cannot_read_is_refused(reference: Reference, tmp_path: Path) -> None:
    """By name, or by numbers that are not the reference's."""
    model = reference("llama")
    path = write(model.model, tmp_path / "a.gguf", **{"rope.scaling.type": "longrope"})
    with pytest.raises(BitlensError, match="by longrope, and they are default in the reference"):
        opened(path, model)
    factors = np.full(model.model.config.head_dim // 2, 2, np.float32)
    whole = write(model.model, tmp_path / "b.gguf")
    path = rewritten(whole, tmp_path / "c.gguf", added={"rope_freqs.weight": factors})
    with pytest.raises(BitlensError, match=r"other numbers \(rope_freqs\.weight\)"):
        opened(path, model)


def test_spaces_in_added_tokens_are_the_same_tokens(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """llama.cpp writes a space for the sign that Gemma's tokenizer has for one; in added ones."""
    folder = tiny_folder("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("▁▁", normalized=False)])
    tokenizer.save_pretrained(folder)
    model = load(ModelSource(str(folder)), 1 << 34)
    tokens = model.tokenizer.convert_ids_to_tokens(list(range(len(model.tokenizer))))
    written = [token.replace("▁", " ") for token in tokens]
    assert written != tokens
    assert opened(write(model.model, tmp_path / "a.gguf", tokens=written), model).notes
    written[tokens.index("a")] = " "
    with pytest.raises(BitlensError, match="The tokenizers differ"):
        opened(write(model.model, tmp_path / "b.gguf", tokens=written), model)


def test_blocks_that_the_library_reads_otherwise_are_noticed(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = reference("llama")
    path = write(model.model, tmp_path / "a.gguf", Kind.Q8_0)
    right = gguf.quants.Q8_0.dequantize_blocks
    monkeypatch.setattr(
        gguf.quants.Q8_0, "dequantize_blocks", lambda blocks: np.roll(right(blocks), 1, 0) * 1.02
    )
    with pytest.raises(BitlensError, match=r"is not what its blocks in a\.gguf stand for"):
        opened(path, model)


def test_other_tokens_are_refused(reference: Reference, tmp_path: Path) -> None:
    model = reference("llama")
    tokens = model.tokenizer.convert_ids_to_tokens(list(range(len(model.tokenizer))))
    tokens[7] = "other"
    with pytest.raises(BitlensError, match=r"token 7 is 'other' in a\.gguf"):
        opened(write(model.model, tmp_path / "a.gguf", tokens=tokens), model)


def test_another_vocabulary_is_refused(
    tiny_folder: Callable[..., Path], reference: Reference, tmp_path: Path
) -> None:
    other = load(ModelSource(str(tiny_folder("llama", vocab_size=160))), 1 << 34)
    with pytest.raises(BitlensError, match=r"\[160, 64\] in a.gguf, of shape \[128, 64\]"):
        opened(write(other.model, tmp_path / "a.gguf"), reference("llama"))


def test_gpt_neox_is_explained(reference: Reference, tmp_path: Path) -> None:
    """transformers reads no such file."""
    model = reference("gpt_neox")
    with pytest.raises(BitlensError, match="reads no GGUF files of that architecture"):
        opened(write(model.model, tmp_path / "a.gguf"), model)


@pytest.mark.parametrize("cut", [0, 3, 40, 2000, -40])
def test_broken_files_are_refused(reference: Reference, cut: int, tmp_path: Path) -> None:
    """Cut short at the magic bytes, in the header, in the table, in the last tensor."""
    path = write(reference("llama").model, tmp_path / "a.gguf")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BitlensError, match=r"a\.gguf cannot be read as GGUF"):
        opened(path, reference("llama"))


def test_a_file_that_lacks_a_weight_is_refused(reference: Reference, tmp_path: Path) -> None:
    """transformers would make it up at random."""
    model = reference("llama")
    whole = write(model.model, tmp_path / "whole.gguf")
    path = rewritten(
        whole, tmp_path / "part.gguf", lambda name: False if name == "blk.1.ffn_up.weight" else None
    )
    with pytest.raises(BitlensError, match=r"no weights for .*\.1\.mlp\.up_proj\.weight"):
        opened(path, model)


def test_there_is_no_such_file_and_there_are_no_kernels(
    reference: Reference, tmp_path: Path
) -> None:
    with pytest.raises(BitlensError, match="There is no file"):
        opened(tmp_path / "none.gguf", reference("llama"))
    path = write(reference("llama").model, tmp_path / "a.gguf")
    with pytest.raises(BitlensError, match="read as ordinary matrices"):
        opened(path, reference("llama"), "kernels")


def test_a_weight_that_is_no_number_is_named(reference: Reference, tmp_path: Path) -> None:
    """By the name it has in the reference, not in the file."""
    model = reference("llama")
    broken = copy.deepcopy(model.model)
    with torch.no_grad():
        broken.model.layers[1].input_layernorm.weight[2] = torch.inf
    path = write(broken, tmp_path / "broken.gguf")
    name = r"model\.layers\.1\.input_layernorm\.weight of broken\.gguf holds 1 of"
    with pytest.raises(BitlensError, match=name):
        opened(path, model)
