"""Damage that the usual look misses is said where the intervals leave no way out."""

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.hidden_damage import copying, features_lost, flattering
from tests.support.audit_stores import RTN, Numbers, with_rows

EARLY, LATE = "features__survived__resid_0__early", "features__survived__resid_2__late"
HIDDEN: dict[str, Numbers] = {
    "behaviour__perplexity_ratio__logits": (1.01, 1.005, 1.015),
    EARLY: (0.99, 0.98, 1.0),
    LATE: (0.72, 0.7, 0.74),
}


def test_features_lost_behind_a_perplexity_that_stays(deep: AuditResults) -> None:
    """The worst SAE, in numbers, with the block as its address."""
    (one,) = (f for f in features_lost(with_rows(deep, **HIDDEN), "demo") if RTN in f.twins)
    assert one.title == (
        f"Hidden damage at {RTN}: perplexity hardly moves, 28.0 % of the features are lost"
    )
    assert one.text.startswith(
        "Perplexity ×1.0100 [1.0050, 1.0150]; 72.0 % [70.0, 74.0] of the features survive in "
        "block 2 (late)"
    )
    assert (one.anchor, one.target) == ("features", "layer=2")


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("behaviour__perplexity_ratio__logits", (1.01, 1.0, 1.03)),
        ("behaviour__perplexity_ratio__logits", (1.01, None, None)),
        (LATE, (0.94, 0.9, 0.96)),
        (LATE, (0.5, None, None)),
    ],
)
def test_nothing_unsure_is_hidden_damage(deep: AuditResults, name: str, numbers: Numbers) -> None:
    """Neither a perplexity that may have moved nor features that may be kept."""
    found = with_rows(deep, **{**HIDDEN, name: numbers})
    assert not [f for f in features_lost(found, "demo") if RTN in f.twins]


def test_copying_falls_while_attention_stays(deep: AuditResults) -> None:
    """Both by their whole intervals."""
    numbers: dict[str, Numbers] = {
        "heads__induction_score_kept__pattern": (0.99, 0.97, 1.0),
        "heads__copying_kept__logits": (0.8, 0.75, 0.85),
    }
    (one,) = (f for f in copying(with_rows(deep, **numbers), "demo") if RTN in f.twins)
    assert "copying is worse although the induction heads still attend" in one.title
    assert "keep 99.0 % [97.0, 100.0] of their score" in one.text
    weak = {**numbers, "heads__induction_score_kept__pattern": (0.95, 0.94, 0.97)}
    assert not [f for f in copying(with_rows(deep, **weak), "demo") if RTN in f.twins]


def test_a_lower_perplexity_is_no_improvement_by_itself(deep: AuditResults) -> None:
    """Where KL says that the predictions are others."""
    numbers: dict[str, Numbers] = {
        "behaviour__perplexity_ratio__logits": (0.98, 0.97, 0.99),
        "behaviour__kl__logits": (0.05, 0.04, 0.06),
    }
    (one,) = (f for f in flattering(with_rows(deep, **numbers), "demo") if RTN in f.twins)
    assert "lower perplexity and is no improvement" in one.title
    near = {**numbers, "behaviour__kl__logits": (0.012, 0.009, 0.015)}
    assert not [f for f in flattering(with_rows(deep, **near), "demo") if RTN in f.twins]
