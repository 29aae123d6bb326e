"""Statistics that hold wherever a run stops: made from intervals and p-values for a number of
documents that was fixed beforehand, for one that the numbers themselves decided.

Who looks at an interval again and again, and stops when it is narrow, stops too often where it is
so by luck. A confidence sequence is an interval at every number of documents at once: all of them
hold the truth with the probability it says (Robbins 1970; asymptotic, for means of whatever
distribution: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, arXiv 2103.06476).
"""

from math import exp, log, sqrt

from bitlens.results.stats.intervals import LEVEL

TUNED = 100
"""Documents at which the sequence is narrowest; within a factor of ten it hardly matters."""


def boundary(documents: int, level: float = LEVEL) -> float:
    """How many standard errors on either side hold the truth at every number of documents at once:
    sqrt(2 (1 + 1/x) ln(sqrt(x + 1) / alpha)) with x = n rho^2, and rho such that it is least at
    `TUNED`. 3.36 of 20 documents, 3.04 of 100 and 3.13 of 400, where one look would take 1.96."""
    x = _spread(documents)
    return sqrt(2 * (1 + 1 / x) * log(sqrt(x + 1) / (1 - level)))


def level_at_any_stop(documents: int, level: float = LEVEL) -> float:
    """At which level is an interval for a fixed number of documents as wide as the one that holds
    wherever one stops? With few shards Student's t widens it as it widens any other."""
    from scipy.special import erf

    return float(erf(boundary(documents, level) / sqrt(2)))


def p_at_any_stop(p: float, documents: int) -> float:
    """A p-value that holds wherever one stops, from one that holds for a fixed number: the least
    alpha at which the confidence sequence leaves out the null, 1 at most."""
    from scipy.special import ndtri

    x, z = _spread(documents), float(ndtri(p / 2))
    return min(1.0, sqrt(x + 1) * exp(-(z**2) * x / (2 * (x + 1))))


def _spread(documents: int) -> float:
    """n rho^2; rho^2 = (-2 ln alpha + ln(1 - 2 ln alpha)) / `TUNED` at the usual alpha."""
    wanted = -2 * log(1 - LEVEL)
    return max(documents, 1) * (wanted + log(wanted + 1)) / TUNED
