"""One sentence a twin: numbers, intervals, and what they are compared with."""

from dataclasses import replace
from typing import Any

from bitlens.report.audit_results import AuditResults
from bitlens.report.text.summary_table import summary_table
from bitlens.report.text.verdict import verdicts
from tests.support.audit_stores import CAST

RTN = "rtn:bits=4,group=64"


def tell(results: AuditResults, name: str = RTN) -> str:
    """The sentence about one compression."""
    return dict(verdicts(results, "demo"))[name]


def without(results: AuditResults, **which: Any) -> AuditResults:
    """The results less every estimate whose fields are these."""
    rows = [r for r in results.estimates if any(r[k] != v for k, v in which.items())]
    return replace(results, estimates=rows)


def test_the_whole_sentence(results: AuditResults) -> None:
    """Every number of the sentence is the store's: KL 0.0250 is 1.30 times the noise's 0.0192."""
    assert tell(results) == (
        "rtn:bits=4,group=64 (4.25 bits per weight): perplexity ×1.0150 [1.0135, 1.0167], "
        "mean KL 0.0250 nats [0.0232, 0.0267], same top token 93.36 % [92.96, 93.76]. "
        "KL is 1.30 times that of weight noise of the same size (difference 0.00515 nats "
        "[0.00464, 0.00567], q = 0.0018) and 1,619 times that of cast:dtype=bfloat16. "
        "The largest local error is that of block 3's MLP, 17.9 % [14.3, 21.5] of its output."
    )


def test_no_word_of_praise_or_blame(results: AuditResults) -> None:
    """No cut-off is stated, so none is applied."""
    told = " ".join(sentence for _, sentence in verdicts(results, "demo"))
    for word in ("good", "bad", "safe", "acceptable", "negligible", "pass", "significant"):
        assert word not in told


def test_a_failed_twin_says_why(results: AuditResults) -> None:
    """The reason stands where the numbers would."""
    told = tell(results, "rtn:bits=3,group=48")
    assert told.startswith("rtn:bits=3,group=48: failed. group 48 does not divide")


def test_without_controls_nothing_is_compared(results: AuditResults) -> None:
    """Noise or cast that was not measured is not spoken of."""
    alone = without(without(results, compression=f"noise:like=[{RTN}]"), compression=CAST)
    assert "times that of" not in tell(alone)
    assert "mean KL 0.0250" in tell(alone)


def test_one_analysis_is_enough(results: AuditResults) -> None:
    """With geometry alone the sentence speaks of blocks; with nothing it says so."""
    inside = without(results, analysis="behaviour")
    assert tell(inside) == (
        "rtn:bits=4,group=64 (4.25 bits per weight): the largest local error is that of block "
        "3's MLP, 17.9 % [14.3, 21.5] of its output."
    )
    assert tell(without(inside, analysis="geometry")).endswith(": nothing was measured.")


def test_an_untested_difference_says_why(results: AuditResults) -> None:
    """Without a p-value its reason stands in the sentence."""
    rows = [{**r, "p": None, "low": None, "high": None, "reason": "bootstrap"}
            for r in results.contrasts]  # fmt: skip
    assert "(not tested: bootstrap)" in tell(replace(results, contrasts=rows))


def test_seeds_show_their_range(results: AuditResults) -> None:
    """With several seeds the sentence speaks of the first and tells how far they spread."""
    more = [
        {**r, "seed": 1, "value": 2 * r["value"]} for r in results.estimates if r["metric"] == "kl"
    ]
    told = tell(replace(results, estimates=results.estimates + more))
    assert "mean KL 0.0250 nats" in told
    assert told.endswith("Over 2 seeds mean KL runs from 0.0250 to 0.0499 nats.")


def test_the_table_holds_reference_twins_and_controls(results: AuditResults) -> None:
    """A row each, the reference first and controls last; what failed has none."""
    table = summary_table(results, "demo")
    titles = [column.title for column in table.columns]
    first = [row[0] for row in table.rows]
    assert first[:2] == ["reference", "rtn:bits=8"]
    assert first[-1] == f"{CAST} (control)"
    assert "rtn:bits=3,group=48" not in first
    row = dict(zip(titles, next(r for r in table.rows if r[0] == RTN), strict=True))
    assert row["bits"] == "4.25"
    assert row["mean KL"] == "0.0250 ±0.0017"
    assert row["same top"] == "93.4 ±0.4 %"
    reference = dict(zip(titles, table.rows[0], strict=True))
    assert reference["bits"] == "32.00"
    assert reference["perplexity"] == "8.31 ±0.25"
    assert reference["mean KL"] == "–"
