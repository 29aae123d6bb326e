"""What is tried on every checkpoint, of four families."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from bitlens.compression import coverage
from bitlens.compression.checkpoint_twin import CheckpointTwin
from bitlens.compression.checkpoints import LoadedCheckpoint, open_checkpoint
from bitlens.compression.methods.checkpoint import Checkpoint as Settings
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded

FAMILIES = ("llama", "gpt2", "gpt_neox", "qwen3_moe")
TOKENS = torch.arange(4, 16)[None]


def opened(path: Path | str, reference: Loaded, run: str = "auto") -> LoadedCheckpoint:
    return open_checkpoint(Settings(path=str(path), run=run), reference)


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return model(TOKENS, use_cache=False).logits.float()


def weights(checkpoint: LoadedCheckpoint) -> dict[str, Tensor]:
    return {name: entry.weight() for name, entry in checkpoint.stored.items()}


@torch.no_grad()
def pushed(module: nn.Module, columns: int) -> Tensor:
    """`[out, in]`: what a module does to the identity, what it does to nothing taken off."""
    own = getattr(module, "scales", getattr(module, "weight", None))
    dtype = own.dtype if own is not None and own.is_floating_point() else torch.float32
    dtype = torch.float32 if dtype.itemsize == 1 else dtype
    identity = torch.eye(columns, dtype=dtype)[None]
    return (module(identity) - module(torch.zeros_like(identity)))[0].T.float()


def rows(checkpoint: LoadedCheckpoint, reference: Loaded) -> list[coverage.Row]:
    """The table of what differs from the reference."""
    before = dict(reference.model.named_parameters(remove_duplicate=False))
    return [
        coverage.measure(
            name,
            "block",
            before[name],
            entry.weight(),
            storage=coverage.Storage(format=entry.format, bits=entry.bits),
        )
        for name, entry in checkpoint.stored.items()
    ]


def check_laws(checkpoint: LoadedCheckpoint, reference: Loaded, tolerance: float = 0) -> None:
    """What every checkpoint obeys: it answers in the reference's names, shapes and orientation,
    before and after it has run; its modules multiply with what it says that it holds; its blocks
    are where the reference's are."""
    before = dict(reference.model.named_parameters(remove_duplicate=False))
    held = weights(checkpoint)
    assert held.keys() == before.keys()
    for name, weight in held.items():
        assert weight.shape == before[name].shape
        assert weight.dtype == torch.float32
        assert not weight.requires_grad
        own = before[name].detach()
        difference = float((weight - own).norm() / own.norm())
        assert difference < 0.25, f"{name} is {difference:.2f} away from the reference"
    assert not any(module.training for module in checkpoint.model.modules())
    assert torch.isfinite(logits(checkpoint.model)).all()
    after = weights(checkpoint)
    assert all(torch.equal(held[name], after[name]) for name in held)
    modules = dict(checkpoint.model.named_modules())
    own = dict(reference.model.named_modules())
    tried = 0
    for name, weight in held.items():
        path = name.removesuffix(".weight")
        if path in modules and isinstance(own.get(path), nn.Linear | Conv1D):  # type: ignore[attr-defined]
            effective = weight.T if isinstance(own[path], Conv1D) else weight
            found = pushed(modules[path], effective.shape[1])
            assert torch.allclose(found, effective, rtol=tolerance, atol=tolerance), name
            tried += 1
    assert tried >= 4 * 3


class _Products(TorchDispatchMode):
    """What matrices of real numbers were multiplied in, whoever asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if call.overloadpacket in _PRODUCTS:
            given = [arg for arg in args if isinstance(arg, Tensor) and arg.is_floating_point()]
            self.dtypes |= {tensor.dtype for tensor in given}
        return call(*args, **(kwargs or {}))


_PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm}


def multiplied(model: nn.Module) -> set[torch.dtype]:
    """The dtypes in which a model multiplies matrices."""
    with torch.no_grad(), _Products() as seen:
        model(torch.arange(1, 8)[None], use_cache=False)
    return seen.dtypes


def arithmetic(checkpoint: LoadedCheckpoint, reference: Loaded) -> torch.dtype | None:
    """What is said of a twin with it."""
    settings = Settings(path="checkpoint")
    return CheckpointTwin(Layout(reference.model), settings, checkpoint).arithmetic
