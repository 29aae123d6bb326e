"""The small model, its SAEs and the texts that ship with bitlens: where each of them lies.

Importing this package reads nothing and imports no torch, so the command line stays quick.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def model_path() -> Path:
    """The embedded language model: an ordinary transformers folder."""
    return _HERE / "bitlens-demo"


def sae_paths() -> list[Path]:
    """The embedded model's sparse autoencoders: SAELens folders, by name."""
    return sorted(config.parent for config in (_HERE / "saes").glob("*/cfg.json"))


def calibration_path() -> Path:
    """Held-out text for calibrating a compression; it shares no file with evaluation."""
    return _HERE / "texts" / "calibration.jsonl"


def evaluation_path() -> Path:
    """Held-out text for measuring; the model and its tokenizer never saw it."""
    return _HERE / "texts" / "evaluation.jsonl"
