"""Tests of what products in 16 bits are said to be worth."""

import pytest
import torch

from bitlens.models import sixteen_bits
from bitlens.models.sixteen_bits import instructions, speedup, worth_pairing

CPU = torch.device("cpu")


def test_seconds_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest of three, the first not counted: 6 seconds in float32 over 2 in bfloat16."""
    taken = iter([9.0, 7.0, 6.0, 8.0, 1.0, 4.0, 2.0, 3.0])
    monkeypatch.setattr(sixteen_bits, "_seconds", lambda _x, _weight: next(taken))
    assert speedup.__wrapped__("cpu") == 3.0


def test_this_machine_is_measured() -> None:
    """A number, whatever the processor."""
    assert speedup("cpu") > 0


@pytest.mark.parametrize(("times", "worth"), [(2.9, False), (3.0, True)])
def test_what_is_worth_it(times: float, worth: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as fast, on a processor that has the instructions."""
    monkeypatch.setattr(sixteen_bits, "speedup", lambda _device: times)
    monkeypatch.setattr(sixteen_bits, "instructions", lambda: ["amx_bf16"])
    assert worth_pairing(CPU) == worth


def test_without_instructions_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No audit waits for what is known."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False})
    monkeypatch.setattr(sixteen_bits, "speedup", lambda _device: pytest.fail("measured"))
    assert instructions() == []
    assert not worth_pairing(CPU)
