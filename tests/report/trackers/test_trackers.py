"""Trackers: what each library reads back of finished results, with no network."""

import ast
import math
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bitlens
from bitlens.errors import BitlensError
from bitlens.report.audit_results import AuditResults
from bitlens.report.trackers import track as tracking
from bitlens.report.trackers.benchmarks import logged_benchmarks
from bitlens.report.trackers.entries import (
    Logged,
    LoggedTwin,
    Scalar,
    logged_audit,
    logged_twins,
    scalar,
)
from bitlens.report.trackers.sensitivity import logged_sensitivity
from bitlens.report.trackers.track import track
from bitlens.results.records import REFERENCE
from tests.support.benchmarks import benchmarked
from tests.support.sensitivities import sensitivity

TWIN = "rtn:bits=8"


@pytest.fixture
def one(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    """Results with a page, of one twin and two of its numbers: libraries take seconds a run."""
    root = tmp_path / "results"
    root.mkdir()
    (root / "report.html").write_text("<!doctype html>")
    (root / "summary.md").write_text("# What changed")
    for variable in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    twin = LoggedTwin(
        model="demo", compression=TWIN, seed=0, control=False,
        scalars=(Scalar("behaviour.kl", 0.25), Scalar("geometry.cosine.resid", 0.5, 1),
                 Scalar("geometry.cosine.resid", 0.75, 0)),
    )  # fmt: skip
    return replace(logged_audit(store), root=root, twins=(twin,))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections beyond this machine are an error."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"the network was asked for {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_every_twin_and_control_is_logged(results: AuditResults) -> None:
    """With the estimates of the store as they are, one for each number that has a value and is of
    no single head."""
    twins = {twin.compression: twin for twin in logged_twins(results)}
    assert twins.keys() == {row["compression"] for row in results.estimates}
    row = results.find("demo", TWIN, "behaviour.kl")
    assert row is not None
    assert Scalar("behaviour.kl", row["value"]) in twins[TWIN].scalars
    assert all(math.isfinite(one.value) for twin in twins.values() for one in twin.scalars)
    assert twins[TWIN].control is False
    assert twins["noise:like=[rtn:bits=8]"].control


def test_benchmarks_are_logged_with_the_reference() -> None:
    """Its score, and of a twin that loses 12 of 40 what it lost and by how much; every change and
    outcome as tables."""
    logged = logged_benchmarks(benchmarked(Path("nowhere")))
    own = {twin.compression: set(twin.scalars) for twin in logged.twins}
    assert [(twin.compression, twin.control) for twin in logged.twins] == [
        (REFERENCE, False), ("rtn:bits=3", False), ("cast:dtype=bfloat16", True),
    ]  # fmt: skip
    assert own[REFERENCE] == {Scalar("quiz.acc.score", 1.0)}
    assert {Scalar("quiz.acc.lost", 12), Scalar("quiz.acc.difference", -0.3)} <= own["rtn:bits=3"]
    assert {name: table.num_rows for name, table in logged.tables.items()} == {
        "changes": 2, "outcomes": 120,
    }  # fmt: skip


def test_a_sensitivity_run_is_curves_over_the_blocks() -> None:
    """Of each compression what every block does, the whole without a block, and the scores."""
    logged = logged_sensitivity(sensitivity())
    three, _ = logged.twins
    assert {Scalar("only.kl", 0.4, 0), Scalar("whole.kl", 1.2)} <= set(three.scalars)
    assert {one.name for one in three.scalars if one.block == 3} >= {"only.kl", "all but.kl"}
    assert "replicates" not in logged.tables["effects"].column_names


def test_a_number_of_a_block_has_the_block_apart() -> None:
    """So that it is a curve over depth; other sites and items are in the name."""
    row = {"analysis": "geometry", "metric": "cosine", "item": "cumulative", "value": 0.5}
    assert scalar({**row, "site": "resid.12"}) == Scalar("geometry.cosine.resid", 0.5, 12)
    assert scalar({**row, "site": "logits", "item": "a/b:1"}) == Scalar(
        "geometry.cosine.a_b_1", 0.5
    )


@pytest.mark.slow
def test_tensorboard_reads_it_back(one: Logged, no_network: None) -> None:
    """Scalars by twin with the block as the step, the summary as text; logged again, once."""
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    for _ in range(2):
        said = track(one, "tensorboard")
    place = one.root / "logs" / "tensorboard"
    assert said.endswith(str(place))
    (folder,) = [path for path in place.iterdir() if path.name != "results"]
    found = event_accumulator.EventAccumulator(str(folder))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("behaviour.kl")] == [(0, 0.25)]
    cosine = {(e.step, e.value) for e in found.Scalars("geometry.cosine.resid")}
    assert cosine == {(1, 0.5), (0, 0.75)}
    whole = event_accumulator.EventAccumulator(str(place / "results"))
    whole.Reload()
    assert b"# What changed" in whole.Tensors("summary")[0].tensor_proto.string_val[0]


@pytest.mark.slow
def test_mlflow_reads_it_back(one: Logged, no_network: None) -> None:
    """A run a twin with its settings and numbers; tables and page are files of a run of all. Logged
    again, once."""
    tracking_module = pytest.importorskip("mlflow.tracking")
    for _ in range(2):
        said = track(one, "mlflow")
    uri = said.removeprefix("Logged to MLflow: ")
    assert uri == (one.root / "logs" / "mlflow").as_uri()
    client = tracking_module.MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("bitlens results")
    known = client.search_runs([experiment.experiment_id])
    assert len(known) == 2
    runs = {run.info.run_name: run for run in known}
    assert runs.keys() == {f"demo {TWIN}", "bitlens results (all)"}
    twin = runs[f"demo {TWIN}"]
    assert twin.data.params["compression"] == TWIN
    assert twin.data.metrics["behaviour.kl"] == 0.25
    history = client.get_metric_history(twin.info.run_id, "geometry.cosine.resid")
    assert {(m.step, m.value) for m in history} == {(1, 0.5), (0, 0.75)}
    files = {f.path for f in client.list_artifacts(runs["bitlens results (all)"].info.run_id)}
    assert files == {
        "report.html", "summary.md", "estimates.csv", "contrasts.csv", "coverage.csv",
    }  # fmt: skip


@pytest.mark.slow
def test_wandb_writes_it_offline(
    one: Logged, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run a twin and one of all, in the results' own folder, and nothing is sent; its numbers
    are in the files that `wandb sync` would send."""
    wandb = pytest.importorskip("wandb")
    seen: list[dict[str, Any]] = []
    begin = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **given: seen.append(given) or begin(**given))
    said = track(one, "wandb")
    assert "(offline)" in said
    written = sorted((one.root / "logs" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(written) == 2
    assert [given["mode"] for given in seen] == ["offline", "offline"]
    assert seen[0]["config"]["compression"] == TWIN
    assert b"behaviour.kl" in written[0].read_bytes()
    tables = {p.name.split("_")[0] for p in (one.root / "logs").rglob("*.table.json")}
    assert tables == {"estimates", "contrasts", "coverage"}
    # What the next test would inherit.
    assert wandb.run is None


@pytest.mark.slow
def test_what_wandb_refuses_is_told(one: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its words, with what to do, as of any tracker."""
    wandb = pytest.importorskip("wandb")

    def refuse(**given: object) -> None:
        raise wandb.errors.UsageError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", refuse)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(BitlensError, match=r"refuses what is logged \(online\): api_key not"):
        track(one, "wandb")


def test_a_tracker_that_is_not_installed_is_named(
    one: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is measured, with what to install; nothing is written."""
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(BitlensError, match=r"pip install 'bitlens\[wandb\]'"):
        track(one, "wandb")
    assert not (one.root / "logs").exists()


def test_nothing_else_imports_a_tracker() -> None:
    """Each library is imported in its own file, inside a function."""
    folder = Path(bitlens.__file__).parent
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named: list[tuple[ast.Import | ast.ImportFrom, str]] = [
            (node, name.partition(".")[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        ]
        used = {top for node, top in named if top in ("wandb", "mlflow", "tensorboard")}
        assert used <= {path.stem.removeprefix("to_")}, path
        assert all(node.col_offset for node, top in named if top in used), path
