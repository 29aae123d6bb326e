"""Sparse codes: which latents fire at which positions, the form that analyses work on."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Codes:
    """The positive entries of a `[rows, latents]` matrix of codes, by row, then latent.

    An entry takes 20 bytes, so codes of which a fifth is positive take what the dense matrix
    would: whoever encodes chooses how many rows at a time.
    """

    row: Tensor
    """`[m]` int64, ascending."""
    latent: Tensor
    """`[m]` int64, ascending within a row."""
    value: Tensor
    """`[m]` float32, all above zero."""
    rows: int
    latents: int
    scale: Tensor | None = None
    """`[rows, 1]`: what each row was divided by before encoding; decoding multiplies by it.
    None where the autoencoder does not normalise."""
    shift: Tensor | None = None
    """`[rows, 1]`: what was subtracted from each row before that; None where nothing was."""

    def dense(self) -> Tensor:
        """`[rows, latents]` float32 with the zeros written out."""
        matrix = self.value.new_zeros(self.rows, self.latents)
        matrix[self.row, self.latent] = self.value
        return matrix

    def starts(self) -> Tensor:
        """`[rows + 1]` int64: row i's entries are `starts[i]` to `starts[i + 1]`."""
        counts = torch.bincount(self.row, minlength=self.rows)
        return torch.nn.functional.pad(counts.cumsum(0), (1, 0))
