"""What the analyses of heads, lenses and features leave behind, made up: rows and tables of a twin.

Planted: head 1.2 suffers most, the SAE at block 2 loses more than the one at block 0.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from bitlens.results.records import Metric
from tests.support.results import shown

HOSTILE = "</script><img src=x onerror=alert(1)>"

KINDS = ("induction", "previous", "duplicate")
TENTHS = range(10, 100, 10)
R_STEPS = (*TENTHS, 95, 99)
SAES = (("resid.0", "early"), ("resid.2", "late"))
CATEGORIES = ("dead", "rare", "common", "frequent")
ACTIVE = 180
HEADS = 4

ATTENTION = [
    Metric(
        "jsd",
        "How far apart are the patterns?",
        unit="nats",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric(
        "tv",
        "How much attention went elsewhere?",
        unit="share",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric(
        "entropy",
        "How spread out is it?",
        unit="nats",
        worse=None,
        intact=None,
        level=True,
    ),
    Metric("entropy_shift", "Did it spread?", unit="nats", worse=None, intact=0.0),
    Metric(
        "sink",
        "How much rests on the first position?",
        unit="share",
        worse=None,
        intact=None,
        level=True,
    ),
    Metric("sink_shift", "Does more rest there?", unit="share", worse=None, intact=0.0),
]
HEADS_METRICS = [
    *(
        metric
        for kind in KINDS
        for metric in (
            Metric(
                kind,
                f"How much {kind} attention?",
                unit="share",
                worse="lower",
                intact=None,
                level=True,
            ),
            Metric(
                f"{kind}_change",
                "How did it change?",
                unit="share",
                worse="lower",
                intact=0.0,
            ),
            *(
                Metric(
                    f"{kind}_kept_{t}",
                    f"Above 0.{t}?",
                    unit="share",
                    worse="lower",
                    intact=1.0,
                )
                for t in TENTHS
            ),
            Metric(f"{kind}_rank", "In the same order?", unit="", worse="lower", intact=1.0),
        )
    ),
    Metric("induction_kept_readme", "By its README?", unit="share", worse="lower", intact=1.0),
    Metric("induction_kept_code", "By its code?", unit="share", worse="lower", intact=1.0),
    Metric(
        "copying",
        "How much easier is the second copy?",
        unit="nats",
        worse="lower",
        intact=None,
        level=True,
    ),
    Metric(
        "copying_kept",
        "How much of that is left?",
        unit="share",
        worse="lower",
        intact=1.0,
    ),
]
LENS = [
    Metric(
        "lens_kl",
        "How far apart are the lenses?",
        unit="nats",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric(
        "lens_same_top",
        "How often is the top the same?",
        unit="share",
        worse="lower",
        intact=1.0,
        scale="logit",
    ),
    Metric(
        "lens_top5",
        "How many of five are the same?",
        unit="share",
        worse="lower",
        intact=1.0,
        scale="logit",
    ),
    Metric(
        "target",
        "How probable is the truth?",
        unit="probability",
        worse="lower",
        intact=None,
        level=True,
    ),
    Metric(
        "target_change",
        "How did that change?",
        unit="probability",
        worse="lower",
        intact=0.0,
    ),
    Metric(
        "final_rank",
        "Where is the final token?",
        unit="rank",
        worse="higher",
        intact=None,
        scale="log",
        level=True,
    ),
    Metric(
        "first_correct",
        "When is it right?",
        unit="share of depth",
        worse="higher",
        intact=None,
        level=True,
    ),
    Metric(
        "first_correct_shift",
        "How much later?",
        unit="share of depth",
        worse="higher",
        intact=0.0,
    ),
    Metric(
        "divergence",
        "When do they part?",
        unit="share of depth",
        worse="lower",
        intact=1.0,
    ),
    Metric(
        "divergence_seed",
        "Which block is first?",
        unit="block",
        worse=None,
        intact=None,
        level=True,
    ),
]
FEATURES = [
    Metric(
        "fvu",
        "What is unexplained?",
        unit="share",
        worse="higher",
        intact=None,
        scale="log",
        level=True,
    ),
    Metric(
        "l0",
        "How many fire?",
        unit="latents",
        worse=None,
        intact=None,
        scale="log",
        level=True,
    ),
    Metric(
        "fvu_ratio",
        "How much worse is the fit?",
        unit="",
        worse="higher",
        intact=1.0,
        scale="log",
    ),
    Metric(
        "active",
        "How many fire often?",
        unit="latents",
        worse=None,
        intact=None,
        level=True,
    ),
    Metric("alive", "How many fire?", unit="latents", worse=None, intact=None, level=True),
    Metric("survived", "Which survived?", unit="share", worse="lower", intact=1.0),
    Metric("degraded", "Which are degraded?", unit="share", worse="higher", intact=0.0),
    Metric("damaged", "Which are damaged?", unit="share", worse="higher", intact=0.0),
    *(
        Metric(f"kept_{t}", f"Above {t / 100}?", unit="share", worse="lower", intact=1.0)
        for t in R_STEPS
    ),
    Metric(
        "surely_survived",
        "Which surely survived?",
        unit="share",
        worse="lower",
        intact=1.0,
    ),
    Metric("surely_lost", "Which are surely lost?", unit="share", worse="higher", intact=0.0),
    Metric("undecided", "Which are undecided?", unit="share", worse="higher", intact=0.0),
    Metric("r", "How correlated?", unit="", worse="lower", intact=1.0),
    Metric("gain", "How strong?", unit="", worse=None, intact=1.0),
    Metric("concordance", "How alike?", unit="", worse="lower", intact=1.0),
    Metric(
        "lost_firings",
        "How many firings are gone?",
        unit="share",
        worse="higher",
        intact=0.0,
    ),
    Metric("new_firings", "How many are new?", unit="share", worse="higher", intact=0.0),
    Metric("firing_f1", "Do they fire together?", unit="", worse="lower", intact=1.0),
    Metric("firing_kappa", "And beyond chance?", unit="", worse="lower", intact=1.0),
    Metric("twin_only", "How many are new?", unit="share", worse="higher", intact=0.0),
    Metric("sample_correlation", "By sample?", unit="", worse="lower", intact=1.0),
    Metric(
        "sample_correlation_alive",
        "By sample, of live ones?",
        unit="",
        worse="lower",
        intact=1.0,
    ),
    Metric("feature_correlation", "By feature?", unit="", worse="lower", intact=1.0),
    Metric("top10_agreement", "Same ten?", unit="share", worse="lower", intact=1.0),
    Metric("firing_agreement", "Same firing?", unit="share", worse="lower", intact=1.0),
    Metric("top20_token_sets", "Same tokens?", unit="share", worse="lower", intact=1.0),
    Metric(
        "category_changed",
        "Which fire more or less often?",
        unit="share",
        worse="higher",
        intact=0.0,
    ),
]
TRANSFER = [
    Metric(
        "loss_recovered",
        "What is saved?",
        unit="share",
        worse="lower",
        intact=None,
        level=True,
    ),
    Metric(
        "loss_added",
        "What does it cost?",
        unit="nats",
        worse="higher",
        intact=None,
        level=True,
    ),
    Metric("loss_at_stake", "And the mean?", unit="nats", worse=None, intact=None, level=True),
    Metric("recovered_difference", "How much less?", unit="share", worse="higher", intact=0.0),
    Metric("added_difference", "How much more?", unit="nats", worse="higher", intact=0.0),
]
INSIDE = {
    "attention": ATTENTION,
    "heads": HEADS_METRICS,
    "lens": LENS,
    "features": FEATURES,
    "transfer": TRANSFER,
}

Numbers = tuple[float | None, float | None, float | None, float | None, str | None]
"""Value, low, high, chance, reason."""
Place = tuple[str, str, str, Numbers]
"""Metric, site, item, numbers."""


def around(value: float, half: float, chance: float | None = None) -> Numbers:
    """A value in the middle of its interval."""
    return value, value - half, value + half, chance, None


def attention(damage: float, blocks: int, wobble: np.random.Generator) -> Iterator[Place]:
    """Head 1.2 is hit five times as hard as the others."""
    means = []
    for block in range(blocks):
        jsds = []
        for head in range(HEADS):
            hit = 5 if (block, head) == (1, 2) else 1
            jsd = 0.4 * hit * damage**1.5 * math.exp(0.7 * wobble.standard_normal())
            site, item = f"pattern.{block}", f"head {head}"
            jsds.append(jsd)
            yield "jsd", site, item, around(jsd, 0.15 * jsd, 0.31)
            yield "tv", site, item, around(math.sqrt(jsd), 0.1 * math.sqrt(jsd), 0.6)
            entropy, sink = 0.5 + 0.6 * head + 0.1 * block, 0.1 + 0.2 * head
            moved = 0.5 * damage * hit * wobble.standard_normal()
            yield "entropy", site, f"{item}, reference", around(entropy, 0.05)
            yield "entropy", site, f"{item}, twin", around(entropy + moved, 0.05)
            yield "entropy_shift", site, item, around(moved, 0.02)
            yield "sink", site, f"{item}, reference", around(sink, 0.02)
            yield "sink", site, f"{item}, twin", around(sink + moved / 5, 0.02)
            yield "sink_shift", site, item, around(moved / 5, 0.01)
        mean = float(np.mean(jsds))
        means.append(mean)
        yield "jsd", f"pattern.{block}", "", around(mean, 0.1 * mean, 0.31)
        yield "tv", f"pattern.{block}", "", around(math.sqrt(mean), 0.01, 0.6)
    yield "jsd", "pattern", "", around(float(np.mean(means)), 0.1 * float(np.mean(means)), 0.31)


def score(kind: str, block: int, head: int) -> float:
    """The reference's: one clear head of each kind in every other block, traces elsewhere."""
    strong = block % 2 == 1 and head == KINDS.index(kind) + 1
    return 0.55 + 0.09 * block if strong else 0.03 + 0.01 * head


def head_rows(damage: float, blocks: int, wobble: np.random.Generator) -> list[dict[str, Any]]:
    """The table `heads`: head 1.1 of two kinds is hit hardest."""
    rows = []
    for kind in KINDS:
        for block in range(blocks):
            for head in range(HEADS):
                reference = score(kind, block, head)
                lost = reference * damage * (2.4 if block == 1 else 0.6)
                rows.append(
                    {
                        "block": block,
                        "head": head,
                        "kind": kind,
                        "choosing": reference + 0.01 * wobble.standard_normal(),
                        "reference": reference,
                        "twin": reference - lost,
                        "twin_low": reference - lost - 0.02,
                        "twin_high": reference - lost + 0.02,
                        "chance": 0.02,
                    }
                )
    return rows


def heads(damage: float, rows: list[dict[str, Any]]) -> Iterator[Place]:
    """Scores, what is kept above thresholds, rank, copying."""
    for row in rows:
        site, item, kind = f"pattern.{row['block']}", f"head {row['head']}", row["kind"]
        yield kind, site, f"{item}, reference", around(row["reference"], 0.02, row["chance"])
        yield kind, site, f"{item}, twin", around(row["twin"], 0.03, row["chance"])
        yield f"{kind}_change", site, item, around(row["twin"] - row["reference"], 0.02)
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        for t in TENTHS:
            above = [r for r in mine if min(r["choosing"], r["reference"]) > t / 100]
            name = f"{kind}_kept_{t}"
            if above:
                kept = sum(r["twin"] > t / 100 for r in above) / len(above)
                yield (
                    name,
                    "pattern",
                    "",
                    (kept, max(kept - 0.2, 0), min(kept + 0.2, 1), None, None),
                )
            else:
                reason = f"no head of the reference scores above 0.{t}"
                yield name, "pattern", "", (None, None, None, None, reason)
        yield f"{kind}_rank", "pattern", "", around(1 - damage / 2, 0.02, 0.0)
    yield "induction_kept_readme", "pattern", "", around(1 - damage, 0.05)
    yield "induction_kept_code", "pattern", "", (1.0, None, None, None, "no interval")
    yield "copying", "logits", "reference", around(3.1, 0.2)
    yield "copying", "logits", "twin", around(3.1 * (1 - damage), 0.2)
    yield "copying_kept", "logits", "", around(1 - damage, 0.03, 0.0)


def lens(damage: float, blocks: int, wobble: np.random.Generator) -> Iterator[Place]:
    """Curves by block and what is said of all blocks together."""
    for block in range(blocks):
        site, deep = f"resid.{block}", (block + 1) / blocks
        kl = 3 * damage**1.8 * deep * math.exp(0.05 * wobble.standard_normal())
        same = 1 / (1 + 0.5 * math.sqrt(kl))
        yield "lens_kl", site, "", around(kl, 0.08 * kl, 5.5)
        yield "lens_same_top", site, "", around(same, 0.05 * (1 - same), 0.04)
        yield "lens_top5", site, "", around(same, 0.05 * (1 - same), 0.03)
        target = 0.05 + 0.3 * deep
        yield "target", site, "reference", around(target, 0.01)
        yield "target", site, "twin", around(target * (1 - damage), 0.01)
        yield "target_change", site, "", around(-target * damage, 0.005)
        rank = 1 + 400 * (1 - deep) ** 2
        yield "final_rank", site, "reference", around(rank, 0.05 * rank)
        yield "final_rank", site, "twin", around(rank * (1 + damage), 0.05 * rank)
    yield "first_correct", "resid", "reference", around(0.7, 0.02)
    yield "first_correct", "resid", "twin", around(0.7 + 0.1 * damage, 0.02)
    yield "first_correct_shift", "resid", "", around(0.1 * damage, 0.004)
    yield "divergence", "resid", "", around(1 - 0.8 * damage, 0.01, 0.05)
    yield "divergence_seed", "resid", "", (2.0, None, None, None, "a block has no interval")


def trajectories(damage: float, blocks: int) -> list[dict[str, Any]]:
    """Six shown positions; in the deeper half the twin goes astray where damage is large."""
    words = [" the", " cat", " sat", HOSTILE, "\n", " ", "模型", "\u202eevil", " mat", "."]
    rows = []
    for place in range(6):
        for block in range(blocks):
            astray = damage > 0.05 and block >= blocks / 2 and place % 2
            top = words[(place + min(block, 2)) % len(words)]
            rows.append(
                {
                    "place": place,
                    "document": HOSTILE if place == 1 else f"document {place}",
                    "offset": 17 + place,
                    "before": [" Once", " upon", " a", HOSTILE, "\n", " time"],
                    "target": words[(place + 2) % len(words)],
                    "block": block,
                    "kl": damage * (block + 1),
                    "top_reference": top,
                    "top_twin": words[(place + 5) % len(words)] if astray else top,
                    "target_reference": 0.1 * (block + 1),
                    "target_twin": 0.08 * (block + 1),
                }
            )
    return rows


def feature_rows(damage: float, wobble: np.random.Generator) -> list[dict[str, Any]]:
    """The table `features`: weak features suffer most; four fire only in the twin."""
    rows = []
    for site, label in SAES:
        hit = 1.0 if label == "early" else 2.2
        for latent in range(ACTIVE + 4):
            peak = math.exp(1 + wobble.standard_normal())
            new = latent >= ACTIVE
            r = max(-0.2, 1 - hit * damage * math.exp(wobble.standard_normal()) / peak**0.8)
            sure = "survived" if r > 0.92 else "lost" if r < 0.88 else "undecided"
            rows.append(
                {
                    "sae": label,
                    "site": site,
                    "latent": 7 * latent,
                    "state": "twin only"
                    if new
                    else "survived"
                    if r > 0.9
                    else "degraded"
                    if r >= 0.5
                    else "damaged",
                    "sure": "undecided" if new else sure,
                    "r": None if new else r,
                    "r_low": None if new else r - 0.02,
                    "r_high": None if new else min(r + 0.02, 1.0),
                    "gain": None if new else 1 - damage,
                    "offset": None if new else 0.01,
                    "concordance": None if new else r - 0.01,
                    "rate_reference": 0.0 if new else 0.01,
                    "rate_twin": 0.011,
                    "lost": None if new else damage,
                    "new": None if new else damage / 2,
                    "f1": None if new else 1 - damage,
                    "peak_reference": 0.0 if new else peak,
                    "peak_twin": peak * (1 - damage),
                    "mean_reference": None if new else peak / 3,
                }
            )
    return rows


def features(damage: float, rows: list[dict[str, Any]]) -> Iterator[Place]:
    """Shares that agree with the table of features, and the second seed's definitions."""
    for site, label in SAES:
        mine = [row for row in rows if row["sae"] == label and row["state"] != "twin only"]
        n = len(mine)
        yield "fvu", site, f"{label}, reference", around(0.12, 0.01)
        yield "fvu", site, f"{label}, twin", around(0.12 * (1 + damage), 0.01)
        yield "l0", site, f"{label}, reference", around(32.0, 1.0)
        yield "l0", site, f"{label}, twin", around(32.0 * (1 + damage), 1.0)
        yield "active", site, label, (float(n), None, None, None, "a count")
        yield "alive", site, label, (float(n + 40), None, None, None, "a count")
        for state in ("survived", "degraded", "damaged"):
            share = sum(row["state"] == state for row in mine) / n
            yield state, site, label, around(share, 0.02, float(state == "damaged"))
        for name, sure in (
            ("surely_survived", "survived"),
            ("surely_lost", "lost"),
            ("undecided", "undecided"),
        ):
            yield name, site, label, around(sum(row["sure"] == sure for row in mine) / n, 0.02)
        for t in R_STEPS:
            share = sum(row["r"] > t / 100 for row in mine) / n
            yield f"kept_{t}", site, label, around(share, 0.02, 0.0)
        r = float(np.median([row["r"] for row in mine]))
        yield "r", site, label, around(r, 0.01, 0.0)
        for name, value in (
            ("gain", 1 - damage),
            ("concordance", r - 0.01),
            ("lost_firings", damage),
            ("new_firings", damage / 2),
            ("firing_f1", 1 - damage),
            ("firing_kappa", 1 - 1.1 * damage),
            ("twin_only", 4 / n),
            ("fvu_ratio", 1 + damage),
            ("sample_correlation", 1 - damage / 3),
            ("sample_correlation_alive", 1 - damage / 2),
            ("feature_correlation", r),
            ("top10_agreement", 1 - damage),
            ("firing_agreement", 1 - damage / 10),
            ("top20_token_sets", 1 - damage),
            ("category_changed", damage),
        ):
            yield name, site, label, around(value, 0.01, 0.3 if "agree" in name else 0.0)


def flow(damage: float) -> list[dict[str, Any]]:
    """Of 200 common latents some become rare, 20 dead ones and 2 frequent ones stay."""
    rare = round(200 * damage)
    moved = {
        ("dead", "dead"): 20,
        ("common", "common"): 200 - rare,
        ("common", "rare"): rare,
        ("frequent", "frequent"): 2,
    }
    return [
        {"sae": label, "site": site, "reference": a, "twin": b, "latents": moved.get((a, b), 0)}
        for site, label in SAES
        for a in CATEGORIES
        for b in CATEGORIES
    ]


def transfer(damage: float) -> Iterator[Place]:
    """Of 5 nats at stake the SAEs recover 97 % in the reference; in the twin the one at block 2
    less, the other more."""
    for _, label in SAES:
        less = 0.3 * damage if label == "late" else -0.1 * damage
        for who, recovered in (("reference", 0.97), ("twin", 0.97 - less)):
            item = f"{label}, {who}"
            yield "loss_recovered", "logits", item, around(recovered, 0.02, 0.0)
            yield "loss_added", "logits", item, around(5 * (1 - recovered), 0.1)
            yield "loss_at_stake", "logits", item, around(5.0, 0.2)
        yield "recovered_difference", "logits", label, around(less, 0.01)
        yield "added_difference", "logits", label, around(5 * less, 0.05)


def pattern_texts() -> list[dict[str, Any]]:
    """Two texts of six tokens, hostile ones among them."""
    tokens = [" Once", HOSTILE, "\n", "模型", "\u202e", "."]
    return [
        {"text": n, "document": where, "offset": 40 * n, "tokens": tokens[n:] + tokens[:n]}
        for n, where in enumerate(("a document", HOSTILE))
    ]


def patterns(damage: float, blocks: int) -> list[dict[str, Any]]:
    """Every head looks at the token before; in the twin some of it goes to the first one, of head
    1.2 half."""
    rows = []
    for block, head, text in product(range(blocks), range(HEADS), range(2)):
        lost = 127 if (block, head) == (1, 2) else round(255 * min(damage, 0.4))
        reference, twin = [255], [255]
        for query in range(1, 6):
            reference += [255 * (key == query - 1) for key in range(query + 1)]
            pays = [0] * (query + 1)
            pays[query - 1] = 255 - lost
            pays[0] += lost
            twin += pays
        one = {"text": text, "block": block, "head": head}
        rows.append({**one, "reference": reference, "twin": twin})
    return sorted(rows, key=lambda row: (row["block"], row["head"]) != (1, 2))


def contexts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two contexts a model for the six worst features of each SAE."""
    found = []
    tokens = [
        " Once",
        " upon",
        " a",
        " time",
        HOSTILE,
        "\n",
        "模型",
        " of",
        " cards",
        "\u202e",
        ".",
    ]
    for site, label in SAES:
        mine = sorted(
            (row for row in rows if row["sae"] == label and row["r"] is not None),
            key=lambda row: row["r"],
        )
        for row in mine[:6]:
            for who in ("reference", "twin"):
                for rank in range(2):
                    activation = [0.0] * len(tokens)
                    activation[4 + rank] = row["peak_reference"] / (1 + rank)
                    activation[3 + rank] = activation[4 + rank] / 3
                    found.append(
                        {
                            "sae": label,
                            "site": site,
                            "latent": row["latent"],
                            "found": who,
                            "rank": rank,
                            "document": HOSTILE if rank else "a document",
                            "offset": 40 * rank,
                            "peak": 4 + rank,
                            "tokens": tokens,
                            "reference": activation,
                            "twin": [a * max(row["r"], 0) for a in activation],
                        }
                    )
    return found


WORDS = (" Once", " upon", HOSTILE, "\n", " a", " time", "模型", ".")
"""Tokens of a document, by number."""
LIKELIEST = {"reference": (0.5, 0.2, 0.1, 0.05, 0.0123), "twin": (0.4, 0.3, 0.1, 0.05, 0.0004)}


def documents(damage: float) -> list[dict[str, Any]]:
    """The table `documents`: thirty of them, the first the farthest; four are shown, one of them
    for two reasons, one with a hostile name."""
    why = {0: ["worst"], 1: ["worst", "random"], 15: ["median"], 29: ["random"]}
    return [
        {
            "number": number,
            "document": HOSTILE if number == 1 else f"document {number}",
            "shard": number % 20,
            "positions": 7,
            "kl": damage * (30 - number),
            "changed": 2,
            "shown": why.get(number, []),
        }
        for number in range(30)
    ]


def tokens(damage: float) -> list[dict[str, Any]]:
    """The table `tokens` of those that are shown, eight tokens each. The third and the sixth have
    another token first in the twin; nothing stands before the first, and the second does not
    count. The likeliest are the next words, the true one the second of them; of the last token it
    is none of them."""
    rows = []
    for number in (0, 1, 15, 29):
        for place, word in enumerate(WORDS):
            order = [(place + n - 1) % len(WORDS) for n in range(5)]
            if place == 7:
                order = [0, 1, 2, 3, 4]
            twin = [order[1], order[0], *order[2:4], 99] if place in (2, 5) else order
            row: dict[str, Any] = {
                "number": number,
                "offset": 1 + place,
                "token": word,
                "counts": place > 1,
                "kl": damage * place if place else None,
            }
            for who, ids in (("reference", order), ("twin", twin)):
                ids = ids if place else []
                row |= {
                    f"target_{who}": (0.2 if place < 7 else 0.007) if place else None,
                    f"ids_{who}": ids,
                    f"top_{who}": [WORDS[n] if n < len(WORDS) else "other" for n in ids],
                    f"shares_{who}": list(LIKELIEST[who]) if place else [],
                }
            rows.append(row)
    return rows


def grid(damage: float) -> list[dict[str, Any]]:
    """The table `grid` of two texts, three tokens and two blocks each: after the second block
    the reference has the text's own token first and the twin another."""
    return [
        {"text": number, "place": place, "token": WORDS[place], "block": block}
        | {"kl": damage * (1 + block), "top_reference": WORDS[place] if block else "."}
        | {"top_twin": WORDS[place + 1] if block else "."}
        for number in (0, 1)
        for place in (1, 2, 3)
        for block in (0, 1)
    ]


def firings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each feature that has contexts, three positions: one only the twin fires at."""
    return [
        {"sae": row["sae"], "site": row["site"], "latent": row["latent"], "top": 4.0}
        | {"positions": 3, "reference": [255, 128, 0], "twin": [128, 128, 64]}
        | {"bins_reference": [0] * 6 + [1] + [0] * 4 + [1]}
        | {"bins_twin": [0, 0, 0, 1, 0, 0, 2] + [0] * 5}
        for row in rows
    ]


def directions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each feature that has contexts, what its direction says; Neuronpedia has those at 2."""
    return [
        {"sae": row["sae"], "site": row["site"], "latent": row["latent"]}
        | {"up": [HOSTILE, " b", "\n"], "up_by": [2.5, 1.25, 0.5]}
        | {"down": [" x", " y", " z"], "down_by": [-3.0, -2.0, -1.0]}
        | {"neuronpedia": "demo/2-res" if row["sae"] == "late" else None}
        for row in rows
    ]


def inside(
    damage: float, blocks: int, wobble: np.random.Generator
) -> tuple[dict[str, list[Place]], dict[str, dict[str, pa.Table]]]:
    """By analysis, rows and tables of one twin whose damage is given."""
    found, known = head_rows(damage, blocks, wobble), feature_rows(damage, wobble)
    seen = contexts(known)
    first = list({(row["sae"], row["latent"]): row for row in seen}.values())
    rows = {
        "attention": list(attention(damage, blocks, wobble)),
        "heads": list(heads(damage, found)),
        "lens": list(lens(damage, blocks, wobble)),
        "features": list(features(damage, known)),
        "transfer": list(transfer(damage)),
    }
    tables = {
        "behaviour": {
            "documents": shown("documents", documents(damage)),
            "tokens": shown("tokens", tokens(damage)),
        },
        "attention": {
            "patterns": shown("patterns", patterns(damage, blocks)),
            "pattern_texts": shown("pattern_texts", pattern_texts()),
            "grid": shown("grid", grid(damage)),
        },
        "heads": {"heads": shown("heads", found)},
        "lens": {"trajectories": shown("trajectories", trajectories(damage, blocks))},
        "features": {
            "features": shown("features", known),
            "contexts": shown("contexts", seen),
            "firings": shown("firings", firings(first)),
            "directions": shown("directions", directions(first)),
            "flow": shown("flow", list(flow(damage))),
        },
    }
    return rows, tables
