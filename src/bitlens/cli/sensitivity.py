"""`sensitivity`: which parts of a model a compression may not touch."""

import shlex
import sys
from collections.abc import Collection
from typing import Annotated, Any, Literal

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show
from bitlens.errors import InputError
from bitlens.registry import nearest


@options.with_settings(
    "model compressions out unit measure alone top benchmarks limit include_path text tokens "
    "calibration calibration_tokens context bos positions seed interval device dtype compute "
    "revision device_map memory allow sae trust_remote_code log engine address",
    also=options.ENGINE | {"log": (options.Log, None)},
)
def sensitivity(
    model: options.Model,
    compressions: Annotated[
        list[str],
        typer.Option(
            "--with",
            metavar="SPEC",
            help="A compression that a unit may have, rtn:bits=4,group=64; once for each.",
        ),
    ],
    out: options.Out,
    unit: Annotated[
        Literal["block", "kind", "matrix"],
        typer.Option(
            help="What has one format: a block, what a kernel fuses (query, key and value; gate "
            "and up; a block's experts), or a matrix."
        ),
    ] = "block",
    measure: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Some of kl,loss,features,blur,heads,benchmark; features and blur want --sae, "
            "benchmark wants --benchmarks.",
        ),
    ] = "kl,loss",
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Only compress every unit alone: half the work."),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Only find the N units that matter most, by the first measure: any other leaves "
            "after a quarter or half of the documents, once it surely matters less.",
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Show which parts of a model a compression hurts most.

    Every unit is compressed alone, and left out of the whole compression alone, in one pass
    through depth. The same command again goes on where it stopped.

    What is measured is 0 where nothing changed:

    \b
    kl        how far the next-token distributions are apart, in nats
    loss      how much more the text surprises the model, in nats
    features  the share of an SAE's features that mean something else
    blur      1 less the mean correlation of an SAE's features
    heads     how far the scores of induction and like heads move
    benchmark how much of the right answers' margin over the best wrong ones is lost, in nats
    """
    measures, engine, tracker = (
        _measures(measure, settings["benchmarks"]),
        options.engine(settings),
        settings.pop("log"),
    )
    study = options.present_study_of(model, compressions, {"controls": "none", **settings}, "--sae")
    from bitlens.report.sensitivity.page import build
    from bitlens.report.sensitivity.tables import staged, told
    from bitlens.report.trackers.sensitivity import logged_sensitivity
    from bitlens.report.trackers.track import require, track
    from bitlens.workflows.sensitivity.run import Request, run

    if tracker is not None:
        require(tracker)
    _refuse_stages(top, measures, engine)
    command = shlex.join(["bitlens", *sys.argv[1:]])
    request = Request(division=unit, measures=measures, both=not alone, top=top)
    with options.given(engine, log) as given:
        found = run(study, request, out, command, log, given)
    for part in told(found):
        show(part)
    if said := staged(found):
        log(said)
    page = build(found.root)
    if tracker is not None:
        log(track(logged_sensitivity(found), tracker))
    log(f"Report: {page}")


def _refuse_stages(top: int | None, measures: Collection[str], engine: options.EngineAsked) -> None:
    """InputError for stages of what is not read document by document here."""
    if top is not None and (engine != options.HERE or "benchmark" in measures):
        other = "--engine" if engine != options.HERE else "--measure benchmark"
        raise InputError(
            f"--top reads documents in stages, which goes with no {other}.",
            "one of the two.",
            f"leave {other.partition(' benchmark')[0]} out.",
        )


def _measures(text: str, benchmarks: str) -> tuple[str, ...]:
    from bitlens.results.sensitivity.measures import MEASURES

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in MEASURES:
            expected = f"one of {', '.join(MEASURES)}."
            remedy = nearest(name, MEASURES) or "--measure kl"
            raise InputError(f"{name} is no measure.", expected, remedy)
    if not names:
        raise InputError("--measure names nothing.", ", ".join(MEASURES), "--measure kl")
    if ("benchmark" in names) != bool(benchmarks):
        raise InputError(
            "--benchmarks are named, and --measure benchmark is not."
            if benchmarks
            else "--measure benchmark does not say which.",
            "both, or neither.",
            "--measure kl,benchmark --benchmarks NAME=FILE",
        )
    return names
