"""A model whose heads are known because they were built by hand, and lesions of known places."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
import transformers
from torch import Tensor, nn

from bitlens.compression.compression import CompressedMatrix, DataFree
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from bitlens.sae.sae import Sae

SIZE, HEADS = 32, 4
"""Tokens, positions and dimensions of a head; the model is four heads wide."""
TOKEN, PLACE, BEFORE = (range(SIZE * n, SIZE * (n + 1)) for n in range(3))
"""Dimensions of the residual stream: which token stands here, where it stands, which token stands
before it."""
PREVIOUS, INDUCTION = (0, 1), (1, 2)
"""Block and head of what is planted."""
SHARP = 90.0
"""How sure a head is of where it looks."""


@cache
def copier() -> Layout:
    """Two blocks of attention alone. A head of the first looks at the token before and writes it
    down; a head of the second looks for where the current token was written down, which is behind
    its last occurrence, and says the token that it finds there. All other heads look anywhere and
    say nothing."""
    width = SIZE * HEADS
    config = transformers.AutoConfig.for_model(
        "gpt2",
        vocab_size=SIZE,
        n_positions=SIZE,
        n_embd=width,
        n_layer=2,
        n_head=HEADS,
        n_inner=8,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1)
        base = model.transformer
        base.wte.weight[:, TOKEN] = torch.eye(SIZE)
        base.wpe.weight[:, PLACE] = torch.eye(SIZE)
        earlier = torch.eye(SIZE).roll(-1, dims=1)
        earlier[0] = 0
        _plant(base.h[0].attn, PREVIOUS[1], 2, PLACE, earlier, PLACE, BEFORE, 1.0)
        _plant(base.h[1].attn, INDUCTION[1], 3, TOKEN, torch.eye(SIZE), BEFORE, TOKEN, 4.0)
        for block, head in (PREVIOUS, INDUCTION):
            _unsettle(base.h[block].attn, head)
    return Layout(model.eval())


def _plant(
    attention: nn.Module,
    head: int,
    ones: int,
    query: range,
    wanted: Tensor,
    key: range,
    to: range,
    strength: float,
) -> None:
    """A head that reads `query`, looks where `key` is what is `wanted`, and writes the token it
    finds there. All states have so many ones and else noughts, so the norm before it is one affine
    map, which weights and biases undo."""
    width = SIZE * HEADS
    mean = ones / width
    spread = (mean - mean**2) ** 0.5
    rows = slice(head * SIZE, (head + 1) * SIZE)
    q, k, v = (slice(part * width + rows.start, part * width + rows.stop) for part in range(3))
    # Conv1D: inputs are rows. What is read is spread * x + mean.
    attention.c_attn.weight[query, q] = SHARP * spread * wanted
    attention.c_attn.bias[q] = SHARP * mean * wanted.sum(dim=0)
    attention.c_attn.weight[key, k] = spread * torch.eye(SIZE)
    attention.c_attn.bias[k] = mean
    attention.c_attn.weight[TOKEN, v] = spread * torch.eye(SIZE)
    attention.c_attn.bias[v] = mean
    attention.c_proj.weight[rows, to] = strength * torch.eye(SIZE)


def _unsettle(attention: nn.Module, planted: int) -> None:
    """Small queries and keys of the heads that do nothing, so that they do not all do the same."""
    draw = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(attention.c_attn.weight.shape, generator=draw)
    noise[:, 2 * SIZE * HEADS :] = 0
    for part in (0, 1):
        begin = (part * HEADS + planted) * SIZE
        noise[:, begin : begin + SIZE] = 0
    attention.c_attn.weight += noise


@dataclass(frozen=True)
class Blind(DataFree):
    """Lesion: one head's queries become nought, so that it looks everywhere alike."""

    name: ClassVar[str] = "blind"
    head: int = 0

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        weight = matrix.weight.float().clone()
        weight[self.head * SIZE : (self.head + 1) * SIZE] = 0
        return CompressedMatrix(weight, 32.0)


def blind(block: int, head: int) -> Blind:
    """The model but for one head."""
    return Blind(include=(f"h.{block}.attn.c_attn",), head=head)


def orthonormal(width: int, latents: int, site: str) -> Sae:
    """An SAE whose directions have nothing in common: what is taken from one is taken from none
    of the others."""
    draw = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(width, width, generator=draw))[0][:, :latents]
    zeros = torch.zeros(latents), torch.zeros(width)
    return Sae(
        label="orthonormal",
        hook=site,
        architecture="standard",
        w_enc=directions.contiguous(),
        b_enc=zeros[0],
        w_dec=directions.T.contiguous(),
        b_dec=zeros[1],
    )


@dataclass(frozen=True)
class Mute(DataFree):
    """Lesion: matrices write nothing along one direction."""

    name: ClassVar[str] = "mute"
    direction: tuple[float, ...] = ()

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        along, weight = torch.tensor(self.direction), matrix.weight.float()
        return CompressedMatrix(weight - torch.outer(along, along @ weight), 32.0)
