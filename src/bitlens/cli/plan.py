"""`plan`: a format for every part of a model under a budget of bits."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show


@options.with_settings(
    "results budget out protect formats benchmarks limit include_path trust_remote_code"
)
def plan(
    results: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that bitlens sensitivity wrote.")
    ],
    budget: Annotated[
        float,
        typer.Option(
            metavar="BITS",
            help="Bits per weight over the blocks' matrices, scales and zeros included.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the plan to this YAML file too.")
    ] = None,
    protect: Annotated[
        str,
        typer.Option(
            metavar="MEASURE", help="What is to change least: kl, features, benchmark, ..."
        ),
    ] = "kl",
    formats: Annotated[
        list[str],
        typer.Option(
            metavar="SPEC", help="Only these compressions of the run may be used; once for each."
        ),
    ] = [],  # noqa: B006
    trust_remote_code: options.TrustRemoteCode = False,
    **settings: Any,
) -> None:
    """Choose a format for every part of a model, under a budget.

    The choice is audited as a twin and improved by swaps. Beside it stand the same format
    everywhere, random plans of its size, and the plans that other scores would have made.
    """
    from bitlens.report.sensitivity.page import build
    from bitlens.report.sensitivity.plans import told
    from bitlens.workflows.plans.run import PlanRequest, plan

    command = shlex.join(["bitlens", *sys.argv[1:]])
    request = PlanRequest(
        budget=budget,
        protect=protect,
        formats=tuple(formats),
        trust_remote_code=trust_remote_code,
        benchmarks=options.names(settings["benchmarks"]),
        limit=settings["limit"],
        include_path=settings["include_path"],
    )
    found = plan(results, request, out, command, log)
    for part in told(found):
        show(part)
    log(f"{results / 'plans' / request.name}: the plan, its audit, and fragments for other tools.")
    log(f"Report: {build(results)}")
