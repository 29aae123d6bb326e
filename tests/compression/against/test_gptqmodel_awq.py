"""AWQ against gptqmodel, where it is installed: the output error of every map of a block.

gptqmodel restores no weights between exponents where they are float32 on the CPU, so its model is
float16. By itself it takes powers of inputs over weights, where the paper takes inputs alone.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.awq import Awq
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap

pytestmark = [pytest.mark.against, pytest.mark.slow]

GROUP = 32


@pytest.fixture(scope="module")
def gptqmodel() -> ModuleType:
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # It wants two even of one core.
    return pytest.importorskip("gptqmodel", reason="pip install gptqmodel")


@pytest.fixture(scope="module")
def model(tiny_model: Callable[..., nn.Module]) -> nn.Module:
    """One block whose norms make some inputs many times larger than others."""
    model = tiny_model(
        "llama",
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
    )
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.randn(parameter.shape, generator=random).exp())
    return model.half().float()


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(4, 99, (16, 64), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def groups(model: nn.Module, tokens: Tensor) -> list[tuple[list[LinearMap], InputStatistics]]:
    """Maps that read the same input, and what is known of it."""
    layout = Layout(model)
    groups = layout.maps(0, layout.weights(0))
    seen: dict[str, Tensor] = {}
    for matrices in groups:

        def keep(module: nn.Module, args: Any, name: str = matrices[0].name) -> None:
            seen[name] = args[0].detach().flatten(0, -2)

        model.get_submodule(matrices[0].name).register_forward_pre_hook(keep)
    with torch.no_grad():
        model(tokens)
    inputs = [
        InputStatistics(
            count=torch.tensor(len(x)), second_moment=x.T @ x / len(x), mean_abs=x.abs().mean(0)
        )
        for x in (seen[matrices[0].name] for matrices in groups)
    ]
    return list(zip(groups, inputs, strict=True))


@pytest.fixture(params=["inputs", "ratio"])
def theirs(
    request: pytest.FixtureRequest,
    gptqmodel: ModuleType,
    model: nn.Module,
    tokens: Tensor,
    letters: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[str, Callable[[int], dict[str, Tensor]]]]:
    """Effective weights of its model by name, made on the same tokens."""
    from gptqmodel.looper.awq_processor import AWQProcessor
    from gptqmodel.quantization.config import AWQConfig

    begin, finish = AWQProcessor.__init__, AWQProcessor.apply_quant
    made: dict[str, Tensor] = {}

    def beginning(self: Any, *args: Any, **settings: Any) -> None:
        begin(self, *args, **settings)
        self.duo_scaling = request.param != "inputs"

    def finishing(self: Any, linears: dict[str, Any], scales: list[Any]) -> None:
        finish(self, linears, scales)
        path = "model.layers.0."
        for name, linear in linears.items():
            made[path + name] = linear.state["wq"].float().clone()
        for before, after, scale, _ in scales:
            for name in after:
                made[name] /= scale.float()
            if before in made:
                made[before] *= scale.float().unsqueeze(-1)

    monkeypatch.setattr(AWQProcessor, "__init__", beginning)
    monkeypatch.setattr(AWQProcessor, "apply_quant", finishing)
    model.save_pretrained(tmp_path)
    letters.save_pretrained(tmp_path)

    def make(bits: int) -> dict[str, Tensor]:
        backend = gptqmodel.BACKEND.AWQ_TORCH
        loaded = gptqmodel.GPTQModel.load(
            str(tmp_path),
            AWQConfig(bits=bits, group_size=GROUP, sym=False),
            device="cpu",
            backend=backend,
            dtype=torch.float16,
        )
        rows = [{"input_ids": r[None], "attention_mask": torch.ones_like(r[None])} for r in tokens]
        loaded.quantize(rows, tokenizer=letters, batch_size=1, backend=backend)
        return made

    return request.param, make


@pytest.mark.parametrize("bits", [3, 4])
def test_output_errors(
    bits: int,
    theirs: tuple[str, Callable[[int], dict[str, Tensor]]],
    groups: list[tuple[list[LinearMap], InputStatistics]],
) -> None:
    """Of each group of maps, relative output errors add up to at most gptqmodel's and 2 %, and of
    the block to well below those of rounding to nearest."""
    scale, make = theirs
    made = make(bits)
    totals = torch.zeros(3)
    for matrices, inputs in groups:
        assert inputs.second_moment is not None
        awq = Awq(bits=bits, group=GROUP, scale=scale).compress(
            MatrixGroup(matrices, 0, inputs=inputs)
        )
        rtn = Rtn(bits=bits, group=GROUP, symmetric=False).compress(MatrixGroup(matrices, 0))
        errors = torch.zeros(3)
        for matrix, one, plain in zip(matrices, awq, rtn, strict=True):
            whole = _error(matrix.weight, inputs.second_moment)
            for n, weight in enumerate((one.weight, made[matrix.name], plain.weight)):
                errors[n] += _error(weight - matrix.weight, inputs.second_moment) / whole
        assert errors[0] <= 1.02 * errors[1]
        totals += errors
    assert totals[0] < 0.8 * totals[2]


def _error(weight: Tensor, second: Tensor) -> Tensor:
    """Mean squared output over the calibration positions."""
    return ((weight @ second) * weight).sum()
