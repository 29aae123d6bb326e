"""Standard output as a terminal: whoever prints, nothing that steers it, nothing that it cannot
write, and nothing that stops a run because nobody reads it."""

import codecs
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from bitlens.errors import BitlensError, told, visible

if TYPE_CHECKING:
    from bitlens.report.page.parts import Table

PLAIN = {
    **{"±": "+-", "−": "-", "–": "-", "×": "x", "·": "*", "→": "->", "≤": "<=", "≥": ">="},
    **{"’": "'", "‘": "'", "“": '"', "”": '"', "…": "...", "─": "-", "⟨": "<", "⟩": ">"},
}
"""What our own signs become where a terminal does not have them."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MOVES = re.compile(r"\n*(\x1b\[A)*|\r")
"""What a progress bar writes by itself to go to its line."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    """A codec's way out: signs in plain letters, all else by number."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    signs = (PLAIN.get(sign) or f"\\u{ord(sign):04x}" for sign in text)
    return "".join(signs), error.end


codecs.register_error("bitlens.plain", _plain)


def _wants_letters() -> bool:
    """Is this a terminal that says it has nothing but ASCII? Python itself takes the locale C for
    one of UTF-8, and says so in LC_CTYPE."""
    asked = os.environ.get("LC_ALL") or os.environ.get("LANG")
    kept = os.environ.get("LC_CTYPE", "C") in ("C", "POSIX", "C.UTF-8", "C.utf8", "UTF-8")
    return os.environ.get("TERM") == "dumb" or (kept and asked in ("C", "POSIX"))


class Terminal:
    """A standard stream that writes only what is visible, in the letters the terminal has.

    What cannot be written any more (a full disk, a reader that left) is dropped, so that no run
    is lost for it, and said at the end.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failed: OSError | None = None
        if hasattr(stream, "reconfigure"):
            if stream.isatty() and _wants_letters():
                stream.reconfigure(encoding="ascii")
            stream.reconfigure(errors="bitlens.plain")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what is visible of a text; its length."""
        # A bar begins anew on its line; anyone else's return would overwrite it.
        start = "\r" if text.startswith("\r") else ""
        moves = _MOVES.fullmatch(text)
        shown = text if moves else start + visible(_COLOURS.sub("", text.removeprefix(start)))
        with self._dropping():
            self._stream.write(shown)
        return len(text)

    def write_coloured(self, text: str, code: str) -> None:
        """A text in a colour of ours, by its ANSI code."""
        with self._dropping():
            self._stream.write(f"\x1b[{code}m{visible(text)}\x1b[0m")

    def write_bytes(self, data: bytes) -> None:
        """Data as they are, for what reads them next."""
        with self._dropping():
            self._stream.buffer.write(data)
            self._stream.buffer.flush()

    def flush(self) -> None:
        """Send on what was written."""
        with self._dropping():
            self._stream.flush()

    @property
    def lost(self) -> BitlensError | None:
        """What became of output that was dropped; a reader that left, as `head` does, has what it
        wanted."""
        self.flush()
        if self._failed is None or isinstance(self._failed, BrokenPipeError):
            return None
        return BitlensError(
            f"Standard output could not be written: {told(self._failed)}.",
            "room for what is printed. Files were written nevertheless.",
            "the same command with its output elsewhere: it does only what is missing.",
        )

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = error
            # What is still in the stream's own buffer would fail again, at the end of the process.
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)


@contextmanager
def on_terminal() -> Iterator[Terminal]:
    """While this lasts, both standard streams are terminals in this sense; gives what is printed
    to."""
    _open_closed()
    before = sys.stdout, sys.stderr
    out, err = Terminal(sys.stdout), Terminal(sys.stderr)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Descriptors that were closed before we began lead nowhere: the next file to be opened would
    take such a number, and be printed into."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)


def log(text: str, err: bool = False) -> None:
    """A line of text, at once."""
    print(visible(text), file=sys.stderr if err else sys.stdout, flush=True)


def say(text: str, err: bool = False, indent: int = 0) -> None:
    """A paragraph: on a terminal broken between words, further lines a little to the right; else
    one line. `indent`: columns that all of it stands to the right."""
    out = sys.stderr if err else sys.stdout
    text = f"{' ' * indent}{visible(text)}"
    if out.isatty():
        text = textwrap.fill(
            text,
            width(),
            subsequent_indent=" " * (indent + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
    print(text, file=out, flush=True)


def width() -> int:
    """Columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def hand_on(data: bytes) -> None:
    """Data on standard output, as they are."""
    out = sys.stdout
    (out if isinstance(out, Terminal) else Terminal(out)).write_bytes(data)


def show_entries(table: "Table") -> None:
    """A table of long texts, a paragraph a row: its name, what it is, then its other cells with
    their titles. As wide as the terminal, 100 columns where there is none; no word is broken."""
    columns = shutil.get_terminal_size((100, 24)).columns
    for name, meaning, *cells in table.rows:
        pairs = zip(table.columns[2:], cells, strict=True)
        rest = "; ".join(f"{column.title}: {cell}" for column, cell in pairs if cell)
        log(name)
        for text in (meaning, rest):
            log(
                textwrap.fill(
                    text,
                    columns,
                    initial_indent="    ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
    if table.told:
        log(textwrap.fill(table.told, columns, break_long_words=False, break_on_hyphens=False))


def show(table: "Table", widest: int | None = None) -> None:
    """A table as wide as the terminal; where there is none, as wide as it wants to be, and not
    wider than `widest` columns.

    Numbers that do not fit side by side are written one after the other.
    """
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as View
    from rich.text import Text

    view = View(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        view.add_column(
            Text(column.title), justify="right" if column.numeric else "left", overflow="fold"
        )
    for row in table.rows:
        view.add_row(*(Text(visible(cell)) for cell in row))
    console = Console(color_system=None)
    wanted = console.measure(view, options=console.options.update(max_width=1 << 16)).maximum
    if not console.is_terminal:
        console = Console(color_system=None, width=min(wanted, widest or wanted))
    if wanted <= console.width or not all(column.numeric for column in table.columns[1:]):
        console.print(view)
    else:
        for name, *cells in table.rows:
            pairs = zip(table.columns[1:], cells, strict=True)
            numbers = ", ".join(f"{column.title} {cell}" for column, cell in pairs)
            console.print(Text(visible(name)))
            console.print(Padding(Text(visible(numbers)), (0, 0, 0, 4)))
    if table.told:
        console.print(
            Text(visible(table.told)), soft_wrap=not console.is_terminal and widest is None
        )
