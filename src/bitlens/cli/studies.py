"""`study`: a grid of models, compressions and seeds, or of SAEs that are trained on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitlens.cli import options
from bitlens.cli.audits import carry_out
from bitlens.cli.terminal import log as say
from bitlens.cli.terminal import show
from bitlens.config.presence import refuse_absent_saes
from bitlens.config.study import Study, load_study
from bitlens.errors import InputError

if TYPE_CHECKING:
    from bitlens.config.sae_study import SaeStudy

UNNAMED = "source code that ships with bitlens; a model that cannot read it is refused"
"""What is read where a study names no text."""


@options.with_settings(
    "path out check only log replace engine address trust_remote_code confirm_run_unsafe_code "
    "verbose quiet json",
    also=options.PRINTED | options.ENGINE,
)
def study(
    path: Annotated[Path, typer.Argument(metavar="STUDY.YAML", help="The study to run.")],
    out: options.Out,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check it and show what it needs and costs."),
    ] = False,
    only: Annotated[
        list[str],
        typer.Option(
            metavar="AXIS=LIST",
            help="Of a study of trained SAEs the part to run, width=0.5x,8x; once for each axis.",
        ),
    ] = [],  # noqa: B006
    log: options.Log = None,
    replace: options.Replace = False,
    trust_remote_code: options.TrustRemoteCode = False,
    **others: Any,
) -> None:
    """Audit a grid of models and compressions, or of SAEs.

    SAEs are trained on a model and its twins, and compared. What fails says why, and the rest goes
    on. The same command again computes only what is missing.
    """
    from bitlens.config.sae_study import load_sae_study, trains

    confirmed = others.pop("confirm_run_unsafe_code")
    if trains(path):
        if log:
            raise InputError(
                f"--log {log}, but {path} trains SAEs.",
                "a study of models and compressions.",
                "the study without --log; its results are an ordinary table.",
            )
        if replace:
            raise InputError(
                f"--replace, but {path} trains SAEs, which take hours.",
                "a folder for each study of them.",
                "another --out.",
            )
        if confirmed:
            raise InputError(
                f"--confirm-run-unsafe-code, but {path} trains SAEs, and asks no benchmarks.",
                "a study of models and compressions.",
                "leave the option out.",
            )
        engine = options.engine(others)
        _train(load_sae_study(path, trust_remote_code), out, check, only, engine)
        return
    wanted = load_study(path, trust_remote_code, confirmed)
    if only:
        raise InputError(
            f"--only {only[0]}, but {path} trains no SAEs.",
            "a study with train: in it, of which a part can be run.",
            f"bitlens study {path} without --only.",
        )
    if check:
        _show_grid(wanted)
        refuse_absent_saes(wanted)
    else:
        engine = options.engine(others)
        extent = options.extent(**others)
        carry_out(
            wanted, out, replace=replace, keep_going=True, extent=extent, engine=engine, tracker=log
        )


def _train(
    wanted: "SaeStudy", out: Path, check: bool, only: list[str], engine: options.EngineAsked
) -> None:
    axes = wanted.part(only)
    if check:
        from bitlens.workflows.preflight import absent, from_the_hub
        from bitlens.workflows.sae_study.cost import costs

        for name, values in axes.items():
            say(f"{name + ':':<14}{', '.join(map(str, values))}")
        say(f"{'site:':<14}{wanted.train.site} of {wanted.study.to_dict()['models'][0]['name']}")
        say(f"{'from the hub:':<14}{', '.join(from_the_hub(wanted.study)) or 'nothing'}")
        say(f"{'not here:':<14}{', '.join(absent(wanted.study)) or 'nothing'}\n")
        show(costs(wanted, axes))
    else:
        from bitlens.workflows.sae_study.run import run

        with options.given(engine, say) as given:
            page = run(wanted, only, out, say, given)
        say(f"Report: {page}")


def _show_grid(study: Study) -> None:
    from bitlens.results.counts import count
    from bitlens.workflows.preflight import absent, from_the_hub, table

    settings = study.to_dict()
    grid = {
        "models": [source["name"] for source in settings["models"]],
        "compressions": study.compressions,
        "analyses": study.analyses,
        "seeds": study.seeds,
    }
    cells = 1
    for name, values in grid.items():
        cells *= len(values)
        say(f"{name + ':':<14}{', '.join(map(str, values))}")
    saes = [sae for source in study.models for sae in source.saes]
    say(f"{'controls:':<14}{', '.join(study.controls) or 'none'}")
    say(f"{'saes:':<14}{', '.join(saes) or 'none'}")
    say(f"{'text:':<14}{settings['text'] or UNNAMED}")
    say(f"{'tokens:':<14}{f'{study.tokens:,} at most' if study.tokens else 'all'}")
    say(count(cells, "cell") + (", and those of the controls." if study.controls else "."))
    costs = table(study)
    say(f"{'from the hub:':<14}{', '.join(from_the_hub(study)) or 'nothing'}")
    say(f"{'not here:':<14}{', '.join(absent(study)) or 'nothing'}\n")
    show(costs)
