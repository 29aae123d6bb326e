"""Whether an error of its size had to do the damage is said by the stored contrast."""

from dataclasses import replace

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.beside_noise import beside_noise
from tests.support.audit_stores import NOISE, RTN, with_rows

BROKEN = {"behaviour__same_top__logits": (0.3, 0.28, 0.32)}


def beside(deep: AuditResults, difference: float, q: float) -> list[str]:
    """The titles about a broken twin whose KL is so much above that of noise."""
    found = with_rows(deep, behaviour__kl__logits=(1.0 + difference, 0.9, 1.4), **BROKEN)
    found = with_rows(found, NOISE, behaviour__kl__logits=(1.0, 0.9, 1.1))
    place = {"compression": RTN, "control": NOISE, "metric": "kl"}
    others = [
        row for row in found.contrasts if (row["compression"], row["control"]) != (RTN, NOISE)
    ]
    base = {**deep.contrasts[0], **place, "model": "demo", "analysis": "behaviour"}
    tested = {"site": "logits", "item": "", "difference": difference, "p": q, "q": q, "seed": 0}
    ends = {"low": difference - 0.01, "high": difference + 0.01}
    known = replace(found, contrasts=[*others, {**base, **tested, **ends}])
    return [one.title for one in beside_noise(known, "demo") if one.twins == (RTN,)]


@pytest.mark.parametrize(
    ("difference", "q", "said"),
    [
        (0.3, 0.01, f"{RTN} does more damage than noise of its size to the outputs"),
        (-0.3, 0.01, f"{RTN} does less damage than noise of its size"),
        (0.3, 0.2, f"{RTN} does about as much damage as noise of its size"),
        (0.05, 0.001, f"{RTN} does about as much damage as noise of its size"),
    ],
)
def test_more_less_or_as_much(deep: AuditResults, difference: float, q: float, said: str) -> None:
    """A difference that is not sure is none; one of a twentieth of the damage is trivial."""
    assert beside(deep, difference, q) == [said]
