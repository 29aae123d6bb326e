"""An outcome fits the terminal, and as JSON has the store's own numbers."""

import json
from pathlib import Path

import pytest
import typer

from bitlens.cli import outcome
from bitlens.cli.options import extent
from bitlens.cli.outcome import as_json, show_outcome
from bitlens.errors import InputError
from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import heroes
from tests.support.audit_stores import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model with every analysis, three compressions and one that failed."""
    return write_store(tmp_path_factory.mktemp("deep") / "results", ("demo",), deep=True)


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_table_fits(
    store: Path, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line a twin, with its word; intervals where there is room for them."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert show_outcome(store, store / "report.html", "short") == len(
        AuditResults.read(store).failures()
    )
    out = capsys.readouterr().out.splitlines()
    table = [line for line in out if line.startswith(tuple(outcome.COLOURS))]
    assert len(table) == len(AuditResults.read(store).twins("demo"))
    assert max(map(len, table)) <= columns
    assert any("[" in line for line in table) == (columns > 80)
    assert out[-1] == f"Report: {store / 'report.html'}"


def test_json_is_what_the_store_says(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Strict JSON and nothing else; every number with its interval, unrounded."""
    show_outcome(store, store / "report.html", "json")
    found = json.loads(capsys.readouterr().out)
    results = AuditResults.read(store)
    assert found == json.loads(json.dumps(as_json(results, store / "report.html")))
    (model,) = found["models"]
    for twin in model["twins"]:
        for number in twin["numbers"]:
            place = (number["metric"], number["site"], number["item"])
            row = results.find("demo", twin["compression"], *place)
            assert row is not None
            assert all(number[key] == row[key] for key in ("value", "low", "high"))
    assert [twin["word"] for twin in model["twins"]].count("failed") == 1


def test_quiet_says_where_the_page_is_and_what_failed(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each."""
    show_outcome(store, store / "report.html", "quiet")
    printed = capsys.readouterr()
    assert printed.out == f"Report: {store / 'report.html'}\n"
    assert printed.err.count("Failed: ") >= 1


def test_verbose_has_every_number(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentences of the verdict, and the checks that could not be decided."""
    show_outcome(store, store / "report.html", "verbose")
    out = capsys.readouterr().out
    assert "mean KL" in out
    assert "? " in out


def test_two_extents_at_once_are_refused() -> None:
    """Neither wins silently."""
    assert extent(verbose=False, quiet=False, json=False) == "short"
    with pytest.raises(InputError, match="--quiet and --json at once"):
        extent(verbose=False, quiet=True, json=True)


@pytest.mark.parametrize(
    ("term", "no_color", "tty", "expected"),
    [
        ("xterm", None, True, True),
        ("xterm", "1", True, False),
        ("dumb", None, True, False),
        ("xterm", None, False, False),
    ],
)
def test_colours_are_for_who_sees_them(
    monkeypatch: pytest.MonkeyPatch, term: str, no_color: str | None, tty: bool, expected: bool
) -> None:
    """Neither in pipes nor for whoever asked for none."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty, raising=False)
    assert outcome.coloured() is expected


def test_a_long_name_is_shortened_in_its_middle(store: Path) -> None:
    """Both ends tell it apart."""
    (hero, *_) = heroes(AuditResults.read(store), "demo")
    long = "gptq:bits=4,group=64,actorder=true,more=settings"
    twin = type(hero.twin)(**{**vars(hero.twin), "compression": long})
    name = outcome._row(type(hero)(**{**vars(hero), "twin": twin}), interval=True, numbers=3)[1]
    assert len(name) <= outcome.NAME
    assert name.startswith("gptq:bits=4")
    assert name.endswith("more=settings")


def test_the_version_is_asked_for_in_one_word(capsys: pytest.CaptureFixture[str]) -> None:
    """Its name and number."""
    from bitlens.cli import _version

    with pytest.raises(typer.Exit):
        _version(wanted=True)
    assert capsys.readouterr().out.startswith("bitlens ")
