"""What a plan shows: what it promised, what it does, and what it was held against."""

from collections.abc import Mapping
from typing import Any

from bitlens.errors import visible
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.few import sayable
from bitlens.report.text.numbers import amount, figure, margin
from bitlens.results.plans.measured import ALONE, PLAN
from bitlens.results.plans.rivals import NEAR
from bitlens.results.sensitivity.measures import BENCHMARK, MEASURES

ABOUT = {
    "uniform": "{} everywhere",
    "random": "The best random plan of the size",
    "by ": "The best plan that another score makes, {},",
}
"""By how their names begin, the kinds of rivals, and how a sentence names the best of each."""


def candidates(plan: Mapping[str, Any]) -> Table:
    """The plan and all it was held against, the least effect first after it."""
    unit = MEASURES[plan["measure"]].metric.unit
    read = "questions" if plan["measure"] == BENCHMARK else "documents"
    first, *others = plan["candidates"]
    others = sorted(others, key=lambda one: _value(one["measured"]))
    rows = tuple(
        (
            one["name"],
            figure(one["bits"]),
            "" if one["promised"] is None else figure(one["promised"], unit),
            margin(one["measured"], unit),
            "" if one["more"] is None else margin(one["more"], unit),
        )
        for one in (first, *others)
    )
    return Table(
        (
            Column("plan"),
            Column("bits a weight", numeric=True),
            Column("promised", numeric=True),
            Column("measured", numeric=True),
            Column("more than the plan", numeric=True),
        ),
        rows,
        f"{plan['measure']} on {plan['documents']} {read} of {plan['text']}; promised is the sum "
        "of the effects that a plan was made by: of units alone; these scaled, format by format, "
        "to what everything in it does; or the mean of alone and of what leaving a unit out saves. "
        + " ".join(plan["notes"]),
    )


def seen(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan's file as it may be shown: what nobody can see is written out, and of too few
    documents there is no interval."""
    content: dict[str, Any] = visible(dict(plan))
    for one in content["candidates"]:
        one["measured"] = sayable(one["measured"])
        one["more"] = one["more"] and sayable(one["more"])
    for one in content["swaps"]:
        one["more"] = sayable(one["more"])
    return content


def finding(plan: Mapping[str, Any]) -> str:
    """Whether the plan is worth more than one format everywhere, as a sentence."""
    rivals = _of_size(plan, "uniform")
    if not rivals:
        return f"A plan of {plan['budget']:g} bits a weight, where no one format everywhere fits"
    more = [one["more"] for one in rivals]
    if any(one["compression"] == plan["candidates"][0]["compression"] for one in rivals):
        return f"No plan that was tried changes {plan['measure']} less than one format everywhere"
    if all(one["low"] is not None and one["low"] > 0 for one in more):
        return f"The plan surely changes {plan['measure']} less than one format everywhere"
    return f"The plan does not surely change {plan['measure']} less than one format everywhere"


def _of_size(plan: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """The rivals of one kind that fit the budget."""
    room = plan["budget"] * (1 + NEAR)
    others = plan["candidates"][1:]
    return [one for one in others if one["name"].startswith(kind) and one["bits"] <= room]


def sentence(plan: Mapping[str, Any]) -> str:
    """What came of it."""
    unit = MEASURES[plan["measure"]].metric.unit
    first = plan["candidates"][0]
    own = (
        f"{PLAN.capitalize()} of {figure(first['bits'])} bits a weight: {plan['measure']} "
        f"{amount(first['measured'], unit)}."
    )
    rivals = (beside(plan, kind) for kind in ABOUT)
    return " ".join(filter(None, (own, beginning(plan), promise(plan), *rivals)))


def beginning(plan: Mapping[str, Any]) -> str:
    """Which of the plans that were audited it is, or was improved from, where that is not the one
    of the units' own effects."""
    start = plan["start"]
    if start == ALONE:
        return ""
    swapped = any(one["taken"] and one["start"] == start for one in plan["swaps"])
    taken = "is improved from" if swapped else "is"
    said = f"It {taken} the one by {start.removeprefix('by ')}, which did least of all that fit"
    plain = next((one["more"] for one in plan["candidates"] if one["name"] == ALONE), None)
    if plain is None or plain["value"] is None:
        return f"{said}."
    sure = plain["low"] is not None and plain["low"] > 0
    unit = MEASURES[plan["measure"]].metric.unit
    more = "surely more" if sure else "not surely more"
    return f"{said}; the one by effects alone does {more}: {amount(plain, unit)}."


def promise(plan: Mapping[str, Any]) -> str:
    """That effects do not add, where the sum of the units' own is outside of what was measured."""
    one = next((one for one in plan["candidates"] if one["name"] == ALONE), plan["candidates"][0])
    sure, unit = one["measured"], MEASURES[plan["measure"]].metric.unit
    if one["promised"] is None or sure["low"] is None:
        return ""
    if sure["low"] <= one["promised"] <= sure["high"]:
        return ""
    return (
        f"Effects do not add here: those of the units alone come to {figure(one['promised'], unit)}"
        f", together they are {amount(sure, unit)}."
    )


def beside(plan: Mapping[str, Any], kind: str) -> str:
    """What the best of one kind of rival does beside the plan."""
    unit = MEASURES[plan["measure"]].metric.unit
    rivals = _of_size(plan, kind)
    if not rivals:
        return ""
    best = min(rivals, key=lambda one: _value(one["measured"]))
    more = best["more"]
    size = f" ({figure(best['bits'])} bits a weight)"
    who = ABOUT[kind].format(best["name"].partition(" ")[2] + size * (kind == "uniform"))
    if best["compression"] == plan["candidates"][0]["compression"]:
        return f"{who} is the same plan."
    if more["low"] is None:
        return f"Whether {who[0].lower()}{who[1:]} does more is not known: {more['reason']}."
    if more["low"] > 0:
        said = "surely does more"
    elif more["high"] < 0:
        said = "surely does less"
    else:
        said = "does not surely do more or less"
    return f"{who} {said}: {amount(more, unit)}."


def formats(plan: Mapping[str, Any]) -> Table:
    """The format of every unit."""
    rows = tuple((one["unit"], one["format"], figure(one["bits"])) for one in plan["units"])
    return Table(
        (Column("unit"), Column("format"), Column("bits a weight", numeric=True)),
        rows,
        "keep: the unit stays as it is.",
    )


def swaps(plan: Mapping[str, Any]) -> Table | None:
    """Every swap that was tried."""
    unit = MEASURES[plan["measure"]].metric.unit
    rows = tuple(
        (
            one["start"],
            str(one["round"]),
            f"{one['raised']} to {one['raised_to']}",
            f"{one['lowered']} to {one['lowered_to']}",
            margin(one["more"], unit),
            "yes" if one["taken"] else "",
        )
        for one in plan["swaps"]
    )
    if not rows:
        return None
    return Table(
        (
            Column("of the plan by"),
            Column("round"),
            Column("raised"),
            Column("lowered"),
            Column("difference", numeric=True),
            Column("taken"),
        ),
        rows,
        "Swaps that keep the size, each measured; one is taken where it surely does less.",
    )


def told(plan: Mapping[str, Any]) -> list[Table]:
    """What a terminal shows."""
    return [candidates(seen(plan))]


def _value(measured: Mapping[str, Any]) -> float:
    return float("inf") if measured["value"] is None else float(measured["value"])
