"""Probes are read as they were written."""

from pathlib import Path

import numpy as np
import pytest

from bitlens.errors import BitlensError
from bitlens.workflows.probe_file import ProbeName, read_probes, written


def test_probes_are_read_as_they_were_written(tmp_path: Path) -> None:
    """By name, whatever is in it, to the last digit."""
    name = ProbeName("m", "rtn:bits=4,group=64", "resid.3", "code, logistic", "linear map")
    probes = {name: np.array([0.1, -2.0, 1 / 3]), name._replace(way="as it is"): np.zeros(3)}
    path = tmp_path / "probes.safetensors"
    path.write_bytes(written(probes))
    found = read_probes(path)
    assert set(found) == set(probes)
    for key, values in probes.items():
        np.testing.assert_array_equal(found[key], values)


def test_what_is_no_file_of_probes_is_refused(tmp_path: Path) -> None:
    """Other bytes, tensors of other names, of another format, of another type or shape, and what
    is not finite."""
    import torch
    from safetensors.numpy import save
    from safetensors.torch import save as save_torch

    path = tmp_path / "probes.safetensors"
    name, said = "m\tt\tresid.3\tset\tway", {"format": "bitlens-probes-1"}
    path.write_bytes(save({name: np.zeros(3)}, metadata=said))
    assert len(read_probes(path)) == 1
    for content in (
        b"no tensors",
        save({"resid.3": np.zeros(3)}, metadata=said),
        save({name: np.zeros(3)}),
        save({name: np.zeros(3)}, metadata={"format": "another"}),
        save({name: np.zeros((2, 2))}, metadata=said),
        save({name: np.zeros(3, dtype=np.int64)}, metadata=said),
        save({name: np.array([1.0, np.nan])}, metadata=said),
        save_torch({name: torch.zeros(3, dtype=torch.bfloat16)}, metadata=said),
    ):
        path.write_bytes(content)
        with pytest.raises(BitlensError, match="is no file of probes"):
            read_probes(path)
