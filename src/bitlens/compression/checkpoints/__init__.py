"""Quantized, pruned and fine-tuned checkpoints as twins of a reference; one format a file."""

from bitlens.compression.checkpoints.checkpoint import LoadedCheckpoint, Stored
from bitlens.compression.checkpoints.open import open_checkpoint
from bitlens.compression.checkpoints.same import require_same

__all__ = ["LoadedCheckpoint", "Stored", "open_checkpoint", "require_same"]
