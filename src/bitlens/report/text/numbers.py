"""Numbers as text: with as many digits as their intervals support, and no more."""

import math
from collections.abc import Mapping
from typing import Any

from bitlens.results.records import TOO_FEW

UNSAID = "±?"
"""In a narrow table, in the place of an interval of too few documents."""


def decimals(value: float, low: float | None = None, high: float | None = None) -> int:
    """How many decimals does a value deserve?

    Two significant digits of the longer half of its interval; three of the value without one.
    """
    spread = max(high - value, value - low) if low is not None and high is not None else 0.0
    if spread > 0:
        wanted = 1 - math.floor(math.log10(spread))
    elif value:
        wanted = 2 - math.floor(math.log10(abs(value)))
    else:
        wanted = 0
    return min(max(wanted, 0), 6)


def plain(value: float, places: int) -> str:
    """A number with this many decimals; below 0.0001, with a power of ten; a true minus sign."""
    text = f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value:,.{places}f}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−")


def figure(value: float, unit: str = "") -> str:
    """A bare number: `0.0213`, `94.1 %`, `0 nats`."""
    shown = 100 * value if unit == "share" else value
    text = plain(shown, 0 if value in (0, 1) else decimals(shown))
    return text + {"share": " %", "": ""}.get(unit, f" {unit}")


def amount(estimate: Mapping[str, Any], unit: str = "") -> str:
    """An estimate as it stands in a sentence: `0.0213 nats [0.0199, 0.0228]`.

    Without a value its reason stands in its place, and what says that documents are too few in the
    place of an interval; one of no length, but for rounding, is left out.
    """
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None:
        return f"not known ({estimate['reason']})"
    if low is None or high is None or math.isclose(low, high, rel_tol=1e-12):
        few = f" [{TOO_FEW}]" if estimate.get("reason") == TOO_FEW else ""
        return f"{figure(value, unit)}{few}"
    factor = 100.0 if unit == "share" else 1.0
    value, low, high = factor * value, factor * low, factor * high
    places = decimals(value, low, high)
    suffix = {"share": " %", "": ""}.get(unit, f" {unit}")
    return f"{plain(value, places)}{suffix} [{plain(low, places)}, {plain(high, places)}]"


def points(estimate: Mapping[str, Any]) -> str:
    """A difference of two shares: `−3.4 points [−5.1, −1.7]`."""
    ends = ("value", "low", "high")
    return amount(
        {k: None if estimate[k] is None else 100 * estimate[k] for k in ends}
        | {"reason": estimate.get("reason")},
        "points",
    )


def margin(estimate: Mapping[str, Any] | None, unit: str = "") -> str:
    """An estimate as it stands in a narrow table: `0.0250 ±0.0017`, `(6.7 ±0.5)e−5`.

    The number after ± is the longer half of the interval, with two digits where they begin with
    1 to 3.54 and one elsewhere (the Particle Data Group's rule).
    """
    if estimate is None or estimate["value"] is None:
        return "–"
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if low is None or high is None or math.isclose(low, high, rel_tol=1e-12):
        few = f" {UNSAID}" if estimate.get("reason") == TOO_FEW else ""
        return f"{figure(value, unit if unit == 'share' else '')}{few}"
    factor, sign = (100.0, " %") if unit == "share" else (1.0, "")
    value, half = factor * value, factor * max(high - value, value - low)
    small = 0 < abs(value) < 1e-3 and half < 1e-3
    power = math.floor(math.log10(abs(value))) if small else 0
    value, half = value / 10**power, half / 10**power
    exponent = math.floor(math.log10(half))
    places = min(max(-exponent + (half / 10**exponent < 3.55), 0), 6)
    value = round(value, places) + 0.0  # A negative zero plus zero is a plain one.
    text = f"{value:,.{places}f} ±{half:.{places}f}".replace("-", "−")
    return f"({text})e−{-power}{sign}" if power else f"{text}{sign}"


def probability(p: float) -> str:
    """A p-value with two significant digits."""
    return f"{p:.2g}"


def times(ratio: float) -> str:
    """How many times as large: `1.43 times`, `23 times`, `0.83 times`."""
    places = 0 if ratio >= 10 else 1 if ratio >= 2 else 2
    return f"{plain(ratio, places)} times"


def size(count: float) -> str:
    """Bytes in the unit a person would use: `1.4 GB` (powers of ten)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # 999.6 MB is 1 GB, not 1e+03 MB.
        if count >= 0.9995 * scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def token(text: str) -> str:
    """A token by itself, with the space at its ends and its line breaks to be seen."""
    if not text:
        return "(empty)"
    inside = text.strip(" ")
    left = len(text) - len(text.lstrip(" ")) if inside else 0
    right = len(text) - left - len(inside)
    return "␣" * left + running(inside) + "␣" * right


def running(text: str) -> str:
    """Text on one line: line breaks and tabs to be seen."""
    return text.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")
