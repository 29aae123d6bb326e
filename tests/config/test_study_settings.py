"""Single settings of a study: what they may be."""

import pytest

from bitlens.config.study_settings import parse_bytes
from bitlens.errors import BitlensError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8GB", 8_000_000_000), ("512MB", 512_000_000), ("1.5GiB", 1_610_612_736), ("7 B", 7)],
)
def test_bytes_are_read(text: str, expected: int):
    """GB are powers of 1,000, GiB of 1,024."""
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "8", "8 GBs", "-1GB", "0GB", "nanGB", "1e9B", "8iB"])
def test_bytes_without_sense_are_refused(text: str):
    """A number without a unit might mean anything."""
    with pytest.raises(BitlensError, match="unit"):
        parse_bytes(text)
