"""`diff`: what a twin changes in the reference's activations."""

import shlex
import sys
from typing import Annotated, Any

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show

DIFF_TOKENS = 200_000
"""What ships with bitlens, as long as it is: a dictionary learns from two thirds of it."""


@options.with_settings(
    "model to sites width k epochs sae out controls text tokens calibration calibration_tokens "
    "context bos positions seed device dtype compute revision memory allow trust_remote_code",
    tokens=DIFF_TOKENS,
)
def diff(
    model: options.Model,
    to: Annotated[
        list[str],
        typer.Option(metavar="SPEC", help="A compression, rtn:bits=4,group=64; once for each."),
    ],
    out: options.Out,
    width: Annotated[
        str,
        typer.Option(
            metavar="N", help="Latents of a dictionary: times the model's width, 4x, or 1024."
        ),
    ] = "4x",
    k: Annotated[
        int, typer.Option("--k", metavar="N", help="Latents that fire at a position.")
    ] = 16,
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over what is learnt from.")] = 5,
    **settings: Any,
) -> None:
    """Show what a twin changes in a model's activations.

    Has that structure? Learns an SAE of the difference on some documents and measures on others
    how much it explains, beside noise of the twin's size: its features, where they fire, and what
    the mean difference says. The same command again goes on where it stopped.
    """
    given = {"controls": "noise", **settings, "analyses": "behaviour"}
    study = options.present_study_of(model, to, given, "--sae")
    from bitlens.report.diff.page import build, said, told
    from bitlens.workflows.diff.dictionaries import DictionarySize
    from bitlens.workflows.diff.run import diff as measure

    size = DictionarySize(width=width, k=k, epochs=epochs)
    measure(study, size, out, shlex.join(["bitlens", *sys.argv[1:]]), log)
    path = build(out)
    show(told(out))
    log(said(out))
    log(f"Report: {path}")
