"""The verdict on each compression: what it cost, in a few sentences, the finding first."""

from dataclasses import replace

from bitlens.report import registration
from bitlens.report.audit_results import AuditResults
from bitlens.report.text.doubts import OVERFLOW, Claim, doubts, heading, rests
from bitlens.report.text.numbers import figure
from bitlens.results.records import Check, TwinRecord


def verdicts(results: AuditResults, model: str) -> list[tuple[str, str]]:
    """(compression, sentences) for every compression of a model that was asked for.

    The first sentence is the finding; the others say what it is compared with, and where.

    Sentences state numbers and what they are compared with; they never call one good or bad.
    """
    return [
        (twin.compression, " ".join(sentences(results, model, twin)))
        for twin in results.twins(model)
    ]


def doubtful(results: AuditResults, model: str) -> list[Check]:
    """The checks of a model that did not pass, as they stand before its verdict."""
    told = (one for twin in results.measured(model) for one in claims(results, model, twin))
    return heading(results, model, told)


def sentences(results: AuditResults, model: str, twin: TwinRecord) -> list[str]:
    """What was found, the finding first: what rests on a check that failed comes after what does
    not, and carries its mark."""
    bits = f" ({figure(twin.bits)} bits per weight)" if twin.bits is not None else ""
    if twin.status == "failed":
        return [f"{twin.compression}{bits}: failed. {twin.reason}"]
    against = doubts(results, model)
    sure: list[str] = []
    unsure: list[str] = []
    leads = False
    for one in claims(results, model, twin):
        resting = [doubt for doubt in against if rests(results, model, one, doubt)]
        failed = any(doubt.check.passed is False for doubt in resting)
        marks = ", ".join(doubt.mark for doubt in resting)
        told = f"{one.text} ({marks})" if marks else one.text
        if failed and OVERFLOW not in one.uses:
            unsure.append(told)
        elif one.leads and not leads:
            sure.insert(0, told)
            leads = True
        else:
            sure.append(told)
    if unsure and not leads:
        sure.insert(0, "nothing that was measured is sure: a check that it rests on failed")
    first, *more = [*sure, *unsure] or ["nothing was measured"]
    lead = f"{twin.compression}{bits}: {first}."
    return [lead, *(f"{said[:1].upper()}{said[1:]}." for said in more)]


def claims(results: AuditResults, model: str, twin: TwinRecord) -> list[Claim]:
    """What broke, how far did the outputs move, beside which controls, and where? Every sentence
    that is registered and has something to say of a twin."""
    name = twin.compression
    told = [one for entry in registration.sentences() for one in entry.write(results, model, name)]
    return [replace(one, twins=one.twins | {name}) for one in told if one.text]
