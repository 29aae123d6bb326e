"""`study`: a grid of models, compressions and seeds."""

from pathlib import Path
from typing import Annotated

import typer

from bitlens.cli import options
from bitlens.cli.audits import carry_out
from bitlens.cli.terminal import say, show
from bitlens.study import Study, load_study, refuse_absent_saes


def study(
    path: Annotated[Path, typer.Argument(metavar="STUDY.YAML", help="The study to run.")],
    out: options.Out,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check it and show what it needs and costs."),
    ] = False,
) -> None:
    """Audit a grid of models, compressions and seeds.

    What fails says why, and the rest goes on. The same command again computes only what is missing.
    """
    wanted = load_study(path)
    if check:
        _show_grid(wanted)
        refuse_absent_saes(wanted)
    else:
        carry_out(wanted, out, keep_going=True)


def _show_grid(study: Study) -> None:
    from bitlens.outlook import absent, from_the_hub, table
    from bitlens.report.wording import count

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
    say(f"{'text:':<14}{settings['text']}")
    say(f"{'tokens:':<14}{f'{study.tokens:,} at most' if study.tokens else 'all'}")
    say(count(cells, "cell") + (", and those of the controls." if study.controls else "."))
    costs = table(study)
    say(f"{'from the hub:':<14}{', '.join(from_the_hub(study)) or 'nothing'}")
    say(f"{'not here:':<14}{', '.join(absent(study)) or 'nothing'}\n")
    show(costs)
