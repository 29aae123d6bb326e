"""Rules find their numbers, set them beside what they ask for, and never pass for want of any."""

from dataclasses import asdict
from pathlib import Path

import pytest

from bitlens.errors import InputError, ResultsError
from bitlens.results.gating.gate import gate
from bitlens.results.gating.judging import JudgedNumber, JudgedRule
from bitlens.results.gating.rule import GateRule
from bitlens.results.records import Cell, Check
from bitlens.results.store import Store
from tests.support import results
from tests.support.compared_stores import compared_store
from tests.support.gate_stores import HALF, MEAN, NOISE, RTN, amended, even, gate_store, rule


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A twin and the noise of its size."""
    return gate_store(tmp_path_factory.mktemp("gate") / "run")


def only(path: Path, one: GateRule, baseline: Path | None = None) -> JudgedNumber:
    """The one number that a rule is on."""
    (judged,) = gate(path, [one], baseline).found
    (number,) = judged.numbers
    assert judged.verdict == number.verdict
    return number


@pytest.mark.parametrize(
    ("halves", "verdict"),
    [(1.001, "pass"), (0.999, "undecided"), (-0.999, "undecided"), (-1.001, "fail")],
)
def test_bounds_are_those_of_the_stored_interval(run: Path, halves: float, verdict: str) -> None:
    """Student's t over twenty shards, by hand."""
    assert only(run, rule(MEAN + halves * HALF)).verdict == verdict


def test_a_difference_from_noise_is_the_stored_contrast(run: Path) -> None:
    """Document by document: 0.01 in every shard, with no doubt left though both intervals are
    wider than that."""
    assert only(run, rule(0.0101, against="noise")).verdict == "pass"
    assert only(run, rule(0.0099, against="noise")).verdict == "fail"
    assert only(run, rule(0.0099, against="noise")).row["control"] == NOISE


def test_a_difference_that_is_not_stored_decides_nothing(run: Path) -> None:
    """There was no cast; and a perplexity describes one model."""
    assert "no difference from cast" in only(run, rule(1, against="cast")).reason
    level = rule(99, metric="behaviour.perplexity", item="twin", against="reference")
    assert only(run, level).verdict == "undecided"
    assert "describes one model" in only(run, level).reason


def test_the_reference_is_intact(run: Path, tmp_path: Path) -> None:
    """A contrast with it is the interval of a number minus the intact value; where none is stored,
    the interval itself says the same."""
    bare = gate_store(tmp_path / "bare")
    manifest = Store(bare).manifest()
    Store(bare).write_table("contrasts", [])
    Store(bare).write_manifest(manifest)
    for path in (run, bare):
        found = only(path, rule(MEAN + 1.001 * HALF, against="reference"))
        assert (found.verdict, found.row["control"]) == ("pass", "reference")
        assert only(path, rule(MEAN + 0.999 * HALF, against="reference")).verdict == "undecided"


def test_the_same_texts_are_compared_document_by_document(run: Path, tmp_path: Path) -> None:
    """Today's twin is 0.001 above that of the baseline in every shard: surely, though each interval
    is wider. A twin that the baseline lacks, and shards of other documents, decide nothing."""
    then = gate_store(tmp_path / "then", MEAN - 0.001)
    assert only(run, rule(0.00101, against="baseline"), then).verdict == "pass"
    assert only(run, rule(0.00099, against="baseline"), then).verdict == "fail"
    same = only(run, rule(0.0, against="baseline"), run)
    assert (same.verdict, same.row["value"]) == ("pass", 0.0)
    other = compared_store(tmp_path / "other", {"rtn:bits=8": even()})
    assert "no such twin" in only(run, rule(0.0, against="baseline"), other).reason
    newer = gate_store(tmp_path / "newer", bitlens="0.2.0")
    assert "versions of bitlens" in only(run, rule(0.0, against="baseline"), newer).reason


def test_other_tokens_are_refused(run: Path, tmp_path: Path) -> None:
    """By their hash, and a baseline without the model; both name what they found."""
    asked = [rule(0.0, against="baseline")]
    with pytest.raises(ResultsError, match=r"other tokens for m .hashes 9f2c1ab04d7e and 77"):
        gate(run, asked, gate_store(tmp_path / "then", tokens="77"))
    with pytest.raises(ResultsError, match="no model in common: m and other"):
        gate(run, asked, gate_store(tmp_path / "other", model="other"))


def test_a_baseline_and_its_rules_belong_together(run: Path) -> None:
    """Neither passes in silence without the other."""
    with pytest.raises(InputError, match="none is given"):
        gate(run, [rule(0.0, against="baseline")])
    with pytest.raises(InputError, match="no rule is against it"):
        gate(run, [rule(0.0)], run)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"metric": "behaviour.lk"}, "no metric of the run is behaviour.lk"),
        ({"twin": "rtn:bits=5"}, "Did you mean rtn:bits=4"),
        ({"twin": "*like*"}, "a control is meant only"),
        ({"site": "logitz"}, "Did you mean logits"),
        ({"item": "twins"}, "Did you mean twin"),
        ({"model": "n"}, "no model of the run is n"),
    ],
)
def test_a_rule_on_nothing_is_a_mistake(run: Path, known: dict[str, str], message: str) -> None:
    """It says which of its patterns nothing has, and what was probably meant."""
    with pytest.raises(InputError, match=message):
        gate(run, [rule(1.0, **known)])


def test_a_twin_that_was_not_measured_decides_nothing(tmp_path: Path) -> None:
    """Beside those that pass: a rule on all twins was on it too, one on others was not."""
    path = gate_store(tmp_path / "run")
    lost = results.entry(
        Cell(model="m", compression="rtn:bits=2", analysis="behaviour", seed=0),
        status="failed",
        reason="It overflows.\nExpected: more bits.",
    )
    amended(path, cells=[*Store(path).manifest()["cells"], lost])
    (judged,) = gate(path, [rule(1.0)]).found
    assert [one.verdict for one in judged.numbers] == ["pass", "undecided"]
    assert judged.numbers[1].reason == "it was not measured: It overflows"
    assert only(path, rule(1.0, twin=RTN)).verdict == "pass"
    with pytest.raises(InputError, match=r"no metric of the run is behaviour.kll"):
        gate(path, [rule(1.0, metric="behaviour.kll")])


def test_an_unfinished_run_decides_nothing(tmp_path: Path) -> None:
    """Whatever is there of it; a folder of something else is a mistake."""
    path = gate_store(tmp_path / "run")
    (path / "manifest.json").unlink()
    outcome = gate(path, [rule(1.0)])
    (judged,) = outcome.found
    assert (outcome.verdict, judged.numbers) == ("undecided", ())
    assert "unfinished run" in judged.reason
    with pytest.raises(ResultsError, match="holds no results"):
        gate(tmp_path, [rule(1.0)])


@pytest.mark.parametrize(
    ("check", "doubted"),
    [
        (Check("the text", False, "unreadable", bears_on="text"), True),
        (Check("the text", None, "who knows", bears_on="text"), False),
        (Check("calibration apart", False, "shared", bears_on="calibration"), False),
        (Check("the sae fits", False, "poor", bears_on="sae"), False),
        (Check("weights differ", False, "they do not", twins=(RTN,)), True),
        (Check("weights differ", False, "they do not", twins=("nf4",)), False),
        (Check("other model", False, "bad", model="n"), False),
        (Check("overflow", False, "bad", bears_on="overflow"), False),
        (Check("m: enough documents", False, "12 documents", bears_on="text"), False),
    ],
)
def test_a_number_that_rests_on_a_failed_check_decides_nothing(
    tmp_path: Path, check: Check, doubted: bool
) -> None:
    """The check is named; checks of other things do not matter."""
    path = amended(gate_store(tmp_path / "run"), checks=[asdict(check)])
    found = only(path, rule(1.0))
    assert (found.verdict == "undecided") is doubted
    assert not doubted or found.reason == f"{check.name}: {check.detail}"


@pytest.mark.parametrize("passed", [False, None])
def test_an_sae_that_does_not_fit_decides_nothing(tmp_path: Path, passed: bool | None) -> None:
    """Nor does one that may not: what was read through it has its label as item."""
    check = Check("the SAE fits", passed, "it leaves 80 % unexplained", bears_on="twin")
    path = amended(gate_store(tmp_path / "run"), checks=[asdict(check)])
    asked = rule(99.0, metric="behaviour.perplexity", item="twin")
    assert only(path, asked).reason == "the SAE fits: it leaves 80 % unexplained"
    assert only(path, rule(1.0)).verdict == "pass"


def test_rules_keep_their_order(run: Path) -> None:
    """One verdict for all: the worst."""
    outcome = gate(run, [rule(1.0), rule(0.01), rule(MEAN)])
    verdicts = [one.verdict for one in outcome.found]
    assert verdicts == ["pass", "fail", "undecided"]
    assert outcome.verdict == "fail"
    assert JudgedRule(rule=rule(1.0)).verdict == "undecided"
