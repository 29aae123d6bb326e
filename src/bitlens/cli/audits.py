"""`demo` and `audit`: one model beside its twins."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from bitlens.cli import options
from bitlens.cli.options import names, setting
from bitlens.cli.terminal import log, show
from bitlens.config.study import DEFAULT, DEMO, Study, audit_of, refuse_absent

DEMO_COMPRESSIONS = ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3", "prune:sparsity=0.3")
DEMO_TOKENS = 16_384
"""Enough to part the demo's compressions, few enough for two minutes on two cores."""


def demo(out: options.Out = Path("bitlens-demo"), replace: options.Replace = False) -> None:
    """Audit the small model that comes with bitlens."""
    carry_out(audit_of(DEMO, DEMO_COMPRESSIONS, tokens=DEMO_TOKENS), out, replace)


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
    controls: Annotated[str, setting("controls", "LIST|none")] = ",".join(DEFAULT["controls"]),
    analyses: Annotated[str, setting("analyses", "LIST")] = "",
    text: options.Text = None,
    tokens: options.Tokens = DEFAULT["tokens"],
    calibration: options.Calibration = None,
    calibration_tokens: options.CalibrationTokens = DEFAULT["calibration_tokens"],
    context: options.Context = None,
    bos: options.Bos = DEFAULT["bos"],
    positions: options.Positions = DEFAULT["positions"],
    sites: Annotated[str, setting("sites", "LIST")] = "",
    seed: options.Seed = 0,
    interval: Annotated[str, setting("interval", "jackknife|bootstrap")] = DEFAULT["interval"],
    device: options.Device = DEFAULT["device"],
    dtype: options.Dtype = DEFAULT["dtype"],
    compute: options.Compute = DEFAULT["compute"],
    revision: options.Revision = None,
    device_map: Annotated[str | None, setting("device_map", "M")] = None,
    memory: options.Memory = None,
    allow: Annotated[str, setting("allow", "LIST")] = "",
    sae: options.Saes = [],  # noqa: B006
    trust_remote_code: options.TrustRemoteCode = False,
    replace: options.Replace = False,
) -> None:
    """Compare a model with compressed twins of it.

    Writes results and report.html. The same command again computes only what is missing.
    """
    study = audit_of(
        model,
        to,
        controls=() if controls == "none" else names(controls),
        analyses=names(analyses),
        text=text,
        tokens=tokens,
        calibration=calibration,
        calibration_tokens=calibration_tokens,
        context=context,
        bos=bos,
        positions=positions,
        sites=names(sites),
        seeds=(seed,),
        interval=interval,
        memory=memory,
        allow=names(allow),
        revision=revision,
        dtype=dtype,
        compute=compute,
        device=device,
        device_map=device_map,
        saes=tuple(sae),
        trust_remote_code=trust_remote_code,
    )
    refuse_absent(study, "--sae")
    carry_out(study, out, replace)


def carry_out(study: Study, out: Path, replace: bool, keep_going: bool = False) -> None:
    """Run a study, write its report and show what was found; exit code 1 where a cell failed."""
    from bitlens.report.build import build
    from bitlens.workflows.audit.run import run

    store = run(study, out, shlex.join(["bitlens", *sys.argv[1:]]), log, keep_going, replace)
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

    evidence = AuditResults.read(root)
    for model in evidence.models:
        log(f"\n{model}")
        for check in doubtful(evidence, model):
            log(f"{SIGNS[check.passed]} {check.name}: {check.detail}")
        show(summary_table(evidence, model))
        for _, sentence in verdicts(evidence, model):
            log(f"- {sentence}")
    failures = evidence.failures()
    for reason in dict.fromkeys(f"{cell['model']}: {cell['reason']}" for cell in failures):
        log(f"Failed: {reason}", err=True)
    return len(failures)
