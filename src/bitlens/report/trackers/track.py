"""Handing finished results to a tracker: which there are, and what each needs."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from bitlens.errors import InputError
from bitlens.report.trackers.entries import Logged
from bitlens.results.files.names import LOGS, inside

Tracker = Literal["wandb", "mlflow", "tensorboard"]


def require(tracker: Tracker) -> None:
    """BitlensError where the tracker's library is not installed; nothing is imported."""
    if find_spec(tracker) is None:
        raise InputError(
            f"--log {tracker} needs the library {tracker}, which is not installed.",
            f"one of {', '.join(get_args(Tracker))} that is.",
            f"pip install 'bitlens[{tracker}]'",
        )


def track(logged: Logged, tracker: Tracker) -> str:
    """Log complete results to a tracker; where that is, in words.

    A run for each model, compression and seed with its numbers, by block where they are of blocks;
    the tables, the page and the summary with one run of the whole. Below `logs/` of the results,
    unless the tracker's own environment says elsewhere: bitlens itself asks no network for
    anything. BitlensError where its library is absent or what it wrote to refuses.
    """
    require(tracker)
    module = import_module(f"bitlens.report.trackers.to_{tracker}")
    log: Callable[[Logged, Path], str] = module.log
    folder = inside(logged.root, LOGS)
    folder.mkdir(exist_ok=True)
    return log(logged, folder)
