"""The sparse autoencoder: its weights, what it expects of activations, encoding and decoding.

The conventions are those of SAELens 6, whose folders most published autoencoders come in; readers
of other formats say theirs in these.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from bitlens.errors import SaeError
from bitlens.sae.sparse_codes import Codes

Architecture = Literal["standard", "topk", "jumprelu", "gated", "seed-gated"]
"""A gated one is held as the JumpReLU one that it is, and so has a threshold. seed-gated: of an
earlier study, with codes multiplied by a sigmoid; no other library knows it."""
Normalisation = Literal["none", "expected_average_only_in", "layer_norm", "constant_norm_rescale"]
"""What is done to each activation before encoding. `expected_average_only_in` is a constant that
was folded into the weights when training ended: reading such an autoencoder takes nothing."""

_TILE_BYTES = 32 << 20
"""Of pre-activations at a time: enough rows for the product to run at full speed."""
_LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """What an autoencoder has seen, as far as its folder says."""

    model: str | None = None
    context: int | None = None
    prepend_bos: bool | None = None
    dtype: str | None = None
    loading: dict[str, Any] = field(default_factory=dict)
    """How its model was changed on loading (`center_writing_weights`, `fold_ln`)."""
    positions: tuple[int | None, ...] | None = None
    """Which positions of a context, as the arguments of a slice; None: all."""
    unsaid: tuple[str, ...] = ()
    """Settings that decide how activations are read and that its files do not state."""
    seed: int | None = None
    """Of its first weights and the order of what it learnt from, where that is known."""


@dataclass(frozen=True)
class Published:
    """What its authors measured, as far as its files or its release say."""

    fvu: float | None = None
    l0: float | None = None
    alive: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Sae:
    """A sparse autoencoder at one place of one model; all tensors float32 on one device."""

    label: str
    """Its folder's name."""
    hook: str
    """The place as its folder names it: `blocks.2.hook_resid_post`, `resid.2`."""
    architecture: Architecture
    w_enc: Tensor
    """`[width, latents]`."""
    b_enc: Tensor
    """`[latents]`."""
    w_dec: Tensor
    """`[latents, width]`."""
    b_dec: Tensor
    """`[width]`."""
    threshold: Tensor | None = None
    """`[latents]`, jumprelu and gated: a latent fires where its pre-activation is above this."""
    w_gate: Tensor | None = None
    """`[width, latents]`, seed-gated: a code is multiplied by sigmoid(x w_gate + b_gate)."""
    b_gate: Tensor | None = None
    """`[latents]`, seed-gated."""
    k: int | None = None
    """topk only: at most this many latents fire at a position."""
    apply_b_dec_to_input: bool = True
    """Whether `b_dec` is subtracted before encoding."""
    normalisation: Normalisation = "none"
    centred: bool = False
    """Whether each row's mean over the width is taken away before anything else, as it is from
    models whose writing weights were centred; decoding adds it back."""
    trained_on: TrainedOn = TrainedOn()
    published: Published = Published()
    firing_rate: Tensor | None = None
    """`[latents]`: at which share of positions each fired, as its folder says; None: it does not
    say."""
    neuronpedia: str | None = None
    """What Neuronpedia calls it, `gpt2-small/6-res-jb`, where its files say."""
    fingerprint: str = ""
    """SHA-256 of its files; empty for one that was never read from any."""

    @property
    def width(self) -> int:
        """Dimensions of the activations it reads (SAELens: `d_in`)."""
        return int(self.w_enc.shape[0])

    @property
    def latents(self) -> int:
        """Entries of its code, features (SAELens: `d_sae`)."""
        return int(self.w_enc.shape[1])

    def to(self, device: torch.device | str) -> "Sae":
        """This autoencoder on another device."""
        names = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold", "w_gate", "b_gate")
        tensors = {name: getattr(self, name) for name in names}
        return replace(self, **{n: t.to(device) for n, t in tensors.items() if t is not None})

    def encode(self, x: Tensor) -> Annotated[Tensor, "positions latents"]:
        """`[n, width]` to dense codes `[n, latents]` in float32, zeros included."""
        return self.codes(x).dense()

    @torch.no_grad()
    def codes(self, x: Tensor) -> Codes:
        """`[n, width]` to the latents that fire, in tiles of rows: the dense codes of many rows
        never exist at once. SaeError for activations of another width."""
        if x.ndim != 2 or x.shape[1] != self.width:
            raise SaeError(
                f"The SAE {self.label} reads activations of width {self.width}; "
                f"these have shape {list(x.shape)}.",
                f"[positions, {self.width}], the width of the model it was trained on "
                f"({self.trained_on.model or 'not recorded'}).",
                "an SAE that was trained on this model.",
            )
        x, scale, shift = self.read(x)
        tile = min(max(1, _TILE_BYTES // (4 * self.latents)), max(1, len(x)))
        memory = x.new_empty(tile, self.latents)
        found = []
        for first in range(0, len(x), tile):
            part = x[first : first + tile]
            before = torch.addmm(self.b_enc, part, self.w_enc, out=memory[: len(part)])
            row, latent, value = self._firing(before)
            if self.w_gate is not None and self.b_gate is not None:
                value = value * torch.addmm(self.b_gate, part, self.w_gate)[row, latent].sigmoid()
            found.append((row + first, latent, value))
        if not found:
            nowhere = torch.empty(0, dtype=torch.int64, device=x.device)
            found.append((nowhere, nowhere, x.new_empty(0)))
        row, latent, value = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Codes(
            row=row,
            latent=latent,
            value=value,
            rows=len(x),
            latents=self.latents,
            scale=scale,
            shift=shift,
        )

    def read(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """`[n, width]` to what the encoder is multiplied with, and the scale and the shift of each
        row that decoding gives back."""
        x, scale, shift = self._normalised(x.float())
        return (x - self.b_dec if self.apply_b_dec_to_input else x), scale, shift

    @torch.no_grad()
    def decode(self, codes: Codes) -> Annotated[Tensor, "positions width"]:
        """Codes to `[n, width]` in float32, with the normalisation of their rows undone."""
        x = embedding_bag(
            codes.latent,
            self.w_dec,
            codes.starts(),
            mode="sum",
            per_sample_weights=codes.value,
            include_last_offset=True,
        )
        x += self.b_dec
        if codes.scale is not None:
            x *= codes.scale
        if codes.shift is not None:
            x += codes.shift
        return x

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What is encoded, and what its rows are to be multiplied by and moved by afterwards."""
        shift = None
        if self.centred or self.normalisation == "layer_norm":
            shift = x.mean(dim=1, keepdim=True)
            x = x - shift
        if self.normalisation == "layer_norm":
            scale = x.std(dim=1, keepdim=True)
            # The epsilon stands in the division only, as in SAELens.
            return x / (scale + _LAYER_NORM_EPSILON), scale, shift
        if self.normalisation == "constant_norm_rescale":
            scale = x.norm(dim=1, keepdim=True) / math.sqrt(self.width)
            # A row of zeros has no direction and stays one.
            return x / scale.clamp(min=torch.finfo(x.dtype).tiny), scale, shift
        return x, None, shift

    def _firing(self, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row, latent and value of what fires, of pre-activations `[rows, latents]`."""
        if self.k is not None:
            latent = largest(before, self.k).sort(dim=1).values
            value = before.gather(1, latent)
            row, column = (value > 0).nonzero(as_tuple=True)
            return row, latent[row, column], value[row, column]
        bound = 0.0 if self.threshold is None else self.threshold.clamp(min=0)
        row, latent = (before > bound).nonzero(as_tuple=True)
        return row, latent, before[row, latent]


def largest(before: Tensor, k: int) -> Tensor:
    """`[rows, k]`: where each row's k largest entries are, exactly, without sorting whole rows.

    Columns fall into groups; a row's k largest entries lie in the k groups with the largest
    maxima, for each group that holds one of them has a maximum among them. The groups' size is
    the divisor that makes both choices, of groups and within them, about equally short.
    """
    rows, columns = before.shape
    balanced = math.isqrt(columns // k)
    group = next(size for size in range(balanced, 0, -1) if columns % size == 0)
    if group == 1:
        return before.topk(k, sorted=False).indices
    apart = columns // group
    grouped = before.view(rows, group, apart)
    chosen = grouped.amax(dim=1).topk(k, sorted=False).indices
    candidates = grouped.gather(2, chosen[:, None, :].expand(rows, group, k)).flatten(1)
    place = candidates.topk(k, sorted=False).indices
    return (place // k) * apart + chosen.gather(1, place % k)
