"""`demo` and `audit`: one model beside its twins."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitlens.cli import options
from bitlens.cli.options import Extent
from bitlens.cli.terminal import say
from bitlens.config.study import Study, audit_of
from bitlens.config.study_settings import DEMO

if TYPE_CHECKING:
    from bitlens.report.trackers.track import Tracker

DEMO_COMPRESSIONS = ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3", "prune:sparsity=0.3")
DEMO_TOKENS = 12_288
"""Enough to part the demo's compressions, few enough for two minutes on two cores."""


def demo(
    out: options.Out = Path("bitlens-demo"),
    replace: options.Replace = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Audit the small model that comes with bitlens."""
    study = audit_of(DEMO, DEMO_COMPRESSIONS, tokens=DEMO_TOKENS)
    carry_out(study, out, replace=replace, extent=options.extent(verbose, quiet, json))


@options.with_settings(
    "model to out controls controls_on analyses tasks text tokens until calibration "
    "calibration_tokens labelled labelled_place context bos positions categories chat_template "
    "system thinking sites seed interval device dtype compute revision device_map memory allow "
    "benchmarks limit include_path confirm_run_unsafe_code sae trust_remote_code log replace "
    "engine address verbose quiet json",
    also=options.ENGINE | {"log": (options.Log, None)},
)
def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder, a hub id, or demo, the model that ships with bitlens."
        ),
    ],
    to: options.To,
    out: options.Out,
    replace: options.Replace = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
    **settings: Any,
) -> None:
    """Compare a model with compressed twins of it.

    Writes results and report.html. The same command again computes only what is missing.
    """
    extent, engine = options.extent(verbose, quiet, json), options.engine(settings)
    tracker = settings.pop("log")
    study = options.present_study_of(model, to, settings, "--sae")
    carry_out(study, out, replace=replace, extent=extent, engine=engine, tracker=tracker)


def carry_out(
    study: Study,
    out: Path,
    *,
    replace: bool = False,
    keep_going: bool = False,
    extent: Extent = "short",
    engine: options.EngineAsked = options.HERE,
    tracker: "Tracker | None" = None,
) -> None:
    """Run a study, write its report, log it to a tracker where one is named, and show what was
    found; exit code 1 where a cell failed."""
    from bitlens.cli.outcome import show_outcome
    from bitlens.report.build import build
    from bitlens.report.trackers.entries import logged_audit
    from bitlens.report.trackers.track import require, track

    if tracker is not None:
        require(tracker)
    from bitlens.workflows.audit.run import run

    def said(text: str) -> None:
        if extent != "quiet":
            say(text, err=extent == "json")

    command = shlex.join(["bitlens", *sys.argv[1:]])
    with options.given(engine, said) as given:
        store = run(study, out, command, said, keep_going, replace, given)
    said("Writing the report.")
    page = build(store.root)
    if tracker is not None:
        said(track(logged_audit(store.root), tracker))
    if show_outcome(store.root, page, extent):
        raise typer.Exit(1)
