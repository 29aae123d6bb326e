"""doctor: what it says of this machine, and what it keeps to itself."""

import re

import pytest

from tests.support.commands import Command


def test_the_doctor_tells_no_secrets(bitlens: Command, monkeypatch: pytest.MonkeyPatch):
    """Versions, machine and the embedded model; of a token only that it is set."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = bitlens("doctor")
    assert done.code == 0
    assert re.search(r"torch: +\d", done.out)
    assert re.search(r"HF_TOKEN: +set", done.out)
    assert re.search(r"HF_HUB_OFFLINE: +1", done.out)
    assert re.search(r"calibrated twins: +\d+ in .*twins, [\d.]+ GB; remove that folder", done.out)
    assert re.search(r"embedded model: +loads", done.out)
    assert "hf_secret" not in done.out + done.err
