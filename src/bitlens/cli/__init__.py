"""The command line: parse, call, print. What it starts is imported when it is started."""

import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from bitlens.cli.audits import audit, demo
from bitlens.cli.bench import bench
from bitlens.cli.compressions import compress, inspect
from bitlens.cli.diff import diff
from bitlens.cli.doctor import doctor
from bitlens.cli.gate import FAULT, MISTAKE, GateCommand, gate
from bitlens.cli.list import list_
from bitlens.cli.plan import plan
from bitlens.cli.results import card, compare, export, insights, report, view
from bitlens.cli.saes import align, fit, repair, train_sae
from bitlens.cli.sensitivity import sensitivity
from bitlens.cli.steer import steer
from bitlens.cli.studies import study
from bitlens.cli.terminal import log, on_terminal
from bitlens.errors import BitlensError, InputError, out_of_memory
from bitlens.results.files.home import lend_home

REFUSED = 2
"""A mistake that the user can mend, as a shell's own."""
INTERRUPTED = 130
"""What a shell expects of a program that was stopped by Ctrl-C."""

NO_MEMORY = InputError(
    "There is no memory left.",
    "room for the model, and to work.",
    "a smaller model or shorter texts, fewer things at once, or a machine with more.",
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)


def _version(wanted: bool) -> None:
    if wanted:
        log(f"bitlens {version('bitlens')}")
        raise typer.Exit


@app.callback()
def _options(
    wanted: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="The version of bitlens."),
    ] = False,
) -> None:
    """What of a language model's interpretable structure survives compression, where does it
    break, and how sure are we?"""


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "audit": audit,
    "compress": compress,
    "inspect": inspect,
    "fit": fit,
    "repair": repair,
    "train-sae": train_sae,
    "align": align,
    "bench": bench,
    "sensitivity": sensitivity,
    "plan": plan,
    "steer": steer,
    "diff": diff,
    "study": study,
    "report": report,
    "view": view,
    "compare": compare,
    "insights": insights,
    "export": export,
    "card": card,
    "gate": gate,
    "list": list_,
    "doctor": doctor,
}
for _name, _command in COMMANDS.items():
    app.command(_name, cls=GateCommand if _command is gate else None)(_command)


def main() -> None:
    """The entry point: errors of the user in three parts and without a traceback, exit code 2; of
    `gate`, where 1 and 2 are verdicts, exit code 3."""
    # Threads that wait by spinning make torch several times slower where cores are shared. This
    # is read when torch is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not (sys.stderr and sys.stderr.isatty()):
        # Bars of the libraries that load and fetch are made for somebody who looks at them.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    lend_home()
    gated = sys.argv[1:2] == ["gate"]
    refused = MISTAKE if gated else REFUSED
    with on_terminal() as out:
        try:
            code = _run(refused)
        except Exception:
            if not gated:
                raise
            # Python would end with 1, which here means that a rule fails.
            traceback.print_exc()
            code = FAULT
        if out.lost:
            log(str(out.lost), err=True)
            code = refused if gated else code or refused
    sys.exit(code)


def _run(refused: int) -> int | str | None:
    """The command that was typed, and the exit code it ends with; `refused`: that of a mistake."""
    try:
        app(prog_name="bitlens")
    except BitlensError as error:
        log(str(error), err=True)
        return refused
    except Exception as error:
        if not out_of_memory(error):
            raise
        log(str(NO_MEMORY), err=True)
        return refused
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            log(
                "Stopped. What was complete is kept; the same command does the rest.",
                err=True,
            )
        return stop.code
    return 0
