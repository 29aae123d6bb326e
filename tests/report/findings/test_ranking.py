"""What is said first is sure, is more than noise does, and does not rest on a failed check."""

from dataclasses import replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.ladder import WEIGHT as LADDER
from bitlens.report.findings.ranking import FIRST, beyond_noise, findings, first
from bitlens.report.registration import Finding
from bitlens.results.records import TEXT, Check
from tests.support.audit_stores import with_rows


def test_the_weightiest_come_first(deep: AuditResults) -> None:
    """In falling order."""
    weights = [one.weight for one in findings(deep, "demo")]
    assert weights
    assert weights == sorted(weights, reverse=True)


def test_what_rests_on_a_failed_check_is_no_finding(deep: AuditResults) -> None:
    """Of a text that the reference cannot read nothing about the text is said."""
    bad = Check("reads the text", False, "it cannot.", bears_on=TEXT, model="demo")
    doubtful = replace(deep, manifest={**deep.manifest, "checks": [vars(bad)]})
    assert any(TEXT in one.uses for one in findings(deep, "demo"))
    assert not any(TEXT in one.uses for one in findings(doubtful, "demo"))


def test_the_first_screen_holds_a_few_that_weigh_enough() -> None:
    """The others stand in a fold; none is lost."""
    many = [Finding(title=str(i), text="", anchor="", weight=0.9, twins=()) for i in range(8)]
    light = Finding(title="light", text="", anchor="", weight=0.2, twins=())
    shown, others = first([*many, light])
    assert len(shown) == FIRST
    assert light in others
    assert len(others) == 3
    assert first([light]) == ([], [light])


def test_without_noise_it_is_said_that_none_was_run(deep: AuditResults) -> None:
    """And the damage counts."""
    row = deep.find("demo", "rtn:bits=4,group=64", "behaviour.kl")
    assert row is not None
    alone = replace(deep, contrasts=[])
    found = beyond_noise(alone, "demo", "rtn:bits=4,group=64", row)
    assert found.is_more
    assert found.told == " (no noise of the same size was run)"


def test_what_a_cast_to_16_bits_does_as_well_is_no_damage(deep: AuditResults) -> None:
    """Whatever noise does: rounding alone explains it."""
    name = "rtn:bits=4,group=64"
    row = deep.find("demo", name, "behaviour.kl")
    assert row is not None
    known = next(c for c in deep.contrasts if c["compression"] == name and c["metric"] == "kl")

    def beside(q: float) -> bool:
        cast = {**known, "control": deep.cast("demo"), "difference": 0.01, "p": q, "q": q}
        found = replace(deep, contrasts=[known, cast])
        return beyond_noise(found, "demo", name, row).is_more

    assert beside(0.001)
    assert not beside(0.4)


def test_what_noise_or_a_cast_does_as_well_is_never_promoted(deep: AuditResults) -> None:
    """Of damage that no contrast tells from noise only that is said, and of what is lost nothing:
    with hidden damage, lost copies and one bad block in every twin."""
    hidden = {
        "behaviour__perplexity_ratio__logits": (1.01, 1.005, 1.015),
        "features__survived__resid_2__late": (0.72, 0.7, 0.74),
        "heads__induction_score_kept__pattern": (0.99, 0.97, 1.0),
        "heads__copying_kept__logits": (0.8, 0.75, 0.85),
        "geometry__l2__resid_0__local": (90.0, 89.0, 91.0),
    }
    everyone = [twin.compression for twin in deep.measured("demo")]
    alike = deep
    for name in everyone:
        for who in filter(None, (name, deep.noise("demo", name))):
            alike = with_rows(alike, who, **hidden)
    keys = ("model", "compression", "analysis", "metric", "site", "item", "documents", "seed")
    unsure = {"difference": 0.01, "low": -0.1, "high": 0.1, "p": 0.5, "q": 0.5, "reason": None}
    alike = replace(
        alike,
        contrasts=[
            {**{key: row[key] for key in keys}, **unsure, "control": control}
            for row in alike.estimates
            for control in (deep.noise("demo", row["compression"]), deep.cast("demo"))
            if control and f"{row['analysis']}.{row['metric']}" in deep.metrics
        ],
    )
    told = findings(alike, "demo")
    assert any("Hidden damage" in one.title for one in told)
    for one in first(told)[0]:
        assert "about as much damage as noise" in one.title or one.weight == LADDER, one.title
