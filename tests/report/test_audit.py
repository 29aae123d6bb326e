"""An audit in Python says what the store and the page say."""

from html import escape
from pathlib import Path

import pytest

import bitlens
from bitlens.errors import InputError, ResultsError
from bitlens.report.audit import Audit, open_run
from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.ranking import findings, first
from bitlens.report.hero import heroes
from bitlens.report.text.verdict import doubtful
from bitlens.results.store import Store
from tests.support.analysis_tables import HOSTILE
from tests.support.audit_stores import RTN


@pytest.fixture(scope="module")
def audit(deep_store: Path) -> Audit:
    """Of one model, with every analysis."""
    return open_run(deep_store)


def test_it_says_each_twin_s_word_and_numbers(audit: Audit, deep: AuditResults) -> None:
    """In a terminal a line a twin; the words are the page's."""
    found = heroes(deep, "demo")
    words = {h.twin.compression: h.status.word if h.status else "failed" for h in found}
    assert audit.verdict == words
    assert audit.twins == list(words)
    title, *lines = repr(audit).splitlines()
    assert title == f"Audit of demo in {audit.root}"
    for line, hero in zip(lines[-len(found) :], found, strict=True):
        assert line.split()[0] == words[hero.twin.compression]
        assert hero.twin.compression in line
        assert all(number.text in line for number in hero.numbers)


def test_failed_checks_stand_first(audit: Audit, deep: AuditResults) -> None:
    """In a terminal and in a notebook, with what failed."""
    failed = [check for check in doubtful(deep, "demo") if check.passed is False]
    assert failed
    told = repr(audit).splitlines()[1 : 1 + len(failed)]
    assert told == [f"✗ {check.name}: {check.detail}" for check in failed]
    shown = audit._repr_html_()
    assert all(escape(check.detail) in shown[: shown.index("<table")] for check in failed)


def test_findings_are_the_page_s(audit: Audit, deep: AuditResults) -> None:
    """Those that the first screen shows, as sentences."""
    shown, _ = first(findings(deep, "demo"))
    assert shown
    assert [told.partition(".")[0] for told in audit.findings] == [
        one.title.partition(".")[0] for one in shown
    ]


def test_a_frame_is_the_store_s_rows(audit: Audit) -> None:
    """Chosen by analysis, metric, twin and site; the full name of a metric says its analysis."""
    rows = [r for r in audit.read_table("estimates").to_pylist() if r["metric"] == "kl"]
    frame = audit.frame("estimates", analysis="behaviour", metric="kl")
    assert frame["value"].tolist() == [row["value"] for row in rows]
    assert audit.frame(metric="behaviour.kl").equals(frame)
    one = audit.frame(metric="behaviour.kl", twin=RTN)
    assert one["compression"].tolist() == [RTN]
    assert audit.table(metric="behaviour.kl").num_rows == len(rows)
    assert set(audit.frame("coverage")["model"]) == {"demo"}
    with pytest.raises(InputError, match="no row whose metric is 'kll'"):
        audit.frame(metric="kll")
    with pytest.raises(InputError, match="coverage has no column analysis"):
        audit.frame("coverage", analysis="behaviour")


def test_layers_are_a_row_a_block(audit: Audit, deep: AuditResults) -> None:
    """Of every twin and control, in the order of depth."""
    frame = audit.layers("geometry.cosine", kind="mlp", item="local")
    mine = frame[frame["compression"] == RTN]
    known = deep.depth("demo", RTN, "geometry.cosine", kind="mlp", item="local")
    assert mine["block"].tolist() == [block for block, _ in known] == [0, 1, 2, 3]
    assert mine["value"].tolist() == [row["value"] for _, row in known]
    with pytest.raises(InputError, match="no number at xyz"):
        audit.layers(kind="xyz")


def test_features_are_a_row_a_latent(audit: Audit, deep: AuditResults) -> None:
    """Of one SAE or of all."""
    everything = audit.features(RTN)
    assert len(everything) == len(deep.table("demo", RTN, "features", "features"))
    late = audit.features(RTN, "late")
    assert set(late["sae"]) == {"late"}
    assert 0 < len(late) < len(everything)
    with pytest.raises(InputError, match="no row whose sae is 'lat'"):
        audit.features(RTN, "lat")
    with pytest.raises(InputError, match=r"no features of 'rtn:bits=5'"):
        audit.features("rtn:bits=5")


def test_other_tables_are_had_by_name(audit: Audit, store: Path) -> None:
    """What an analysis does not show, or was not asked, is refused with what there is."""
    assert audit.details(RTN, "heads", "heads").num_rows > 0
    with pytest.raises(InputError, match=r"shows no table heads[\s\S]*contexts or .*features or "):
        audit.details(RTN, "features", "heads")
    with pytest.raises(InputError, match="features was not measured"):
        open_run(store).features(RTN)
    with pytest.raises(InputError, match="every twin has its own"):
        audit.read_table("features")
    with pytest.raises(InputError, match="Did you mean estimates"):
        audit.read_table("estimate")


def test_one_of_several_models_is_named(study: AuditResults) -> None:
    """What is about one model wants to know which; all that is shown is text."""
    both = Audit(study.store)
    assert both.models == study.models
    assert all(f"{model}:" in repr(both) for model in study.models)
    with pytest.raises(InputError, match="2 models"):
        _ = both.verdict
    with pytest.raises(InputError, match="no model dem"):
        both.of("dem")
    for model in study.models:
        one = both.of(model)
        assert one.models == [model]
        assert set(one.frame()["model"]) == {study.named(model)}
        assert one.verdict
    assert HOSTILE not in both._repr_html_()
    assert "<script" not in both._repr_html_()
    assert "&lt;img src=x" in both._repr_html_()


def test_a_notebook_shows_a_row_a_twin(audit: Audit) -> None:
    """With its word, its sentence and its numbers."""
    shown = audit._repr_html_()
    assert shown.count("<tr>") == 1 + len(audit.twins)
    for hero in audit.heroes:
        assert hero.twin.compression in shown
        assert all(number.text in shown for number in hero.numbers)


@pytest.mark.slow
def test_the_report_is_written_anew(store: Path) -> None:
    """Beside the results."""
    page = Audit(Store.open(store)).report()
    assert page == store / "report.html"
    assert page.is_file()


def test_what_is_no_run_cannot_be_opened(tmp_path: Path) -> None:
    """As on the command line."""
    with pytest.raises(ResultsError, match="holds no results"):
        bitlens.open(tmp_path)
