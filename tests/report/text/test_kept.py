"""What keys and values take stands beside bits and size, wherever twins stand together."""

from dataclasses import replace

import pytest

from bitlens.cli import outcome
from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import heroes
from bitlens.report.summary import summary
from bitlens.report.text.summary_table import summary_table


@pytest.fixture
def kept(results: AuditResults) -> AuditResults:
    """The first twin rounds keys and values and nothing else, the second weights as well."""
    first, second = (twin.compression for twin in results.twins("demo")[:2])
    own = {first: {"token_bytes": 1280.0, "bits": None}, second: {"token_bytes": 1280.0}}
    twins = [twin | own.get(twin["compression"], {}) for twin in results.manifest["twins"]]
    models = [model | {"token_bytes": 8192.0} for model in results.manifest["models"]]
    return replace(results, manifest={**results.manifest, "twins": twins, "models": models})


def test_it_stands_in_the_tables_of_twins(
    kept: AuditResults, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column of its own after the size, the reference's for whoever leaves it alone; nowhere
    where nobody rounds keys and values."""
    table = summary_table(kept, "demo")
    assert [column.title for column in table.columns[1:5]] == [
        *("bits", "size", "bytes a token", "perplexity")
    ]
    assert [row[3] for row in table.rows[:4]] == ["8,192", "1,280", "1,280", "8,192"]
    assert "what its keys and values take" in table.caption
    head, _, *lines = (line for line in summary(kept).splitlines() if line.startswith("|"))
    place = head.split(" | ").index("bytes a token")
    assert [line.split(" | ")[place] for line in lines[:3]] == ["1,280", "1,280", "8,192"]
    outcome._print_table(heroes(kept, "demo"))
    printed = capsys.readouterr().out.splitlines()[:4]
    assert ["1,280" in line for line in printed] == [False, True, True, False]


def test_it_stands_beside_bits_and_size(kept: AuditResults) -> None:
    """Of a twin that rounds nothing else there is nothing else to say."""
    alone, both, plain = heroes(kept, "demo")[:3]
    told = "1,280 bytes of keys and values a token instead of 8,192"
    assert (alone.kept, alone.size, alone.bits) == (told, "", "")
    assert both.kept == told
    assert both.size
    assert both.bits
    assert (plain.kept, bool(plain.size)) == ("", True)


def test_nobody_is_bothered_who_rounds_none(results: AuditResults) -> None:
    """No column, no word; stores of before do not say what the reference's take."""
    assert "bytes a token" not in summary(results)
    assert "bytes a token" not in summary_table(results, "demo").caption
    assert not any(hero.kept for hero in heroes(results, "demo"))
