"""Rotary factors that follow from how long a text is: every row's from its own length.

Some models widen their factors for texts beyond the length they were trained on (`dynamic`,
`longrope`). transformers goes by the longest row of a batch, and remembers longer ones it has
seen: a document's numbers would depend on its company.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from bitlens.models.strip import strip

_FOLLOW = ("dynamic", "longrope")


def length_dependent(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model that go by the longest row, by their paths."""
    for path, module in model.named_modules():
        kind = getattr(module, "rope_type", None)
        kinds = kind.values() if isinstance(kind, dict) else [kind]
        if any(word in str(kind) for kind in kinds for word in _FOLLOW):
            yield path, module


class RowByRow(nn.Module):
    """Stands in for such a module: calls it for the rows of each length alone, as if it had never
    been called before."""

    def __init__(self, rotary: nn.Module) -> None:
        super().__init__()
        self._rotary = [rotary]  # in a list, so that it is not registered as a submodule
        self.lengths: Tensor | None = None
        """`[rows]`: tokens that are not padding; None: all rows are as long as the batch."""

    def forward(self, x: Tensor, position_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Cosines and sines `[rows, positions, size]`, each row's from its own length."""
        lengths = self.lengths
        if lengths is None or position_ids.ndim != 2:
            return _fresh(self._rotary[0])(x, position_ids, *args, **kwargs)
        rows, width = len(lengths), position_ids.shape[1]
        positions = position_ids.expand(rows, width)
        whole: list[Tensor] = []
        for length in lengths.unique().tolist():
            mine = lengths == length
            made = _fresh(self._rotary[0])(x[mine], positions[mine, :length], *args, **kwargs)
            parts = made if isinstance(made, tuple) else (made,)
            whole = whole or [p.new_zeros((rows, width, *p.shape[2:])) for p in parts]
            for into, part in zip(whole, parts, strict=True):
                into[mine, :length] = part
        return tuple(whole) if isinstance(made, tuple) else whole[0]


def _fresh(rotary: nn.Module) -> nn.Module:
    """A copy without what it remembers of earlier calls."""
    copy = strip(rotary)
    for name, buffer in rotary.named_buffers(recurse=False):
        own = rotary._buffers.get(name.replace("inv_freq", "original_inv_freq"), buffer)
        copy._buffers[name] = own.clone() if own is not None else None
    for name in vars(rotary):
        if name.endswith("max_seq_len_cached"):
            setattr(copy, name, rotary.original_max_seq_len)
    return copy
