"""Checkpoints as twins of one model, each opened once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bitlens.compression import format_spec
from bitlens.compression.checkpoint_twin import CheckpointTwin
from bitlens.compression.checkpoints import open_checkpoint
from bitlens.compression.compression import Compression
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.twin import Twin
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.results.records import Check

OWN_SETTINGS = "the twin computes with its own, so what differs is not its weights' doing alone"

LEFT_OUT = "this is not done here, so what is deployed may differ by more than what is measured"
"""How a checkpoint's settings bear on what is measured of it."""


@dataclass(eq=False, kw_only=True)
class OpenedCheckpoints:
    """Opens checkpoints, and says what runs and what differs from the reference besides weights."""

    loaded: Loaded
    layout: Layout
    trust_remote_code: bool
    log: Callable[[str], None]
    report: Callable[[Check], None]
    """Is handed every check that is made."""
    _twins: dict[str, CheckpointTwin] = field(default_factory=dict, init=False)

    def twin(self, compression: Compression) -> CheckpointTwin | None:
        """The twin of a checkpoint; None of what is none, or was not opened."""
        return self._twins.get(format_spec(compression))

    def open(self, compression: Compression) -> None:
        """Open the checkpoint that this is, or that this is noise like. BitlensError for one that
        cannot be read, or is not of this reference."""
        base = compression.base
        text = format_spec(base)
        if not isinstance(base, Checkpoint) or text in self._twins:
            return
        checkpoint = open_checkpoint(base, self.loaded, self.trust_remote_code)
        twin = self._twins[text] = CheckpointTwin(self.layout, base, checkpoint)
        runs = "real kernels" if checkpoint.kernels else "dequantized weights"
        notes = [*checkpoint.notes, *_other_arithmetic(twin)]
        detail = " ".join([f"{checkpoint.format}, run as {runs}.", *notes])
        self.log(f"{text}: {detail}")
        self.report(Check(f"{text}: what runs", passed=True, detail=detail, twins=(text,)))
        for name, found, what in (
            ("settings of its own", checkpoint.own_settings, OWN_SETTINGS),
            ("left out", checkpoint.left_out, LEFT_OUT),
        ):
            if found:
                told = f"{'; '.join(found)}: {what}"
                self.log(f"{text}: {told}.")
                self.report(Check(f"{text}: {name}", None, told, twins=(text,)))


def _other_arithmetic(twin: Twin) -> Iterator[str]:
    """That it computes in a dtype of its own."""
    if twin.arithmetic not in (None, twin.layout.compute):
        own, reference = (
            str(dtype).removeprefix("torch.") for dtype in (twin.arithmetic, twin.layout.compute)
        )
        yield f"It computes in {own}, the reference in {reference}."
