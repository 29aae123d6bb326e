"""What one look hides is named: copying, a perplexity that falls, a cosine, counts at a cut."""

from dataclasses import replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.text.hidden_damage import behind_cosine, copying, no_improvement
from bitlens.report.text.losses import features_and_heads
from bitlens.report.text.verdict import sentences
from tests.support.audit_stores import NOISE, RTN, Numbers, with_rows


def told(results: AuditResults) -> str:
    """The whole verdict."""
    twin = next(twin for twin in results.twins("demo") if twin.compression == RTN)
    return " ".join(sentences(results, "demo", twin))


COPIES: dict[str, Numbers] = {
    "heads__second_copy_ratio__logits": (1.52, 1.41, 1.64),
    "heads__second_copy__logits__reference": (0.31, 0.29, 0.33),
    "heads__second_copy__logits__twin": (0.47, 0.44, 0.5),
    "heads__copying__logits__reference": (3.1, 2.9, 3.3),
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((0.02, 0.01, 0.03), ", although the best induction head, head 3.1, attends more to"),
        ((0.01, -0.01, 0.03), ", although it is not sure that the best induction head, head 3.1"),
        ((-0.2, -0.22, -0.18), "; the best induction head, head 3.1, attends less to the first"),
        ((0.02, None, None), "0.310 to 0.470 nats [0.440, 0.500]"),
    ],
)
def test_copying_that_suffers_is_named(deep: AuditResults, change: Numbers, said: str) -> None:
    """By the loss on the second copy, whatever its best induction head attends to."""
    found = with_rows(deep, **COPIES, heads__induction_change__pattern_3__head_1=change)
    one = next(copying(found, "demo", RTN), None)
    assert one is not None
    assert said in one.text
    assert one.text.startswith(
        "copying suffers: of random tokens that repeat, the loss on the second copy is 1.52 "
        "[1.41, 1.64] times the reference's, 0.310 to 0.470 nats [0.440, 0.500]"
    )
    assert "Copying suffers: " in told(found)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("heads__second_copy_ratio__logits", (1.2, 1.09, 1.3)),
        ("heads__second_copy_ratio__logits", (1.2, None, None)),
        ("heads__copying__logits__reference", (0.02, -0.01, 0.05)),
    ],
)
def test_copying_must_be_sure_and_there(deep: AuditResults, name: str, numbers: Numbers) -> None:
    """By a tenth with the whole interval, in a model that copies."""
    found = with_rows(deep, **{**COPIES, name: numbers})
    assert not list(copying(found, "demo", RTN))


@pytest.mark.parametrize(
    ("ratio", "kl", "said"),
    [
        ((0.97, 0.95, 0.99), (0.3, 0.28, 0.32), True),
        ((0.97, 0.93, 1.01), (0.3, 0.28, 0.32), True),
        ((0.9997, 0.9992, 1.0002), (2e-4, 1.9e-4, 2.1e-4), False),
        ((1.01, 1.0, 1.02), (0.3, 0.28, 0.32), False),
        ((0.97, 0.95, 0.99), (0.3, None, None), False),
    ],
)
def test_a_perplexity_that_falls_is_no_improvement(
    results: AuditResults, ratio: Numbers, kl: Numbers, said: bool
) -> None:
    """Where KL is far above zero; said after the outputs."""
    found = with_rows(results, behaviour__perplexity_ratio__logits=ratio, behaviour__kl__logits=kl)
    one = next(no_improvement(found, "demo", RTN), None)
    assert (one is not None) is said
    assert ("Perplexity ×0.970 is no improvement: the predictions are not" in told(found)) is said


ALIKE: dict[str, Numbers] = {
    **{f"geometry__cosine__resid_{n}__cumulative": (0.995, 0.994, 0.996) for n in range(4)},
    **{f"geometry__cka__resid_{n}__cumulative": (0.97, 0.96, 0.98) for n in range(4)},
    "features__survived__resid_0__early": (0.98, 0.97, 0.99),
    "features__survived__resid_2__late": (0.98, 0.97, 0.99),
}


def test_what_a_cosine_hides_is_one_finding(deep: AuditResults) -> None:
    """CKA and features of the same place, with their intervals."""
    found = with_rows(
        deep,
        **{
            **ALIKE,
            "geometry__cosine__resid_2__cumulative": (0.99, 0.989, 0.991),
            "geometry__cka__resid_2__cumulative": (0.7, 0.67, 0.73),
            "features__survived__resid_2__late": (0.11, 0.09, 0.13),
        },
    )
    one = next(behind_cosine(found, "demo", RTN), None)
    assert one is not None
    assert one.uses == {"text", "late"}
    assert one.text == (
        "the cosine hides it: at resid.2 activations keep one of 0.9900 [0.9890, 0.9910] with the "
        "reference's, yet debiased CKA is 0.700 [0.670, 0.730] and 11.0 % [9.0, 13.0] of the "
        "features in block 2 (late) survive"
    )


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("geometry__cka__resid_1__cumulative", (0.85, 0.8, 0.91)),
        ("geometry__cka__resid_1__cumulative", (0.7, None, None)),
        ("features__survived__resid_2__late", (0.7, 0.65, 0.75)),
        ("geometry__cosine__resid_1__cumulative", (0.9, 0.89, 0.91)),
    ],
)
def test_a_cosine_hides_nothing_that_is_not_sure(
    deep: AuditResults, name: str, numbers: Numbers
) -> None:
    """CKA below 0.9, or fewer than half of the features, with the whole interval."""
    assert not list(behind_cosine(with_rows(deep, **{**ALIKE, name: numbers}), "demo", RTN))


def changes(first: Numbers, second: Numbers) -> dict[str, Numbers]:
    """Of the reference's two induction heads."""
    return {
        "heads__induction_change__pattern_1__head_1": first,
        "heads__induction_change__pattern_3__head_1": second,
    }


@pytest.mark.parametrize(
    ("mean", "said"),
    [
        (
            (-0.1, -0.12, -0.08),
            "−10.0 points [−12.0, −8.0] on average (q = 0.002): 2 of 2 surely fell, 0 surely rose",
        ),
        ((-0.1, -0.22, 0.02), ""),
        ((-0.1, None, None), ""),
    ],
)
def test_scores_that_fell_stand_beside_a_count(
    deep: AuditResults, mean: Numbers, said: str
) -> None:
    """All heads may stay above the cut while every score falls."""
    fell: Any = changes((-0.1, -0.12, -0.08), (-0.1, -0.11, -0.09))
    found = with_rows(deep, heads__induction_mean_change__pattern=mean, **fell)
    heads = list(features_and_heads(found, "demo", RTN))[-1].text
    assert heads.startswith("keeps both induction heads")
    assert (", with scores that changed by" in heads) is bool(said)
    assert said in heads


@pytest.mark.parametrize(("q", "fell"), [(0.05, 1), (0.051, 0), (0.9, 0)])
def test_heads_fell_by_the_stored_test(deep: AuditResults, q: float, fell: int) -> None:
    """By q, of all heads tested together, whatever their own intervals."""
    mean: Numbers = (-0.1, -0.12, -0.08)
    moved = changes((-0.1, -0.12, -0.08), (0.0, 0.0, 0.0))
    found = with_rows(deep, heads__induction_mean_change__pattern=mean, **moved)
    rows = [
        {**row, "p": 0.001, "q": q} if row["metric"] == "induction_change" else row
        for row in found.contrasts
    ]
    said = list(features_and_heads(replace(found, contrasts=rows), "demo", RTN))[-1].text
    assert f": {fell} of 2 surely fell, 0 surely rose" in said


def test_the_noise_s_scores_stand_beside_its_count(deep: AuditResults) -> None:
    """With the stored contrast of the mean change."""
    mean: Numbers = (-0.1, -0.12, -0.08)
    found = with_rows(deep, heads__induction_mean_change__pattern=mean)
    found = with_rows(found, NOISE, heads__induction_mean_change__pattern=(-0.05, -0.06, -0.04))
    row = next(row for row in found.contrasts if row["compression"] == RTN)
    place = {"analysis": "heads", "metric": "induction_mean_change", "site": "pattern"}
    tested = {"difference": -0.05, "low": -0.07, "high": -0.03, "p": 0.001, "q": 0.004}
    found = replace(found, contrasts=[*found.contrasts, {**row, **place, **tested}])
    assert (
        "The noise keeps 2 of 2 induction heads and changes their scores by −5.0 points "
        "[−6.0, −4.0] on average (difference −5.0 points [−7.0, −3.0], q = 0.004)." in told(found)
    )
