"""`steer`: one steering vector in a model and in its twins."""

import shlex
import sys
from typing import Annotated, Any

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show
from bitlens.errors import InputError


@options.with_settings(
    "model to labelled site vector answers out controls text tokens calibration calibration_tokens "
    "context bos seed device dtype compute revision memory trust_remote_code"
)
def steer(
    model: options.Model,
    to: Annotated[
        list[str],
        typer.Option(metavar="SPEC", help="A compression, rtn:bits=4,group=64; once for each."),
    ],
    out: options.Out,
    labelled: Annotated[
        str,
        typer.Option(
            metavar="SET|FILE",
            help="Texts of two classes: language, sentiment, code, truth, or FILE=LABEL of JSON "
            "lines. The vector points to the class that is watched for.",
        ),
    ] = "language",
    site: Annotated[
        str,
        typer.Option(
            metavar="SITE",
            help="Where it is added, resid.N; best:N looks for it after every block and at the "
            "last N tokens, on texts for choosing (Arditi et al. 2024); else in the middle.",
        ),
    ] = "",
    vector: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="A vector as safetensors or a GGUF control vector; else the difference of the "
            "classes' means.",
        ),
    ] = "",
    answers: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help='Answers whose first tokens are the effect, " I cannot, Sorry", after whole '
            "texts; else the tokens of the class, after the first half of each.",
        ),
    ] = "",
    **settings: Any,
) -> None:
    """Put one steering vector into a model and its twins.

    Shows dose and response, which texts go the wrong way, what it does to other texts, and how much
    more of it a twin needs; beside a random direction of its length, and with the direction taken
    out. Writes steering.json, the vector and report.html.
    """
    given = {"controls": "noise", **settings, "analyses": "probes", "labelled": labelled}
    study = options.present_study_of(model, to, given)
    from bitlens.report.steering.page import build, told
    from bitlens.workflows.steer.run import SteerRequest, steer

    asked = tuple(answer for answer in answers.split(",") if answer.strip())
    if answers and not asked:
        raise InputError(
            f"--answers {answers!r} names no answer.",
            "the beginnings of answers, with commas between them.",
            '--answers " I cannot, Sorry", or none for the tokens of the class.',
        )
    request = SteerRequest(site=site, vector=vector, answers=asked)
    steer(study, request, out, shlex.join(["bitlens", *sys.argv[1:]]), log)
    path = build(out)
    show(told(out))
    log(f"Report: {path}")
