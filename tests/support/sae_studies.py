"""Configurations of a study of SAEs, with numbers that hang together."""

from itertools import combinations, permutations
from typing import Any

from bitlens.sae.alignment.compare import BEST, MUTUAL, ROTATED, SHARED
from bitlens.workflows.sae_study.measures import IN_SAMPLE, SURVIVAL

ABOUT = {
    "model": "tiny",
    "weights": "abc",
    "text": "texts.jsonl",
    "held out": {"documents": 12, "sha256": "def"},
    "width": 64,
    "site": "resid.1",
    "penalty": "k",
    "architecture": "topk",
    "rate": None,
    "schedule": None,
    "positions": "content",
}
SEEDS = range(3)


def record(width: str, latents: int, value: float, chance: float, ceiling: float) -> dict[str, Any]:
    """Three seeds that all say the same."""
    roles = {
        "value": {f"{a} {b}": value for a, b in permutations(SEEDS, 2)},
        "same": {f"{a}": 0.99 for a in SEEDS},
        "random": {f"{a}": chance for a in SEEDS},
        "ceiling": {f"{a} {b}": ceiling for a, b in combinations(SEEDS, 2)},
    }
    numbers = {SURVIVAL: value, "r": 0.95, "fvu_reference": 0.2, "fvu_twin": 0.25}
    read = {"values": numbers | {"l0_reference": 8, "l0_twin": 8}, "chance": {SURVIVAL: 0.0}}
    flow = [[1, 0, 0, 0], [0, 2, 1, 0], [0, 0, 4, 0], [0, 0, 0, 0]]
    return {
        "width": width,
        "penalty": 8,
        "epochs": 1,
        "tokens": 1000,
        "twin": "rtn:bits=4",
        "latents": latents,
        "fingerprints": [[width], ["b"]],
        "saes": {},
        "frozen": {str(seed): {**read, "flow": flow} for seed in SEEDS},
        "aligned": {
            "found": dict.fromkeys((BEST, MUTUAL, SHARED, IN_SAMPLE), roles),
            "absent": {ROTATED: "too few"},
        },
    }


NARROW, WIDE = record("0.5x", 32, 0.75, 0.5, 1.0), record("8x", 512, 0.375, 0.25, 0.875)
