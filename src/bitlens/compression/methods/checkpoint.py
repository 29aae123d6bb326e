"""A twin that was made elsewhere: a folder, a file or a hub id."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.spec_settings import check
from bitlens.results.files.home import without_home


@COMPRESSIONS.register("checkpoint")
@dataclass(frozen=True, kw_only=True)
class Checkpoint(Compression):
    """A checkpoint with modules of its own: bitsandbytes, GPTQ, AWQ, compressed-tensors, HQQ,
    torchao, ModelOpt's FP8, MXFP4, a .gguf file, or ordinary weights."""

    name: ClassVar[str] = "checkpoint"
    question: ClassVar[str] = (
        "Which folder, file or hub id is the twin, where the twin was made elsewhere?"
    )
    positional: ClassVar[str | None] = "path"

    path: str
    """A folder, a .gguf file or a hub id; of a hub repository, `owner/name/file.gguf`."""
    revision: str = "main"
    """Of a hub id: branch, tag or commit."""
    run: Literal["auto", "kernels", "weights"] = "auto"
    """`kernels`: the library's own modules, activations as deployed. `weights`: what they stand
    for in ordinary matrices. `auto`: kernels where they run, and are deployed, on such a
    machine."""
    include: tuple[str, ...] = field(init=False, default=())
    """What it holds is what is compared."""
    exclude: tuple[str, ...] = field(init=False, default=())
    """What it holds is what is compared."""

    def __post_init__(self) -> None:
        check(self)
        # It is written down in results, where the user's folder is nobody's business.
        object.__setattr__(self, "path", without_home(self.path))

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:  # noqa: ARG002
        """ValueError: the matrices of a checkpoint are there already."""
        raise ValueError("a checkpoint has modules of its own: nothing is compressed")
