"""`list`: what there is to choose from."""

from typing import Annotated, Literal

import typer

from bitlens.cli.terminal import show
from bitlens.errors import InputError


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

    if name is None:
        show(TABLES[what]())
    elif what == "compressions":
        show(compression(name))
    else:
        raise InputError(
            f"list {what} is given a name, {name}.",
            "a name of a compression, or none.",
            f"bitlens list {what}",
        )
