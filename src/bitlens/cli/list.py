"""`list`: what there is to choose from."""

from typing import Annotated, Literal

import typer

from bitlens.cli.terminal import show, show_entries
from bitlens.errors import InputError

PIPED = 100
"""Columns where no terminal says how many there are."""


def list_(
    what: Annotated[
        Literal["compressions", "analyses", "families", "metrics"],
        typer.Argument(help="What to list."),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One compression: its settings.")
    ] = None,
) -> None:
    """Show what there is to choose from."""
    from bitlens.workflows.catalogue import TABLES, compression

    if name is None and what in ("analyses", "metrics"):
        show_entries(TABLES[what]())
    elif name is None:
        show(TABLES[what](), widest=PIPED)
    elif what == "compressions":
        show(compression(name), widest=PIPED)
    else:
        raise InputError(
            f"list {what} is given a name, {name}.",
            "a name of a compression, or none.",
            f"bitlens list {what}",
        )
