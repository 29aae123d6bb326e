"""Laws of the dtype that is computed in: what lies in 16 bits is computed in 32, unless asked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from bitlens.engine.reader import ActivationReader
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.models.compute import computing
from bitlens.models.layout import Layout
from bitlens.models.load import load
from bitlens.models.source import ModelSource
from bitlens.workflows.audit.validity import check_forward
from tests.support import tiny

PLENTY = 1 << 33
OTHER_SIZES = {"gemma2": {"hidden_size": 72}, "gemma3_text": {"hidden_size": 72}}
"""Gemma multiplies embeddings by the root of their width: of 72 bfloat16 holds another."""


@pytest.fixture
def stored(tmp_path: Path, letters: PreTrainedTokenizerBase) -> Callable[..., Path]:
    """A random model of a family in a folder, its weights in 16 bits."""

    def make(family: str, dtype: torch.dtype = torch.bfloat16) -> Path:
        model = tiny.build(family, dtype, **OTHER_SIZES.get(family, {}))
        model.save_pretrained(tmp_path / family)
        letters.save_pretrained(tmp_path / family)
        return tmp_path / family

    return make


def opened(path: Path, **settings: str) -> Layout:
    loaded = load(ModelSource(str(path), device="cpu", **settings), PLENTY)  # type: ignore[arg-type]
    return Layout(loaded.model, loaded.compute)


def everywhere(layout: Layout) -> list[str]:
    return ["embed", *(f"{k}.{n}" for n in range(layout.depth) for k in ("attn", "resid"))]


def swept(layout: Layout, texts: Sequence[str] = ()) -> tiny.ActivationsByStep:
    sites = [*everywhere(layout), "logits"]
    twins = {text: tiny.twin(layout, text) for text in texts}
    return tiny.activations(tiny.sweep(layout, [tiny.batch([12, 7])], sites, twins))


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.NAMES)
def test_a_16_bit_checkpoint_is_computed_as_its_float32_copy(
    family: str, stored: Callable[..., Path]
) -> None:
    """Bit for bit at every site: the reference, a compression, noise and a cast, of the weights as
    they lie and of the same weights loaded as float32; the reference besides as transformers
    computes it."""
    path = stored(family)
    texts = ("rtn:bits=3", "noise:like=[rtn:bits=3]", "cast:dtype=bfloat16")
    narrow, wide = opened(path), opened(path, dtype="float32")
    assert narrow.dtype == torch.bfloat16
    assert wide.dtype == torch.float32
    found, copy = swept(narrow, texts), swept(wide, texts)
    assert found.keys() == copy.keys()
    for key, value in found.items():
        assert torch.equal(value, copy[key]), key
    assert {p.dtype for p in narrow.model.parameters()} == {torch.bfloat16}
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    own = tiny.own_states(plain, narrow, tiny.batch([12, 7]))
    for site in ("embed", "resid.0", "resid.1"):
        assert torch.equal(found[(REFERENCE, site, 0)], own[site]), site


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "mixtral", "bloom"])
@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=str)
def test_its_own_forward_in_another_dtype(
    family: str, compute: torch.dtype, stored: Callable[..., Path]
) -> None:
    """A block at a time, the model's forward is that of a copy in that dtype, whose last states
    become logits in float32; afterwards nothing of it is left."""
    path = stored(family)
    layout = opened(path, compute=str(compute).removeprefix("torch."))
    before = dict(layout.model.named_parameters())
    tokens = torch.arange(2, 12)[None]
    with torch.no_grad(), computing(layout.model, layout.blocks, layout.dtype, compute):
        found = layout.model(tokens, use_cache=False).logits
    assert torch.equal(found, tiny.logits_of(path, compute)(tokens))
    after = dict(layout.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is parameter for name, parameter in before.items())
    check, _ = check_forward(layout, tiny.corpus([[20]]))
    assert check.passed
    assert check.detail == "bit for bit"


def test_a_forward_that_fails_leaves_the_model_as_it_was() -> None:
    """An error within a block does not leave it in another dtype."""
    model = tiny.build("llama", torch.bfloat16)
    layout = Layout(model)

    def fails(module: nn.Module, args: object) -> None:
        raise RuntimeError("stop")

    handle = layout.blocks[1].get_submodule("mlp").register_forward_pre_hook(fails)
    with (
        computing(model, layout.blocks, layout.dtype, torch.float32),
        pytest.raises(RuntimeError, match="stop"),
    ):
        model(torch.tensor([[1, 2]]), use_cache=False)
    handle.remove()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_one_end_of_a_model_is_cast_at_a_time(tied: bool) -> None:
    """Of embedding and unembedding only one is held in another dtype, and none once the sweep has
    passed; a model that is stored as it is computed holds nothing."""
    layout = Layout(tiny.build("llama", torch.bfloat16, tie_word_embeddings=tied))
    embedding = tiny.VOCABULARY * layout.width * 4
    norm = layout.width * 4
    assert layout.shell.parameters.cast_bytes == embedding + norm
    layout.shell.enter(torch.tensor([[1, 2]]), None)
    assert sum(t.nbytes for t in layout.shell.parameters.cast.values()) == embedding
    layout.shell.leave(torch.zeros(1, layout.width))
    assert sum(t.nbytes for t in layout.shell.parameters.cast.values()) == embedding + norm
    swept(layout)
    assert not layout.shell.parameters.cast
    assert Layout(tiny.build("llama")).shell.parameters.cast_bytes == 0


@pytest.mark.parametrize("text", ["rtn:bits=4,group=16", "gptq:bits=4"])
def test_what_a_compression_makes_is_not_rounded_back(
    text: str, stored: Callable[..., Path]
) -> None:
    """Of weights in bfloat16 a twin that computes in float32 has the very values that the method
    gave, and a calibrated one those that it gives for a float32 copy."""
    path = stored("llama")
    narrow, wide = opened(path), opened(path, dtype="float32")
    name = "mlp.down_proj.weight"
    own, same = (
        tiny.twin(layout, text).block_weights(1, layout.block(1))[name] for layout in (narrow, wide)
    )
    assert own.dtype == torch.float32
    assert torch.equal(own, same)
    assert not torch.equal(own, own.bfloat16().float())


def test_a_twin_in_another_dtype_holds_no_second_model() -> None:
    """Its embedding and unembedding are cast where they are used, beside the reference's, and let
    go with them."""
    layout = Layout(tiny.build("llama", tie_word_embeddings=False))
    twin = tiny.twin(layout, "cast:dtype=bfloat16")
    assert twin.shell_weights() == {}
    tokens, shell = torch.tensor([[1, 2]]), layout.shell
    entered = [t.enter(tokens, None).hidden for t in (Reference(layout), twin)]
    assert [hidden.dtype for hidden in entered] == [torch.float32, torch.bfloat16]
    embedding = tiny.VOCABULARY * layout.width * 2
    own = [t.nbytes for t in shell.parameters.cast.values() if t.dtype == torch.bfloat16]
    assert sum(own) == embedding
    assert shell.parameters.cast_bytes_in(torch.bfloat16) > embedding
    assert twin.leave(entered[1][0]).dtype == torch.bfloat16
    twin.release()
    assert not shell.parameters.cast


def test_what_is_left_alone_is_cast_once() -> None:
    """For all twins together: a twin of one matrix needs room for one more."""
    layout = Layout(tiny.build("llama", torch.bfloat16))
    weights = layout.block(1)
    twin = tiny.twin(layout, "rtn:bits=3,include=[layers.1.mlp.down_proj]")
    own = twin.block_weights(1, weights)
    apart = {n for n in own if own[n].data_ptr() != weights.computed[n].data_ptr()}
    assert apart == {"mlp.down_proj.weight"}


def test_every_analysis_computes_so(tmp_path: Path) -> None:
    """Heads, lenses, patterns, features, splices and local errors of weights in bfloat16 are, to
    the last digit, those of a float32 copy."""
    narrow = tiny.build("llama", torch.bfloat16, attention="eager")
    wide = tiny.build("llama", torch.bfloat16, attention="eager").float()
    made = tiny.plan(tiny.corpus([[20, 7], [18], [16], [12]]))
    found = [
        tiny.values(tiny.measurement(Layout(m), {"twin": "rtn:bits=3"}, made, tmp_path / str(n)))
        for n, m in enumerate((narrow, wide))
    ]
    # A model without experts has no routing.
    assert {analysis for analysis, *_ in found[0]} == set(tiny.SWEPT) - {"routing"}
    assert found[0] == found[1]


def test_what_an_sae_learns_from_is_computed_so() -> None:
    """Activations of a model and of a twin stored in bfloat16 are those of a float32 copy."""
    narrow = Layout(tiny.build("llama", torch.bfloat16))
    wide = Layout(tiny.build("llama", torch.bfloat16).float())
    batches = tiny.plan(tiny.corpus([[20], [12]]), []).batches
    rows = [
        ActivationReader(
            layout,
            {REFERENCE: Reference(layout), "twin": tiny.twin(layout, "rtn:bits=3")},
            "resid.1",
            1 << 30,
        ).rows(batches)
        for layout in (narrow, wide)
    ]
    assert rows[0].keys() == {REFERENCE, "twin"}
    assert all(torch.equal(rows[0][name], rows[1][name]) for name in rows[0])


def test_what_a_family_keeps_wider_is_not_narrowed() -> None:
    """A router in float32 stays so where the rest is computed in bfloat16."""
    model = tiny.build("llama", torch.bfloat16)
    model.model.layers[1].post_attention_layernorm.float()
    weights = Layout(model, torch.bfloat16).block(1).computed
    assert weights["post_attention_layernorm.weight"].dtype == torch.float32
    assert weights["mlp.down_proj.weight"].dtype == torch.bfloat16
