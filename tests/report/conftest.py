"""Audits to report, each written once."""

from pathlib import Path

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import build, page
from bitlens.report.page.parts import Page
from tests.support.analysis_tables import HOSTILE
from tests.support.audit_stores import write_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of four blocks, three compressions, controls, one failed twin."""
    return write_store(tmp_path_factory.mktemp("one") / "results", ("demo",))


@pytest.fixture(scope="session")
def results(store: Path) -> AuditResults:
    """That store, read."""
    return AuditResults.read(store)


@pytest.fixture(scope="session")
def deep_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model with every analysis: attention, heads, lens and features of two SAEs."""
    return write_store(tmp_path_factory.mktemp("deep") / "results", ("demo",), deep=True)


@pytest.fixture(scope="session")
def deep(deep_store: Path) -> AuditResults:
    """That store, read."""
    return AuditResults.read(deep_store)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> AuditResults:
    """Two models, one of them with a hostile name, and a compression with one."""
    path = tmp_path_factory.mktemp("two") / "results"
    return AuditResults.read(write_store(path, ("demo", HOSTILE), {f"checkpoint:{HOSTILE}": 0.05}))


@pytest.fixture(scope="session")
def study_page(study: AuditResults) -> Page:
    """The page of the two models."""
    return page(study)


@pytest.fixture(scope="session")
def built(store: Path) -> Path:
    """The store with its report."""
    build(store, pictured=True)
    return store
