"""A model as a user names it, and how it is to be loaded. No torch."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from bitlens.errors import ModelError, in_one_line
from bitlens.registry import nearest_file

EMBEDDED = "demo"
"""What a user calls the model that comes with bitlens."""
IN_MEMORY = "object:"
"""What the name of a model begins with that was handed over as an object."""


@dataclass(frozen=True)
class ModelSource:
    """A model as a user names it."""

    name: str
    """A folder or a hub id."""
    _: KW_ONLY
    revision: str | None = None
    """Of a hub id: branch, tag or commit."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """How weights are held; auto: as the checkpoint is stored."""
    compute: Literal["auto", "float32", "paired", "bfloat16", "float16"] = "auto"
    """What is computed in, whatever the weights are stored in; logits are always float32. paired:
    of twins only what they differ by from the reference is multiplied, in bfloat16; auto: float32.
    In 16 bits, what that alone changes is measured beside."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`; auto: a GPU if there is one."""
    device_map: str | None = None
    """Passed to transformers (`auto`, `balanced`), for several GPUs."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""
    saes: tuple[str, ...] = ()
    """SAEs that were trained on this model: folders, or `release:RELEASE:SAE_ID` as SAELens names
    them."""


def refuse_absent_folder(source: ModelSource) -> None:
    """ModelError where a model is named that can be nothing but a path, and there is none: what has
    one slash may be a hub id."""
    path = Path(source.name)
    if source.name.startswith(IN_MEMORY):
        return
    named = source.name.count("/") > 1 or source.name.startswith((".", "/", "~"))
    if named and not path.exists():
        raise ModelError(
            f"There is no folder {source.name}.",
            "a folder with config.json, safetensors weights and a tokenizer, or a hub id.",
            nearest_file(path) or "the path of a downloaded model.",
        )


def name_of(source: ModelSource) -> str:
    """What is the model called? The hub id, of a folder in its cache too, the folder's own name,
    or what an object was called when it was handed over."""
    if source.name.startswith(IN_MEMORY):
        return source.name.removeprefix(IN_MEMORY)
    path = Path(source.name)
    if not path.exists():
        return source.name
    path = path.resolve()
    if path.parent.name == "snapshots" and path.parents[1].name.startswith("models--"):
        return path.parents[1].name.removeprefix("models--").replace("--", "/")
    return in_one_line(path.name)
