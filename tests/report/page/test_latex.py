"""Tables as LaTeX, and text stays text."""

import pytest

from bitlens.report.page.latex import escaped, latex, number
from bitlens.report.page.parts import Column, Table


def test_a_table_to_the_letter() -> None:
    """Rules of booktabs, numbers to the right, the caption escaped."""
    table = Table((Column("twin"), Column("KL (nats)", True)), (("a_b", "0.1 ±0.2"),), "50 %.")
    assert latex(table, "t") == (
        "\\begin{table}\n\\centering\\scriptsize\\setlength{\\tabcolsep}{2pt}\n"
        "\\caption{50 \\%.}\n\\label{tab:t}\n\\begin{tabular}{lr}\n"
        "\\toprule\ntwin & KL (nats) \\\\\n\\midrule\na\\_b & 0.1 $\\pm$0.2 \\\\\n\\bottomrule\n"
        "\\end{tabular}\n\\end{table}"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("50 % & #1 $x$", r"50 \% \& \#1 \$x\$"),
        ("a^b~c_d", r"a\textasciicircum{}b\textasciitilde{}c\_d"),
        ("x\n% y", r"x \% y"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
    ],
)
def test_text_is_never_a_command(text: str, written: str) -> None:
    """No name can read a file, begin a comment or end a cell."""
    assert escaped(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("(6.7 ±0.5)e−5", r"(6.7 $\pm$0.5)$\times 10^{-5}$"),
        ("1.2e−6", r"1.2$\times 10^{-6}$"),
        ("−3.4", "$-$3.4"),
        ("–", "--"),
        ("94.1 ±0.2 %", r"94.1 $\pm$0.2 \%"),
    ],
)
def test_numbers_are_set_as_numbers(text: str, written: str) -> None:
    """Margins, powers of ten, minus signs, and the dash where there is none."""
    assert number(text) == written
