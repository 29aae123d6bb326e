"""What one sees of a twin first says no more than its rules do."""

from typing import get_args

from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import ASPECTS, Hero, hero, heroes, short
from bitlens.report.status import Word, shipped
from tests.support.audit_stores import RTN, Numbers, with_rows


def seen(deep: AuditResults, **numbers: Numbers) -> Hero:
    """The row of a twin with these numbers."""
    found = with_rows(deep, **numbers)
    (twin,) = (one for one in found.measured("demo") if one.compression == RTN)
    return hero(found, "demo", twin)


def test_the_sentence_is_of_outputs_features_and_heads(deep: AuditResults) -> None:
    """Each by its own rules alone."""
    one = seen(
        deep,
        behaviour__same_top__logits=(0.85, 0.83, 0.87),
        behaviour__perplexity_ratio__logits=(1.05, 1.04, 1.06),
        features__survived__resid_0__early=(0.9, 0.88, 0.92),
        features__survived__resid_2__late=(0.1, 0.05, 0.15),
        heads__copying_kept__logits=(1.0, 0.99, 1.01),
        heads__induction_score_kept__pattern=(1.0, 0.99, 1.01),
    )
    assert one.status is not None
    assert one.status.word == "broken"
    assert one.sentence == (
        "It predicts something else at 15 of 100 places, loses most features and has heads that do "
        "their jobs."
    )
    assert [(number.title, number.text, number.word) for number in one.numbers] == [
        ("same top token", "85.0 % [83.0, 87.0]", "damaged"),
        ("features that survive, in block 2 (late)", "10.0 % [5.0, 15.0]", "broken"),
        ("induction score kept", "100.0 % [99.0, 101.0]", "intact"),
    ]


def test_every_aspect_has_a_phrase_for_every_word() -> None:
    """And is one that some rule is about."""
    about = {rule.metric.partition(".")[0] for rule in shipped().rules}
    assert set(ASPECTS) == about
    assert all(set(said) == set(get_args(Word)) for said in ASPECTS.values())


def test_a_twin_that_failed_says_why(deep: AuditResults) -> None:
    """It has no word and no numbers."""
    (one,) = (one for one in heroes(deep, "demo") if one.twin.status == "failed")
    assert (one.status, one.numbers) == (None, ())
    assert one.twin.reason
    assert one.twin.reason in one.sentence


def test_nobody_reads_more_than_one_decimal() -> None:
    """At a glance."""
    row = {"value": 0.992412, "low": 0.990987, "high": 0.993511, "reason": None}
    assert short(row) == "99.2 % [99.1, 99.4]"
