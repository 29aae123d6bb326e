"""What a checkpoint holds, by the names of the reference."""

import torch
from torch import nn

from bitlens.compression.checkpoints.stored import find


class Fused(nn.Module):
    """Two experts as transformers holds them: one tensor for all."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.zeros(2, 8, 3))
        self.down_proj = nn.Parameter(torch.zeros(2, 3, 4))


class Apart(nn.Module):
    """One expert as libraries hold it that take them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(3, 4, bias=False)
        self.up_proj = nn.Linear(3, 4, bias=False)
        self.down_proj = nn.Linear(4, 3, bias=False)


def test_experts_that_were_taken_apart_are_put_together_again() -> None:
    """One above the other, the gate before what it gates."""
    experts = nn.ModuleList([Apart(), Apart()])
    reference = nn.ModuleDict({"experts": Fused()})
    stored = find(reference, nn.ModuleDict({"experts": experts}))
    for n, expert in enumerate(experts):
        both = torch.cat([expert.gate_proj.weight, expert.up_proj.weight])
        assert torch.equal(stored["experts.gate_up_proj"].weight()[n], both)
        assert torch.equal(stored["experts.down_proj"].weight()[n], expert.down_proj.weight)
