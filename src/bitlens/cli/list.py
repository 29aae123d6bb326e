"""`list`: what there is to choose from."""

from typing import Annotated, Literal

import typer

from bitlens.cli.terminal import show


def list_(
    what: Annotated[
        Literal["compressions", "analyses", "families", "metrics"],
        typer.Argument(help="What to list."),
    ],
) -> None:
    """Show what there is to choose from."""
    from bitlens.catalogue import TABLES

    show(TABLES[what]())
