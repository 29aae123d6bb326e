"""Rules that are drafted from a run pass it, and say where their bounds come from."""

from pathlib import Path

import pytest

from bitlens.config.gate_rules import load_rules
from bitlens.errors import InputError
from bitlens.report.audit_results import AuditResults
from bitlens.report.gating.draft import draft
from bitlens.results.gating.gate import gate
from bitlens.results.gating.rule import GateRule
from bitlens.results.store import Store
from tests.support.compared_stores import compared_store
from tests.support.gate_stores import HALF, MEAN, NOISE, RTN, even, gate_store


def lines(path: Path) -> list[str]:
    return [line.strip() for line in draft(Store.open(path)).splitlines() if line[:1] == " "]


def test_a_bound_is_the_worst_of_what_was_measured(tmp_path: Path) -> None:
    """By hand: the value and twice half its interval, 0.1096, with two digits away from intact; the
    noise, 0.01 below, ends nearer. Where noise ends farther, its end it is."""
    assert round(MEAN + 2 * HALF, 4) == 0.1096
    assert lines(gate_store(tmp_path / "near")) == [
        f"# {RTN}",
        "# today 0.1000 nats [0.0952, 0.1048]; intact 0 nats",
        "# noise of its size 0.0900 nats [0.0852, 0.0948]",
        f'- {{metric: "behaviour.kl", twin: "{RTN}", at_most: 0.11}}',
    ]
    far = compared_store(tmp_path / "far", {RTN: even(), NOISE: even(0.2)})
    assert lines(far)[-3:] == [
        f'- {{metric: "behaviour.kl", twin: "{RTN}", at_most: 0.21}}',
        "# better than noise of its size, surely: it stays so",
        f'- {{metric: "behaviour.kl", twin: "{RTN}", against: "noise", at_most: 0}}',
    ]


def passing(run: Path, folder: Path) -> list[GateRule]:
    """The rules drafted from a run, which passes them."""
    (folder / "rules.yaml").write_text(draft(Store.open(run)), encoding="utf-8")
    rules = load_rules(folder / "rules.yaml")
    assert {judged.verdict for judged in gate(run, rules).found} == {"pass"}
    return rules


def test_a_run_passes_its_own_rules(deep_store: Path, tmp_path: Path) -> None:
    """Six numbers of each of three twins; what was not measured is said."""
    assert len(passing(deep_store, tmp_path)) == 18
    assert "rtn:bits=3,group=48 was not measured" in draft(Store.open(deep_store))


def test_of_several_models_each_rule_names_its_own(study: AuditResults, tmp_path: Path) -> None:
    """Four twins of two models, three numbers each."""
    rules = passing(study.store.root, tmp_path)
    models = {model["name"] for model in study.store.manifest()["models"]}
    assert {rule.model for rule in rules} == models
    assert len(rules) == 24


def test_names_are_themselves(tmp_path: Path) -> None:
    """Whatever they hold, and written so that it can be seen."""
    name = 'checkpoint:a"b\\c: {x} #\u202e\U0001f600'
    (rule,) = passing(compared_store(tmp_path / "run", {name: even()}), tmp_path)
    assert rule.twin == name
    assert "\u202e" not in (tmp_path / "rules.yaml").read_text(encoding="utf-8")


def test_too_few_documents_give_no_rules(tmp_path: Path) -> None:
    """It says what would."""
    run = compared_store(tmp_path / "run", {RTN: even()[:10]}, documents=10)
    with pytest.raises(InputError, match="over 20 documents or more"):
        draft(Store.open(run))
