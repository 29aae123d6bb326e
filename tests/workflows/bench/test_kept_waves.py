"""Files of waves: what is damaged or of others is as good as none."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.workflows.bench.kept_waves import Said, keep, recalled

LEFT: dict[str, Any] = {
    "of": np.array("these"),
    "batches": np.array([1]),
    "requests": np.array([0, 2]),
    "at": np.full((1, 2, 3), -1.0),
    "first": np.zeros((1, 2), dtype=bool),
}


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    """Of the same models and batches, the numbers of the requests; of others, nothing."""
    said = Said.nothing(1, 3, 3)
    said.at[:] = np.arange(9).reshape(1, 3, 3)
    keep(tmp_path, said, [1], np.array([0, 2]), "these")
    again = Said.nothing(1, 3, 3)
    assert recalled(tmp_path, again, 2, "those") == set()
    assert not again.at.any()
    assert recalled(tmp_path, again, 2, "these") == {1}
    assert again.at[0, :, 0].tolist() == [0, 0, 6]


@pytest.mark.parametrize(
    "wrong",
    [
        {"batches": np.array([2])},
        {"batches": np.array([-1])},
        {"batches": np.array(1)},
        {"batches": np.array([[1]])},
        {"requests": np.array([0, -1])},
        {"requests": np.array([0, 0])},
        {"requests": np.array([0, 3])},
        {"first": np.zeros((1, 3), dtype=bool)},
        {"at": np.full((1, 2, 3), "x")},
        {"of": np.array(["these", "those"])},
    ],
)
def test_what_does_not_fit_is_none(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Numbers out of bounds or twice, and other shapes: nothing is put in, and nothing raised."""
    file = io.BytesIO()
    np.savez(file, **(LEFT | wrong))
    (tmp_path / "1.npz").write_bytes(file.getvalue())
    said = Said.nothing(1, 3, 3)
    assert recalled(tmp_path, said, 2, "these") == set()
    assert not said.at.any()
    assert said.first.all()


def test_a_file_that_would_fill_the_memory_is_none(tmp_path: Path) -> None:
    """Zeros that unpack to a thousand times the file's size are not unpacked."""
    file = io.BytesIO()
    blocks = 1_100_000
    bomb = np.zeros((1, 2, blocks))
    np.savez_compressed(file, **(LEFT | {"at": bomb}))
    (tmp_path / "1.npz").write_bytes(file.getvalue())
    assert recalled(tmp_path, Said.nothing(1, 3, blocks), 2, "these") == set()
