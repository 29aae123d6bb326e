"""MLflow: an experiment for each set of results, a run for each twin."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bitlens.errors import ResultsError, told
from bitlens.report.trackers.entries import Logged, Scalar
from bitlens.results.export import as_csv

_URI = "MLFLOW_TRACKING_URI"
_FILES = "MLFLOW_ALLOW_FILE_STORE"
_AT_ONCE = 500
"""Numbers in a call: MLflow takes a thousand."""


def log(logged: Logged, folder: Path) -> str:
    """Log everything; where it is: plain files below the folder, or what `MLFLOW_TRACKING_URI`
    names. Runs of an earlier call are replaced in the folder; elsewhere, where others may have runs
    of these names, they stay. ResultsError where MLflow refuses."""
    uri = os.environ.get(_URI)
    local = folder / "mlflow"
    if uri is None:
        # Without a server and a database the light package has files alone, and since 3.14 wants
        # to hear that they are meant.
        os.environ.setdefault(_FILES, "true")
        uri = local.resolve().as_uri()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        name = f"bitlens {logged.name}"
        if uri == local.resolve().as_uri():
            _forget(client, name)
        _log(client, logged, name)
    except MlflowException as error:
        raise ResultsError(
            f"MLflow refuses what is logged to {uri}: {told(error)}.",
            "a place that its client can write to.",
            f"without {_URI}, which writes files into {local}.",
        ) from error
    return f"Logged to MLflow: {uri}"


def _forget(client: Any, name: str) -> None:
    experiment = client.get_experiment_by_name(name)
    while experiment and (runs := client.search_runs([experiment.experiment_id])):
        for run in runs:
            client.delete_run(run.info.run_id)


def _log(client: Any, logged: Logged, name: str) -> None:
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    for twin in logged.twins:
        run = client.create_run(number, run_name=twin.name).info.run_id
        for setting, value in twin.settings.items():
            client.log_param(run, setting, value)
        _add_numbers(client, run, twin.scalars)
        client.set_terminated(run)
    run = client.create_run(number, run_name=f"{name} (all)").info.run_id
    for path in logged.files:
        client.log_artifact(run, str(path))
    for table, rows in logged.tables.items():
        client.log_text(run, as_csv(rows).decode(), f"{table}.csv")
    client.set_terminated(run)


def _add_numbers(client: Any, run: str, scalars: Iterable[Scalar]) -> None:
    from mlflow.entities import Metric

    numbers = [Metric(one.name, one.value, 0, one.block or 0) for one in scalars]
    for begin in range(0, len(numbers), _AT_ONCE):
        client.log_batch(run, metrics=numbers[begin : begin + _AT_ONCE])
