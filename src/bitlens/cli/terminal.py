"""How text and tables reach the terminal."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bitlens.report.parts import Table


def say(text: str, err: bool = False) -> None:
    """Text from outside may hold anything; a terminal gets no control codes from it."""
    from bitlens.report.evidence import visible

    typer.echo(visible(text), err=err)


def show(table: "Table") -> None:
    """A table as wide as the terminal; where there is none, as wide as it wants to be.

    Numbers that do not fit side by side are written one after the other.
    """
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as View
    from rich.text import Text

    from bitlens.report.evidence import visible

    view = View(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        view.add_column(
            Text(column.title), justify="right" if column.numeric else "left", overflow="fold"
        )
    for row in table.rows:
        view.add_row(*(Text(visible(cell)) for cell in row))
    console = Console()
    wanted = console.measure(view, options=console.options.update(max_width=1 << 16)).maximum
    if not console.is_terminal:
        console = Console(width=wanted)
    if wanted <= console.width or not all(column.numeric for column in table.columns[1:]):
        console.print(view)
    else:
        for name, *cells in table.rows:
            pairs = zip(table.columns[1:], cells, strict=True)
            numbers = ", ".join(f"{column.title} {cell}" for column, cell in pairs)
            console.print(Text(visible(name)))
            console.print(Padding(Text(visible(numbers)), (0, 0, 0, 4)))
    if table.caption:
        console.print(Text(visible(table.caption)), soft_wrap=not console.is_terminal)
