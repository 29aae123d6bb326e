"""`demo` and `audit`: one model beside its twins."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show
from bitlens.config.study import DEMO, Study, audit_of, refuse_absent

DEMO_COMPRESSIONS = ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3", "prune:sparsity=0.3")
DEMO_TOKENS = 16_384
"""Enough to part the demo's compressions, few enough for two minutes on two cores."""


def demo(out: options.Out = Path("bitlens-demo"), replace: options.Replace = False) -> None:
    """Audit the small model that comes with bitlens."""
    study = audit_of(DEMO, DEMO_COMPRESSIONS, tokens=DEMO_TOKENS)
    carry_out(study, out, replace=replace)


@options.with_settings(
    "model to out controls analyses text tokens calibration calibration_tokens context bos "
    "positions sites seed interval device dtype compute revision device_map memory allow sae "
    "trust_remote_code replace"
)
def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder, a hub id, or demo, the model that ships with bitlens."
        ),
    ],
    to: Annotated[
        list[str],
        typer.Option(
            metavar="SPEC",
            help="A compression, rtn:bits=4,group=64; once for each. See bitlens list.",
        ),
    ],
    out: options.Out,
    replace: options.Replace = False,
    **settings: Any,
) -> None:
    """Compare a model with compressed twins of it.

    Writes results and report.html. The same command again computes only what is missing.
    """
    study = options.study_of(model, to, settings)
    refuse_absent(study, "--sae")
    carry_out(study, out, replace=replace)


def carry_out(study: Study, out: Path, *, replace: bool = False, keep_going: bool = False) -> None:
    """Run a study, write its report and show what was found; exit code 1 where a cell failed."""
    from bitlens.report.build import build
    from bitlens.workflows.audit.run import run

    command = shlex.join(["bitlens", *sys.argv[1:]])
    store = run(study, out, command, log, keep_going=keep_going, replace=replace)
    page = build(store.root)
    failures = _show_findings(store.root)
    log(f"Report: {page}")
    if failures:
        raise typer.Exit(1)


def _show_findings(root: Path) -> int:
    """What is in doubt, the table and the findings, model by model; the number of cells that
    failed."""
    from bitlens.report.audit_results import AuditResults
    from bitlens.report.text.doubts import SIGNS
    from bitlens.report.text.summary_table import summary_table
    from bitlens.report.text.verdict import doubtful, verdicts

    results = AuditResults.read(root)
    for model in results.models:
        log(f"\n{model}")
        for check in doubtful(results, model):
            log(f"{SIGNS[check.passed]} {check.name}: {check.detail}")
        show(summary_table(results, model))
        for _, sentence in verdicts(results, model):
            log(f"- {sentence}")
    failures = results.failures()
    for reason in dict.fromkeys(f"{cell['model']}: {cell['reason']}" for cell in failures):
        log(f"Failed: {reason}", err=True)
    return len(failures)
