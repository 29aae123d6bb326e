"""Which compression to take is the smallest one that is close to the reference."""

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.ladder import smallest
from bitlens.report.status import status
from tests.support.audit_stores import RTN, Numbers, with_rows

INTACT: dict[str, Numbers] = {
    "behaviour__same_top__logits": (0.995, 0.99, 0.999),
    "behaviour__perplexity_ratio__logits": (1.001, 0.999, 1.003),
    "behaviour__kl__logits": (0.001, 0.0005, 0.002),
    "features__survived__resid_0__early": (0.99, 0.98, 1.0),
    "features__survived__resid_2__late": (0.99, 0.98, 1.0),
    "heads__copying_kept__logits": (1.0, 0.99, 1.01),
}


def test_the_smallest_that_is_intact_is_named(deep: AuditResults) -> None:
    """With its bits, its size and how much smaller it is."""
    found = with_rows(deep, **INTACT)
    words = {t.compression: status(found, "demo", t).word for t in found.measured("demo")}
    assert words[RTN] == "intact"
    first = next(iter(smallest(found, "demo")))
    assert first.title == f"{RTN} is the smallest that is intact"
    assert "bits per weight" in first.text
    assert "times smaller" in first.text


def test_none_is_said_where_there_is_none(deep: AuditResults) -> None:
    """With what the largest is."""
    worse = deep
    for twin in deep.measured("demo"):
        worse = with_rows(worse, twin.compression, behaviour__same_top__logits=(0.3, 0.2, 0.4))
    (one,) = smallest(worse, "demo")
    assert one.title.startswith("None is close to the reference")
    assert one.title.endswith("is broken")
