"""`gate`: rules on the numbers of a run, and an exit code for whoever waits for it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from bitlens.cli import options
from bitlens.cli.terminal import log, say
from bitlens.errors import InputError

if TYPE_CHECKING:
    from bitlens.results.gating.gate import GateOutcome

CODES = {"pass": 0, "fail": 1, "undecided": 2}
"""What a gate ends with."""
MISTAKE, FAULT = 3, 4
"""What it ends with where it could not be asked: a mistake of the user's, and one of ours."""
ELSEWHERE = "mend that, or another FILE."
SHOWN = 5
"""So many numbers of a rule are printed."""


class GateCommand(typer.core.TyperCommand):
    """A command whose exit codes 1 and 2 are verdicts, so that a wrong option ends in another."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Those of the command line. click's error for what is unknown or missing."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Which click an error is of, typer's own or the other, depends on typer's version.
            if getattr(error, "exit_code", 0) == CODES["undecided"]:
                error.exit_code = MISTAKE  # type: ignore[attr-defined]
            raise


def gate(
    run: options.Results,
    rules: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The rules, in YAML: under `rules:` a list of bounds on numbers."
        ),
    ] = Path("rules.yaml"),
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="An earlier run of the same texts, for rules with `against: baseline`. One that "
            "read other tokens is refused.",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the outcome as JUnit XML.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write it as Markdown, for a pull request."),
    ] = None,
    init: Annotated[
        bool,
        typer.Option(
            "--init",
            help="Judge nothing: write rules to begin with, from this run and its controls.",
        ),
    ] = False,
) -> None:
    """Hold a run against rules, for CI.

    Exit codes: 0 pass, 1 fail, 2 cannot decide, 3 a mistake in what was asked (elsewhere that is
    2), 4 one of bitlens.

    A rule is on the bounds of intervals, never on a bare value. It fails where the whole interval
    lies beyond the bound. It cannot be decided where the interval crosses the bound, where there
    are too few documents, or where a check that the number rests on did not pass.
    """
    from bitlens.config.gate_rules import load_rules
    from bitlens.results.gating.gate import gate as judged

    if init:
        _refuse_beside_init({"--baseline": baseline, "--junit": junit, "--summary": summary})
        _draft(run, rules)
        return
    outcome = judged(run, load_rules(rules), baseline)
    _write(outcome, junit, summary)
    _show(outcome)
    raise typer.Exit(CODES[outcome.verdict])


def _refuse_beside_init(given: dict[str, Path | None]) -> None:
    for option, value in given.items():
        if value is not None:
            raise InputError(
                f"--init and {option} at once.",
                "one of them: --init judges nothing, it writes rules.",
                f"--init first, then the rules with {option}.",
            )


def _draft(run: Path, rules: Path) -> None:
    from bitlens.report.gating.draft import draft
    from bitlens.results.counts import count
    from bitlens.results.files.writing import write
    from bitlens.results.store import Store

    if rules.exists():
        raise InputError(
            f"{rules} is there already.",
            "a file that is not there yet: rules somebody wrote are not written over.",
            "another --rules FILE, or remove it first.",
        )
    text = draft(Store.open(run))
    write(rules, text.encode(), remedy=ELSEWHERE)
    log(f"Wrote {count(text.count(f'{chr(10)}  - '), 'rule')} to {rules}. Read them, then:")
    log(f"  {shlex.join(['bitlens', 'gate', str(run), '--rules', str(rules)])}")


def _write(outcome: "GateOutcome", xml: Path | None, markdown: Path | None) -> None:
    from bitlens.results.files.writing import write

    if xml is not None:
        from bitlens.report.gating.junit import junit

        write(xml, junit(outcome), remedy=ELSEWHERE)
    if markdown is not None:
        from bitlens.report.gating.summary import gate_summary

        write(markdown, gate_summary(outcome).encode(), remedy=ELSEWHERE)


def _show(outcome: "GateOutcome") -> None:
    from bitlens.report.gating.told import MARKS, GateWords, conclusion, shown_first

    words = GateWords(outcome.manifest)
    for judged in outcome.found:
        say(f"{MARKS[judged.verdict]}: {words.rule(judged)} ({words.counted(judged)})")
        open_ = shown_first(judged)
        for one in open_[:SHOWN]:
            mark = "" if one.verdict == judged.verdict else f"{MARKS[one.verdict]}: "
            say(f"{mark}{words.number(judged.rule, one)}", indent=4)
        if len(open_) > SHOWN:
            log(f"    and {len(open_) - SHOWN} more")
    log("")
    say(conclusion(outcome))
