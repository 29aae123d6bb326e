"""What came of a gate as Markdown, for the summary of a job or a comment on a pull request."""

from bitlens.errors import in_one_line
from bitlens.report.gating.told import MARKS, GateWords, conclusion, shown_first
from bitlens.report.page.markdown import escaped
from bitlens.results.counts import count
from bitlens.results.gating.gate import GateOutcome

ROWS, TOLD, EACH = 40, 20, 5
"""So many rules have a row, so many numbers that do not pass are told, and so many of one rule."""


def gate_summary(outcome: GateOutcome) -> str:
    """A row a rule, what does not pass, and what it was measured on. Names are text, whatever they
    hold."""
    words = GateWords(outcome.manifest)
    ranked = sorted(outcome.found, key=lambda judged: judged.verdict == "pass")
    lines = [
        f"| {MARKS[judged.verdict]} | {escaped(words.rule(judged))} | "
        f"{escaped(words.counted(judged))} |"
        for judged in ranked[:ROWS]
    ]
    told = [
        f"- {MARKS[one.verdict]}: {escaped(in_one_line(judged.rule.named))}: "
        f"{escaped(words.number(judged.rule, one))}"
        for judged in ranked
        for one in shown_first(judged)[:EACH]
    ]
    open_ = sum(len(shown_first(judged)) for judged in ranked)
    blocks = [
        [f"## {escaped(conclusion(outcome))}"],
        ["| verdict | rule | numbers |", "| --- | --- | --- |", *lines],
        _more(len(ranked) - ROWS, "rule"),
        told[:TOLD],
        _more(open_ - len(told[:TOLD]), "number"),
        _measured_on(outcome),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _more(left: int, noun: str) -> list[str]:
    return [f"And {count(left, noun)} more."] if left > 0 else []


def _measured_on(outcome: GateOutcome) -> list[str]:
    if outcome.manifest is None:
        return []
    found = [
        f"{corpus['model']}: {corpus['name']}, {count(corpus['documents'], 'document')}, "
        f"token hash {corpus['token_hash'][:12]}"
        for corpus in outcome.manifest["corpora"]
    ]
    version = outcome.manifest["tool"]["version"]
    rest = f"Numbers with 95 % intervals over documents; bitlens {version}."
    return [f"- {escaped(in_one_line(one))}" for one in (*found, rest)]
