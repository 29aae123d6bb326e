"""Where hostile inputs are laid: a folder, sound things to spoil, and commands to try."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

Command = list[str]


@dataclass(frozen=True)
class Place:
    """A folder to lay an input in, beside what is sound."""

    root: Path
    model: Path
    """A tiny Llama."""
    texts: Path
    sae: Path
    """For the output of its second block, in SAELens' form."""
    results: Path
    """An audit of the model with the SAE."""

    @property
    def out(self) -> Path:
        """The one folder that a command may write to."""
        return self.root / "out"

    def file(self, name: str, content: str | bytes) -> str:
        """A file with this content; its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        path.write_bytes(data)
        return str(path)

    def copy(self, of: Path, name: str = "copy") -> Path:
        """A copy to be spoilt."""
        return Path(shutil.copytree(of, self.root / name))

    def audit(self, model: object = None, **options: object) -> Command:
        """A small audit; options by their names, with `_` for `-`."""
        given = {
            "to": "rtn:bits=4",
            "text": self.texts,
            "tokens": 600,
            "controls": "none",
            "analyses": "behaviour",
            "out": self.out,
            **options,
        }
        return ["audit", str(model or self.model), *options_of(given)]

    def of_text(self, name: str, content: str | bytes) -> Command:
        """A small audit of a text."""
        return self.audit(text=self.file(name, content))

    def of_config(self, **changed: Any) -> Command:
        """A small audit of the model with another config.json; None takes a key away."""
        copy = self.copy(self.model)
        rewrite(copy / "config.json", changed)
        return self.audit(copy)

    def of_weights(self, change: Callable[[dict[str, Any]], Any]) -> Command:
        """A small audit of the model with other tensors."""
        copy = self.copy(self.model)
        path = copy / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})
        return self.audit(copy)

    def of_sae(self, change: Callable[[Path], Any]) -> Command:
        """The fit of an SAE whose folder was changed."""
        copy = self.copy(self.sae)
        change(copy)
        return ["fit", str(self.model), "--sae", str(copy), "--text", str(self.texts)]

    def of_results(self, change: Callable[[Path], Any]) -> Command:
        """The report of results whose folder was changed."""
        copy = self.copy(self.results, "out")
        change(copy)
        return ["report", str(copy)]

    def of_study(self, text: str) -> Command:
        """A check of a study."""
        return ["study", self.file("study.yaml", text), "--out", str(self.out), "--check"]


def options_of(given: dict[str, object]) -> list[str]:
    """`--name value` of each, those that are None left out."""
    return [
        word
        for name, value in given.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def rewrite(path: Path, changed: dict[str, Any]) -> None:
    """Other values in a JSON file; None takes a key away."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values.update(changed)
    kept = {name: value for name, value in values.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """An input, the command that meets it, and a part of what must be said of it."""

    name: str
    make: Callable[[Place], Command]
    said: str


Refused = Callable[[Case], None]
"""Runs the command of a case and sees that it is refused, and well."""


def case(name: str, said: str, make: Callable[[Place], Command]) -> Case:
    return Case(name, make, said)
