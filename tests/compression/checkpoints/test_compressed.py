"""compressed-tensors, on the CPU."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from transformers import AutoModelForCausalLM

from bitlens.compression import coverage, parse_spec
from bitlens.compression.checkpoints import compressed
from bitlens.compression.compression import MatrixGroup
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from tests.support.checkpoints import check_laws, logits, opened, rows, weights
from tests.support.quantized_folders import floats, packed

GROUPS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
ROWS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
TOKENS = {**ROWS, "strategy": "token", "dynamic": True}
SCHEMES: dict[str, dict[str, Any]] = {
    "int4": {"weights": {**GROUPS, "symmetric": True}},
    "asymmetric": {"weights": {**GROUPS, "symmetric": False}},
    "int8": {"weights": ROWS, "input_activations": TOKENS},
    "float8": {
        "weights": {**ROWS, "type": "float"},
        "input_activations": {**TOKENS, "type": "float"},
    },
}
Reference = Callable[[str], Loaded]
Made = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def made(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A folder in the library's format, rounded to nearest."""
    root = tmp_path_factory.mktemp("compressed")

    def make(family: str, kind: str) -> Path:
        path = root / f"{family}-{kind}"
        if not path.exists():
            model = AutoModelForCausalLM.from_pretrained(folder_of(family))
            scheme = QuantizationScheme(targets=["Linear"], **SCHEMES[kind])
            settings = QuantizationConfig(config_groups={"a": scheme}, ignore=["lm_head"])
            apply_quantization_config(model, settings)
            for module in model.modules():
                if hasattr(module, "quantization_scheme"):
                    fit(module)
            compressor = ModelCompressor.from_pretrained_model(model)
            compressor.compress_model(model)
            model.save_pretrained(path)
            compressor.update_config(str(path))
        return path

    return make


@torch.no_grad()
def fit(module: Any) -> None:
    """Scales and zeros from the least and the largest weight of each group."""
    arguments = module.quantization_scheme.weights
    groups = module.weight.unflatten(1, (-1, arguments.group_size or module.weight.shape[1]))
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
    module.weight_scale.copy_(scale)
    if hasattr(module, "weight_zero_point"):
        module.weight_zero_point.copy_(zero)
    module.quantization_status = QuantizationStatus.FROZEN


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize(("kind", "bits"), [("int4", 4 + 32 / 32), ("asymmetric", 4 + 36 / 32)])
def test_weights_alone(
    reference: Reference, made: Made, family: str, kind: str, bits: float
) -> None:
    """Ordinary matrices; scales here are float32, zeros 4 bits. transformers' ordinary way to
    load does not read asymmetric ones."""
    model = reference(family)
    checkpoint = opened(made(family, kind), model)
    assert (checkpoint.format, checkpoint.kernels) == ("compressed-tensors int4", False)
    assert checkpoint.notes[0].endswith("dequantized weights in ordinary matrices.")
    check_laws(checkpoint, model, 1e-6)
    found = {(e.format, e.bits, e.group) for e in checkpoint.stored.values()}
    assert found == {("int4", bits, 32), ("float32", 32, 0)}


@pytest.mark.parametrize(
    ("method", "bits", "tolerance"), [("nvfp4", 4.5, 2**-8), ("mxfp4", 4.25, 0)]
)
def test_four_bit_floats(
    reference: Reference,
    folder_of: Callable[[str], Path],
    tmp_path: Path,
    method: str,
    bits: float,
    tolerance: float,
) -> None:
    """What the library fits and packs is what our method makes; NVFP4, which it unpacks in
    bfloat16, to that."""
    model = reference("llama")
    path = floats(folder_of("llama"), tmp_path / method, f"{method}-pack-quantized")
    checkpoint = opened(path, model)
    layout = Layout(model.model)
    for depth in range(layout.depth):
        for matrix in (m for group in layout.maps(depth, layout.weights(depth)) for m in group):
            (made,) = parse_spec(method).compress(MatrixGroup([matrix], 0))
            read = checkpoint.model.get_submodule(matrix.name).weight
            torch.testing.assert_close(read, made.weight, rtol=tolerance, atol=0)
            assert checkpoint.stored[f"{matrix.name}.weight"].bits == pytest.approx(bits, abs=0.02)


@pytest.mark.parametrize("kind", ["int8", "float8"])
def test_activations_too(reference: Reference, made: Made, kind: str) -> None:
    """They are rounded where the checkpoint is run as it is, and not where weights are asked
    for; the weights are the same."""
    model = reference("llama")
    whole, plain = (opened(made("llama", kind), model, run) for run in ("auto", "weights"))
    assert whole.format == f"compressed-tensors {kind}, activations {kind}"
    assert (whole.kernels, plain.kernels) == (True, False)
    check_laws(whole, model, 1e-2)
    check_laws(plain, model, 1e-6)
    ours, theirs = weights(whole), weights(plain)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-7) for name in ours)
    assert not torch.allclose(logits(whole.model), logits(plain.model), atol=1e-3)
    entry = whole.stored["model.layers.0.mlp.up_proj.weight"]
    assert (entry.bits, entry.group) == (8 + 32 / 64, 0)


def test_what_is_not_packed_is_not_rounded(reference: Reference, made: Made) -> None:
    """The library ignores GPT-NeoX's unembedding under another name than the model's: by its
    settings alone it would be quantized; the files have it whole."""
    model = reference("gpt_neox")
    checkpoint = opened(made("gpt_neox", "int8"), model)
    assert checkpoint.stored["lm_head.weight"].format == "float32"
    assert isinstance(checkpoint.model.get_output_embeddings(), torch.nn.Linear)
    check_laws(checkpoint, model, 1e-2)


def test_activations_are_rounded_by_hand(reference: Reference, made: Made) -> None:
    """One token's inputs to multiples of a 127.5th of the largest, halves to even."""
    checkpoint = opened(made("llama", "int8"), reference("llama"))
    name = "model.layers.0.self_attn.q_proj"
    inputs = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    scale = inputs.abs().amax(-1, keepdim=True) / 127.5
    rounded = (inputs / scale).round().clamp(-128, 127) * scale
    expected = rounded @ checkpoint.stored[f"{name}.weight"].weight().T
    assert torch.allclose(
        checkpoint.model.get_submodule(name)(inputs[None])[0], expected, atol=1e-5
    )


def test_it_is_what_the_library_computes(reference: Reference, made: Made) -> None:
    """Its own forward, with the methods that it hangs on modules, gives the same logits."""
    path = made("llama", "int8")
    theirs = AutoModelForCausalLM.from_pretrained(path, device_map="cpu").eval()
    ours = opened(path, reference("llama"))
    assert torch.allclose(logits(ours.model), logits(theirs), atol=1e-5)


def test_gpt2_is_passed_over_and_found_out(reference: Reference, made: Made) -> None:
    """The library takes nn.Linear alone, and says nothing; the table does."""
    checkpoint = opened(made("gpt2", "int4"), reference("gpt2"))
    with pytest.raises(BitlensError, match="nothing was compressed"):
        coverage.require_change(rows(checkpoint, reference("gpt2")), False)


@pytest.mark.parametrize("kind", ["int4", "int8", "float8"])
def test_experts(reference: Reference, made: Made, kind: str) -> None:
    """The library leaves fused ones alone; what is around them is read, integers too."""
    model = reference("qwen3_moe")
    checkpoint = opened(made("qwen3_moe", kind), model)
    formats = {n: e.format for n, e in checkpoint.stored.items()}
    assert formats["model.layers.0.self_attn.q_proj.weight"].startswith(kind)
    assert formats["model.layers.0.mlp.experts.down_proj"] == "float32"


INT4, INT8 = (4, 32), (8, 64)
BODY = (["re:.*(q|k|v|o|gate|up)_proj$"], *INT4)
ROUNDED: dict[str, tuple[list[tuple[list[str], int, int]], Callable[[str], tuple[int, int]]]] = {
    "first group": ([(["re:.*down_proj"], *INT8), BODY], lambda n: INT8 if "down" in n else INT4),
    "second group": ([BODY, (["re:.*down_proj"], *INT8)], lambda n: INT8 if "down" in n else INT4),
    "sizes of groups": (
        [BODY, (["re:.*down_proj"], 4, 64)],
        lambda n: (4, 64) if "down" in n else INT4,
    ),
    "a layer by name": (
        [(["Linear"], *INT4), (["model.layers.1.mlp.up_proj"], *INT8)],
        lambda n: INT8 if n == "model.layers.1.mlp.up_proj" else INT4,
    ),
    "the head too": (
        [(["Linear"], *INT4), (["lm_head"], *INT8)],
        lambda n: INT8 if n == "lm_head" else INT4,
    ),
}


@pytest.mark.parametrize("case", ROUNDED)
def test_each_matrix_is_unpacked_by_its_own_group(
    folder_of: Callable[[str], Path], reference: Reference, tmp_path: Path, case: str
) -> None:
    """Whatever the order of the groups, whatever names a matrix; the table has the format of each
    and what is not in a group is as it was."""
    groups, of = ROUNDED[case]
    head = case == "the head too"
    path, truth = packed(
        folder_of("llama"),
        tmp_path / "mixed",
        lambda name: of(name) if "_proj" in name or (head and name == "lm_head") else None,
        groups,
        ignore=[] if head else ["lm_head"],
    )
    checkpoint = opened(path, reference("llama"))
    for name, entry in checkpoint.stored.items():
        assert torch.allclose(entry.weight(), truth[name], atol=1e-7), name
        if name.endswith("_proj.weight") or (head and name == "lm_head.weight"):
            bits, group = of(name.removesuffix(".weight"))
            assert (entry.format, entry.group) == (f"int{bits}", group), name
            assert entry.bits == bits + 32 / group
        else:
            assert (entry.format, entry.bits) == ("float32", 32)


def test_keys_and_values_in_8_bits_are_said_to_be_left_out(
    folder_of: Callable[[str], Path], reference: Reference, tmp_path: Path
) -> None:
    """With their scales in the files, which are no weights."""
    cache = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False}
    scales = {
        f"model.layers.{n}.self_attn.{k}_scale": torch.ones(1) for n in range(3) for k in "kv"
    }
    path, _ = packed(
        folder_of("llama"),
        tmp_path / "cached",
        lambda name: INT8 if "_proj" in name else None,
        [(["Linear"], *INT8)],
        kv_cache_scheme=cache,
        tensors=scales,
    )
    checkpoint = opened(path, reference("llama"))
    assert checkpoint.left_out == ("keys and values are kept as float8 (kv_cache_scheme)",)


def test_outputs_are_rounded_where_the_checkpoint_says_so(
    folder_of: Callable[[str], Path], reference: Reference, tmp_path: Path
) -> None:
    """By the scale that is held for them; the groups of other modules are left out and said."""
    path, _ = packed(
        folder_of("llama"),
        tmp_path / "outputs",
        lambda name: INT8 if "_proj" in name else None,
        [(["Linear"], *INT8)],
        tensors={
            f"model.layers.{n}.{name}.output_scale": torch.tensor([0.5])
            for n in range(3)
            for name in (
                *(f"self_attn.{part}_proj" for part in "qkvo"),
                *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
            )
        },
    )
    config = json.loads((path / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"]
    rounded = {"num_bits": 8, "type": "int", "strategy": "tensor", "dynamic": False}
    groups["group_0"]["output_activations"] = rounded
    groups["group_1"] = {"targets": ["LlamaAttention"], "input_activations": rounded}
    (path / "config.json").write_text(json.dumps(config))
    checkpoint = opened(path, reference("llama"))
    assert checkpoint.format == "compressed-tensors int8, outputs int8"
    assert checkpoint.left_out == ("activations of LlamaAttention are rounded",)
    name = "model.layers.0.self_attn.q_proj"
    inputs = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    exact = inputs @ checkpoint.stored[f"{name}.weight"].weight().T
    found = checkpoint.model.get_submodule(name)(inputs)
    assert torch.allclose(found, (exact / 0.5).round().clamp(-128, 127) * 0.5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "found", "remedy"),
    [
        ({"actorder": "group"}, "actorder group", "actorder=weight"),
        ({"targets": ["re:.*q_proj"]}, "no group of its quantization_config says how", "belongs"),
        ({"transform_config": {"config_groups": {"R3": {}}}}, "transform_config", "without it"),
    ],
)
def test_what_cannot_be_read_is_explained(
    folder_of: Callable[[str], Path],
    reference: Reference,
    tmp_path: Path,
    change: dict[str, Any],
    found: str,
    remedy: str,
) -> None:
    path, _ = packed(
        folder_of("llama"),
        tmp_path / "odd",
        lambda name: INT4 if "_proj" in name else None,
        [(change.pop("targets", ["Linear"]), *INT4)],
        actorder=change.pop("actorder", None),
        **change,
    )
    with pytest.raises(BitlensError, match=found) as error:
        opened(path, reference("llama"))
    assert remedy in error.value.remedy


def test_codes_read_by_another_group_s_settings_are_noticed(
    folder_of: Callable[[str], Path],
    reference: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The codes of int8 taken for those of int4, as the library does with what it is told."""
    path, _ = packed(
        folder_of("llama"),
        tmp_path / "mixed",
        lambda name: ((8, 32) if "down" in name else INT4) if "_proj" in name else None,
        [BODY, (["re:.*down_proj"], 8, 32)],
    )
    schemes = compressed._schemes

    def narrowest(*given: Any) -> Any:
        found = dict(schemes(*given))
        least = min(found.values(), key=lambda scheme: scheme.weights.num_bits)
        return dict.fromkeys(found, least).items()

    monkeypatch.setattr(compressed, "_schemes", narrowest)
    with pytest.raises(BitlensError, match=r"down_proj\.weight of mixed \(int4\) is not what its"):
        opened(path, reference("llama"))
