"""Weights & Biases: a run for each twin, in a group for each set of results."""

import os
from pathlib import Path
from typing import Any

from bitlens.errors import ResultsError, told
from bitlens.report.trackers.entries import Logged, LoggedTwin

PROJECT = "bitlens"
_MODE, _PROJECT = "WANDB_MODE", "WANDB_PROJECT"


def log(logged: Logged, folder: Path) -> str:
    """Log everything; where it is. Offline, for `wandb sync` to send, unless `WANDB_MODE` says
    otherwise; in the project `bitlens`, unless `WANDB_PROJECT` does. A second call adds runs: wandb
    replaces none. ResultsError where wandb refuses."""
    import wandb

    mode: Any = os.environ.get(_MODE, "offline")
    try:
        _log(logged, folder, mode)
    except wandb.Error as error:
        raise ResultsError(
            f"Weights & Biases refuses what is logged ({mode}): {told(error)}.",
            "an account that it knows, or nothing sent.",
            f"wandb login, or without {_MODE}, which writes files into {folder / 'wandb'}.",
        ) from error
    return f"Logged to Weights & Biases ({mode}): {folder / 'wandb'}"


def _log(logged: Logged, folder: Path, mode: Any) -> None:
    import wandb

    group = logged.name

    def begin(name: str, kind: str, config: dict[str, Any]) -> Any:
        return wandb.init(
            mode=mode,
            dir=folder,
            project=os.environ.get(_PROJECT, PROJECT),
            group=group,
            name=name,
            job_type=kind,
            config=config,
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
            ),
        )

    for twin in logged.twins:
        with begin(twin.name, "control" if twin.control else "twin", twin.settings) as run:
            _add_numbers(run, twin)
    with begin(f"{group} (all)", "results", dict(logged.settings)) as run:
        for name, table in logged.tables.items():
            rows: Any = [list(row.values()) for row in table.to_pylist()]
            run.log({name: wandb.Table(columns=table.column_names, data=rows)})
        artifact = wandb.Artifact(f"{PROJECT}-report", type="report")
        for path in logged.files:
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _add_numbers(run: Any, twin: LoggedTwin) -> None:
    """Numbers of the whole into the run's summary, those of blocks as curves over the block."""
    run.define_metric("block")
    run.define_metric("*", step_metric="block")
    by_block: dict[int, dict[str, float]] = {}
    for one in twin.scalars:
        if one.block is None:
            run.summary[one.name] = one.value
        else:
            by_block.setdefault(one.block, {})[one.name] = one.value
    for block, numbers in sorted(by_block.items()):
        run.log({"block": block, **numbers})
