"""Parts read as Markdown, and text stays text."""

import pytest

from bitlens.report.page.markdown import escaped, markdown
from bitlens.report.page.parts import (
    Checklist,
    Column,
    Command,
    Details,
    Facts,
    Figure,
    Headline,
    Headlines,
    Ledger,
    Page,
    Prose,
    Section,
    Table,
    Tabs,
)
from bitlens.results.records import Check
from tests.support.analysis_tables import HOSTILE


def test_every_part_has_its_markdown() -> None:
    """The whole of a small page, to the letter."""
    table = Table((Column("name"), Column("KL", True)), (("a", "0.1"), ("b", "0.2")), "In nats.")
    page = Page(
        "Title",
        "Under it",
        (
            Section(
                "one",
                "One",
                (
                    Prose("Some text."),
                    Headlines((Headline(title="rtn is fine", text="KL 0.", anchor="two"),)),
                    Checklist((Check("a", True, "x"), Check("b", None, "y"))),
                    table,
                    Section("two", "Two", (Command("bitlens demo"), Facts((("seed", "0"),)))),
                ),
            ),
            Section(
                "three",
                "Three",
                (
                    Figure(name="kl", title="KL", key="Key.", strips=(), caption="Look."),
                    Details("More", (Ledger("all", (), ((1,), (2,))),)),
                    Tabs((("first", (Prose("A"),)),)),
                ),
            ),
        ),
    )
    assert markdown(page) == (
        "# Title\n\nUnder it\n\n## One\n\nSome text.\n\n- **rtn is fine.** KL 0.\n\n"
        "- ✓ a: x\n- ? b: y\n\n"
        "| name | KL |\n| --- | ---: |\n| a | 0.1 |\n| b | 0.2 |\n\nIn nats.\n\n"
        "### Two\n\n```\nbitlens demo\n```\n\n- seed: 0\n\n"
        "## Three\n\n![KL](charts/kl.png)\n\nKey. Look.\n\n"
        "<details><summary>More</summary>\n\n2 rows: in `report.html`.\n\n</details>\n\n"
        "**first**\n\nA\n"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b\nc", r"a\|b c"),
        (HOSTILE, r"\</script\>\<img src=x onerror=alert(1)\>"),
        ("[x](javascript:1)", r"\[x\](javascript:1)"),
        ("**x** `y` @all", r"\*\*x\*\* \`y\` \@all"),
        ("https://evil.example www.x", r"https:\//evil.example www\.x"),
    ],
)
def test_text_is_never_markup(text: str, written: str) -> None:
    """Cells cannot break a table, names cannot become links, HTML or emphasis."""
    assert escaped(text) == written


def test_a_command_cannot_leave_its_fence() -> None:
    """Back-ticks in the command make the fence longer."""
    assert markdown(Command("a ``` b")).startswith("````\n")
