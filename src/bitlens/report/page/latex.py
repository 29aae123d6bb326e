"""A table of the page as LaTeX, for papers: booktabs, with every text escaped."""

import re
from collections.abc import Iterable

from bitlens.report.page.parts import Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "‖": r"$\Vert$",
    "Δ": r"$\Delta$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
}
"""What LaTeX would read as its own, and signs of ours that not every font has."""
_POWER = re.compile(r"(?<=[\d)])e(−?)(\d+)(?!\w)")


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is: no command, no comment, no line break in it."""
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def number(text: str) -> str:
    """A number with its margin: `(6.7 ±0.5)e−5` with a power of ten as it is set."""
    pieces = []
    end = 0
    for found in _POWER.finditer(text):
        sign = "-" if found[1] else ""
        pieces += [escaped(text[end : found.start()]), rf"$\times 10^{{{sign}{found[2]}}}$"]
        end = found.end()
    return "".join([*pieces, escaped(text[end:])])


def latex(table: Table, label: str) -> str:
    """A table environment that wants the package booktabs; its caption under the table's label.

    `label`: letters, digits and hyphens.
    """
    kinds = "".join("r" if column.numeric else "l" for column in table.columns)
    head = _line(escaped(column.title) for column in table.columns)
    rows = [
        _line(
            number(cell) if column.numeric else escaped(cell)
            for cell, column in zip(row, table.columns, strict=True)
        )
        for row in table.rows
    ]
    caption = [rf"\caption{{{escaped(table.told)}}}"] if table.told else []
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\scriptsize\setlength{\tabcolsep}{2pt}",
            *caption,
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            head,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
