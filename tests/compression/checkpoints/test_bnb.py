"""bitsandbytes, on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from bitlens.analyses.geometry import Geometry
from bitlens.compression import coverage
from bitlens.compression.checkpoint_twin import CheckpointTwin
from bitlens.compression.checkpoints import LoadedCheckpoint
from bitlens.compression.methods.checkpoint import Checkpoint as Settings
from bitlens.config.study import audit_of
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, load
from bitlens.models.shell import Shell
from bitlens.models.source import ModelSource
from bitlens.models.strip import strip
from bitlens.report.audit_results import AuditResults
from bitlens.report.text.verdict import verdicts
from bitlens.workflows.audit.run import run
from tests.support import tiny
from tests.support.checkpoints import (
    FAMILIES,
    TOKENS,
    check_laws,
    logits,
    opened,
    rows,
    weights,
)

FOUR = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32}
KINDS: dict[str, dict[str, Any]] = {
    "int8": {"load_in_8bit": True},
    "nf4": {**FOUR, "bnb_4bit_quant_type": "nf4"},
    "fp4": {**FOUR, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
}
HALF = {**KINDS["nf4"], "bnb_4bit_compute_dtype": torch.bfloat16}
Reference = Callable[[str], Loaded]
Made = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def made(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A folder that the library itself wrote, before any forward."""
    root = tmp_path_factory.mktemp("bnb")
    kinds = {**KINDS, "half": HALF}

    def make(family: str, kind: str) -> Path:
        path = root / f"{family}-{kind}"
        if not path.exists():
            AutoModelForCausalLM.from_pretrained(
                folder_of(family),
                quantization_config=BitsAndBytesConfig(**kinds[kind]),
                device_map="cpu",
                dtype=torch.float32,
            ).save_pretrained(path)
        return path

    return make


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits(reference: Reference, made: Made, family: str, kind: str) -> None:
    """Real kernels run, and multiply with exactly what is dequantized."""
    model = reference(family)
    checkpoint = opened(made(family, kind), model)
    assert (checkpoint.format, checkpoint.kernels) == (f"bitsandbytes {kind}", True)
    check_laws(checkpoint, model, 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_eight_bits(reference: Reference, made: Made, family: str) -> None:
    """The kernels round activations to 8 bits too, the identity among them exactly."""
    model = reference(family)
    checkpoint = opened(made(family, "int8"), model)
    assert (checkpoint.format, checkpoint.kernels) == ("bitsandbytes int8", True)
    check_laws(checkpoint, model, 1e-3)


def test_bits_by_hand(reference: Reference, made: Made) -> None:
    """A matrix of 64 x 64: int8 with a float32 scale a row; 4 bits with a float32 scale for 64
    weights; the same with its 64 scales in 8 bits, one float32 scale of those and their mean."""
    name = "model.layers.0.self_attn.q_proj.weight"
    found = {k: opened(made("llama", k), reference("llama")).stored[name] for k in KINDS}
    assert found["int8"].bits == 8 + 32 / 64
    assert found["nf4"].bits == 4 + 32 / 64
    assert found["fp4"].bits == 4 + 8 / 64 + (32 + 32) / 4096
    assert [found[k].group for k in KINDS] == [0, 64, 64]
    assert [found[k].format for k in KINDS] == ["int8", "nf4", "fp4"]


def test_dequantized_as_the_library_does(reference: Reference, made: Made) -> None:
    """Its own dequantization of a whole model, loaded apart from ours."""
    path = made("llama", "nf4")
    theirs = AutoModelForCausalLM.from_pretrained(path, device_map="cpu").dequantize()
    ours = weights(opened(path, reference("llama")))
    for name, parameter in theirs.named_parameters():
        assert torch.equal(ours[name], parameter.float()), name


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"), reason="needs a CPU with AVX512-BF16"
)
def test_without_our_switch_weights_are_repacked(reference: Reference, made: Made) -> None:
    """What `check_laws` would miss if the library did it no longer: on such CPUs, a first
    forward with the switch as it was spoils what is dequantized afterwards."""
    checkpoint = opened(made("llama", "nf4"), reference("llama"))
    name = "model.layers.0.self_attn.q_proj"
    module = checkpoint.model.get_submodule(name)
    before = checkpoint.stored[f"{name}.weight"].weight()
    module.support_avx512bf16_for_cpu = True
    module(torch.ones(1, 64))
    assert not torch.equal(checkpoint.stored[f"{name}.weight"].weight(), before)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_rows_that_are_no_whole_blocks(
    tiny_folder: Callable[..., Path], kind: str, tmp_path: Path
) -> None:
    """Blocks run on from row to row. On CPUs the library makes something else of such matrices:
    that is seen, what is stored is dequantized rightly all the same, and no kernels run."""
    folder = tiny_folder("llama", hidden_size=96, num_attention_heads=6)
    reference = load(ModelSource(str(folder)), 1 << 34)
    settings = BitsAndBytesConfig(**KINDS[kind])
    AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, device_map="cpu", dtype=torch.float32
    ).save_pretrained(tmp_path / "made")
    checkpoint = opened(tmp_path / "made", reference)
    check_laws(checkpoint, reference, 1e-6)
    before = reference.model.get_submodule("model.layers.0.mlp.up_proj").weight
    values = checkpoint.stored["model.layers.0.mlp.up_proj.weight"].weight().reshape(-1, 64)
    assert max(len(block.unique()) for block in values) <= 16
    error = (values.reshape(before.shape) - before).norm() / before.norm()
    assert error < 0.14, "about 0.09 for nf4 and 0.12 for fp4 of normal weights"
    if not checkpoint.kernels:
        assert "dequantizes matrices of shape" in checkpoint.notes[0]
        with pytest.raises(BitlensError, match="cannot be used: bitsandbytes"):
            opened(tmp_path / "made", reference, "kernels")


def test_outliers_are_treated(reference: Reference, made: Made) -> None:
    """In evaluation mode the product is LLM.int8: an input column that reaches 6 is multiplied
    in 16 bits, and does not coarsen the others; just below, it does."""
    checkpoint = opened(made("llama", "int8"), reference("llama"))
    name = "model.layers.0.self_attn.q_proj"
    module, weight = checkpoint.model.get_submodule(name), checkpoint.stored[f"{name}.weight"]
    inputs = 0.02 * torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    errors = []
    for outlier in (5.9, 6.1):
        inputs[:, 3] = outlier
        exact = inputs @ weight.weight().T
        errors.append(float((module(inputs) - exact).norm()))
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(("threshold", "spared"), [(6.0, True), (0.0, False)])
def test_what_becomes_of_outliers_is_said(
    reference: Reference,
    folder_of: Callable[[str], Path],
    tmp_path: Path,
    threshold: float,
    spared: bool,
) -> None:
    """A threshold of 0 spares none of them, and none are."""
    settings = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=threshold)
    AutoModelForCausalLM.from_pretrained(
        folder_of("llama"), quantization_config=settings, device_map="cpu"
    ).save_pretrained(tmp_path / "made")
    checkpoint = opened(tmp_path / "made", reference("llama"))
    said = "reaches 6 are multiplied in 16 bits" if spared else "outliers too; inputs are made"
    assert said in checkpoint.notes[0]
    name = "model.layers.0.self_attn.q_proj"
    module, weight = checkpoint.model.get_submodule(name), checkpoint.stored[f"{name}.weight"]
    inputs = 0.02 * torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    inputs[:, 3] = 40
    column = weight.weight()[:, 3]
    rest = module(inputs) - inputs[:, 3:4] * column
    lost = (rest - (inputs @ weight.weight().T - inputs[:, 3:4] * column)).norm() / rest.norm()
    assert (lost < 0.1) == spared


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_dequantized_weights_on_request(reference: Reference, made: Made, kind: str) -> None:
    """The reference's own class with the same weights; for weight-only kinds, the same logits."""
    model = reference("llama")
    path = made("llama", kind)
    kernels, plain = opened(path, model, "kernels"), opened(path, model, "weights")
    assert (kernels.kernels, plain.kernels) == (True, False)
    assert not any(isinstance(m, bnb.nn.Linear4bit) for m in plain.model.modules())  # type: ignore[attr-defined]
    assert "dequantized weights in ordinary matrices" in plain.notes[0]
    theirs, ours = weights(kernels), weights(plain)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    parameters = dict(plain.model.named_parameters())
    assert all(torch.equal(ours[name], p.float()) for name, p in parameters.items())
    assert plain.stored[next(iter(ours))].bits == kernels.stored[next(iter(ours))].bits
    close = torch.allclose(logits(kernels.model), logits(plain.model), atol=1e-4)
    assert close == (kind == "nf4")


def test_experts_left_alone_are_seen(reference: Reference, made: Made) -> None:
    """The library quantizes attention only and says nothing; what is stored says it."""
    model = reference("qwen3_moe")
    checkpoint = opened(made("qwen3_moe", "nf4"), model)
    for name, entry in checkpoint.stored.items():
        quantized = "self_attn" in name and "norm" not in name
        assert entry.format == ("nf4" if quantized else "float32"), name
        assert entry.bits == (4.5 if quantized else 32), name
    assert 0 < coverage.total(rows(checkpoint, model)).changed < 0.5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["int8", "nf4"])
@torch.no_grad()
def test_it_runs_block_by_block(reference: Reference, made: Made, family: str, kind: str) -> None:
    """Its shell and copies of its blocks that carry no hooks give what its own forward gives."""
    model = reference(family)
    checkpoint: LoadedCheckpoint = opened(made(family, kind), model)
    layout = Layout(model.model)
    shell = Shell(checkpoint.model, layout.blocks_path)
    shell.returns_tuple(layout.shell._as_tuple)
    entry = shell.enter(TOKENS, None)
    hidden = entry.hidden
    for block, call in zip(
        checkpoint.model.get_submodule(layout.blocks_path), entry.calls, strict=True
    ):
        out = strip(block)(hidden, *call.args, **call.kwargs)
        hidden = out[0] if isinstance(out, tuple | list) else out
    assert torch.equal(shell.leave(hidden[0]), logits(checkpoint.model)[0])


def test_company_and_padding_decide_nothing(reference: Reference, made: Made) -> None:
    """A window's states are those it has alone, though another in the batch, and what stands at
    its own padding, have outliers in other columns."""
    model = reference("llama")
    layout = Layout(model.model)
    checkpoint = opened(made("llama", "int8"), model)
    twin = CheckpointTwin(layout, Settings(path="int8"), checkpoint)
    block = twin.block(0, layout.block(0))
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 12, layout.width, generator=draw)
    norm = layout.model.get_submodule("model.layers.0.input_layernorm").weight
    hidden[1, 3, int(norm.abs().argmax())] = 1e3
    hidden[0, 8:, int(norm.abs().argmax())] = 1e3
    valid = torch.ones(2, 12, dtype=torch.long)
    valid[0, 8:] = 0
    tokens = torch.arange(4, 28).view(2, 12)
    together = block(hidden, twin.enter(tokens, valid).calls[0], (), valid)[1][0, :8]
    alone = block(hidden[:1, :8], twin.enter(tokens[:1, :8], None).calls[0])[1][0]
    assert torch.allclose(together, alone, atol=1e-5)


def test_heads_of_kernels_write_through_what_they_multiply_with(
    reference: Reference, made: Made, tmp_path: Path
) -> None:
    """The weights of real kernels are told besides: every head's error is that of the weights."""
    model = reference("llama")
    layout, plan = Layout(model.model), tiny.plan(tiny.corpus([[10]] * 8, seed=2), [Geometry()])
    found = []
    for how in ("kernels", "weights"):
        checkpoint = opened(made("llama", "nf4"), model, how)
        twin = CheckpointTwin(layout, Settings(path="nf4"), checkpoint)
        values = tiny.values(
            tiny.measurement(layout, {"twin": twin}, plan, tmp_path / how, [Geometry()])
        )
        found.append({key: v.value for key, v in values.items() if key[-1] == "head_error"})
    kernels, weights = found
    assert min(weights.values()) > 0.01
    assert kernels == pytest.approx(weights, rel=1e-3)


@pytest.mark.slow
def test_kernels_in_16_bits_stand_beside_the_compute_floor(
    folder_of: Callable[[str], Path], made: Made, short_texts: Path, tmp_path: Path
) -> None:
    """Beside a reference in float32, what multiplying in 16 bits does by itself is measured of the
    reference, and told with the twin; of kernels in float32 there is none. LLM.int8's products
    come back in float16, which its modules do not say."""
    said: list[str] = []
    half, whole, eight = (f"checkpoint:{made('llama', kind)}" for kind in ("half", "nf4", "int8"))
    settings: dict[str, Any] = {"controls": (), "analyses": ("behaviour",), "tokens": 1500}
    study = audit_of(
        str(folder_of("llama")), (half, whole, eight), text=str(short_texts), **settings
    )
    store = run(study, tmp_path / "out", "audit", said.append)
    twins = {twin["compression"]: twin for twin in store.manifest()["twins"]}
    assert twins[half]["dtype"] == "bfloat16"
    assert twins[whole]["dtype"] == "float32"
    assert twins[eight]["dtype"] == "float16"
    floors = {twin["compression"] for twin in twins.values() if twin["floor"]}
    assert floors == {"cast:dtype=bfloat16", "cast:dtype=float16"}
    assert any("It computes in bfloat16, the reference in float32." in line for line in said)
    results = AuditResults.read(store.root)
    told = dict(verdicts(results, results.models[0]))
    half_wide = "omputing in bfloat16 instead of float32, which rounds the weights too, by itself"
    assert half_wide in told[half]
    assert half_wide not in told[whole]
    assert "up to twice" not in told[half]
    assert "in float16 instead of float32, which rounds the weights too, by" in told[eight]
