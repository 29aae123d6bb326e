"""The files of an SAE: settings and tensors, checked where every format needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from bitlens.errors import SaeError, told
from bitlens.results.files import reading

_AGAIN = "fetch it again: it was cut short, or is something else under that name."


def read_bytes(file: Path) -> bytes:
    """All of a file, if there is memory for it: what is hashed is then what is read."""
    return reading.read_bytes(file, psutil.virtual_memory().available)


def settings(data: bytes, file: Path) -> dict[str, Any]:
    """A JSON object. SaeError for anything else."""
    found = reading.parse_json(data, str(file))
    if not isinstance(found, dict):
        raise SaeError(f"{file} holds no settings.", "a JSON object.", _AGAIN)
    return found


def settings_beside(file: Path) -> dict[str, Any]:
    """A JSON object from a file that need not be there; empty where it is not."""
    return settings(read_bytes(file), file) if file.is_file() else {}


def known(found: Mapping[str, Any], name: str, kind: type, file: Path) -> Any:
    """A setting of this kind; None where it is missing or null. SaeError for another kind."""
    value = found.get(name)
    # True and False are whole numbers to Python.
    fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if value is not None and not fits:
        raise SaeError(
            f"{file} gives {name} as {value!r}.",
            f"a {kind.__name__}.",
            "the file as it was published.",
        )
    return value


@dataclass(frozen=True, eq=False)
class Tensors:
    """The tensors of one file, by name."""

    file: Path
    by_name: Mapping[str, Tensor]

    @classmethod
    def of_safetensors(cls, data: bytes, file: Path) -> "Tensors":
        """The tensors in the bytes of a safetensors file; BitlensError where it is not whole."""
        try:
            return cls(file, load(data))
        except SafetensorError as error:
            raise SaeError(
                f"{file} is not a whole safetensors file: {told(error)}.", "the whole file.", _AGAIN
            ) from error

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def sizes(self, name: str, form: str) -> tuple[int, int]:
        """Rows and columns of the matrix that all other shapes follow from; `form` names them.
        SaeError where it is not there."""
        matrix = self.by_name.get(name)
        if matrix is None or matrix.ndim != 2 or 0 in matrix.shape:
            raise SaeError(
                f"{self.file} has no decoder; it holds {self.shapes}.",
                f"{name} of shape {form}.",
                "the file as it was published.",
            )
        rows, columns = matrix.shape
        return rows, columns

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor of the shape it must have, finite, in float32. SaeError for any other."""
        tensor = self.by_name.get(name)
        if tensor is None or tuple(tensor.shape) != shape:
            found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
            raise SaeError(
                f"{name} {found} in {self.file}.",
                f"{name} of shape {list(shape)} (the file holds {self.shapes}).",
                "the folder as it was published, settings and weights of one SAE.",
            )
        tensor = tensor.float().contiguous()
        if not bool(tensor.isfinite().all()):
            raise SaeError(
                f"{name} in {self.file} holds {int((~tensor.isfinite()).sum()):,} values that "
                "are not finite.",
                "finite weights.",
                "fetch the file again; if it is the same, its training failed.",
            )
        return tensor

    @property
    def shapes(self) -> str:
        """Every tensor with its shape, as words."""
        named = sorted(self.by_name.items())
        return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in named) or "nothing"


def agree(said: Mapping[str, Any], found: Mapping[str, int], file: Path, weights: Path) -> None:
    """Sizes in the settings are those of the weights, where the settings name them. SaeError where
    they are not."""
    wrong = {name: said[name] for name in found if said.get(name, found[name]) != found[name]}
    if wrong:
        raise SaeError(
            f"{file} says {_list(said, found)}; {weights} has {_list(found, found)}.",
            "settings and weights of one SAE.",
            "fetch the folder again: its files are of different SAEs.",
        )


def _list(values: Mapping[str, Any], names: Mapping[str, int]) -> str:
    return " and ".join(f"{name} {values[name]}" for name in names if name in values)


def gated(
    w_enc: Tensor, b_gate: Tensor, r_mag: Tensor, b_mag: Tensor, *, where: Path | str
) -> tuple[Tensor, Tensor, Tensor]:
    """`w_enc`, `b_enc` and `threshold` of the JumpReLU SAE that a gated one is. `where`: what the
    error names where float32 cannot hold them.

    With pi = W x + b_gate, f = 1[pi > 0] relu(exp(r_mag) W x + b_mag) (Rajamanoharan et al. 2024,
    "Improving Dictionary Learning with Gated Sparse Autoencoders", equation 6). Of the magnitude's
    pre-activation m = exp(r_mag) W x + b_mag, pi > 0 says m > b_mag - exp(r_mag) b_gate (the same
    paper, section 3.2 and appendix). SaeError where float32 cannot hold them.
    """
    gain = r_mag.exp()
    weight, threshold = w_enc * gain, b_mag - gain * b_gate
    if not bool(weight.isfinite().all() and threshold.isfinite().all()):
        raise SaeError(
            f"exp(r_mag) in {where} leaves float32: r_mag reaches {float(r_mag.max()):.4g}.",
            "gains whose products with the encoder and the gate's bias are finite.",
            "fetch it again; if it is the same, its training failed.",
        )
    return weight, b_mag, threshold


def every(threshold: Tensor, latents: int) -> Tensor:
    """`[latents]`: one threshold for all of them."""
    return torch.full((latents,), float(threshold))
