"""Small sensitivity runs that are made up, with numbers one can reckon with."""

from pathlib import Path
from typing import Any

from bitlens.results.sensitivity.folder import Sensitivity
from bitlens.results.sensitivity.records import Effect, ProxyScore, Unit, UnitSize, Way

COMPRESSIONS = ("rtn:bits=3", "rtn:bits=4")


def effect(
    unit: str, value: float | None, way: Way = "only", compression: str = "rtn:bits=3"
) -> Effect:
    """Of kl, on 30 documents in three shards: the replicates lie evenly around the value."""
    replicates = () if value is None else (0.9 * value, value, 1.1 * value)
    low, high = (None, None) if value is None else (0.5 * value, 1.5 * value)
    return Effect(
        compression=compression,
        unit=unit,
        way=way,
        measure="kl",
        item="",
        value=value,
        low=low,
        high=high,
        documents=30,
        reason="no value" if value is None else None,
        replicates=replicates,
    )


def sensitivity(root: Path = Path("nowhere"), **changed: Any) -> Sensitivity:
    """Two compressions of a model of four blocks, the first the worst."""
    units = [
        Unit(
            name=f"block {n}",
            kind="block",
            block=n,
            matrices=(f"layers.{n}.up", f"layers.{n}.down"),
            parameters=1000,
        )
        for n in range(4)
    ]
    effects = []
    for compression, size in zip(COMPRESSIONS, (1.0, 0.25), strict=True):
        effects.append(effect("", 1.2 * size, "whole", compression))
        for n, unit in enumerate(units):
            effects.append(effect(unit.name, size * (0.4 - 0.1 * n), "only", compression))
            effects.append(effect(unit.name, size * (0.5 - 0.1 * n), "all but", compression))
    fields: dict[str, Any] = {
        "root": root,
        "about": {
            "tool": {"version": "1"},
            "command": "bitlens sensitivity model --with rtn:bits=3 --with rtn:bits=4",
            "settings": {"models": [{"name": "model"}]},
            "key": "0" * 16,
            "asked": {
                "compressions": list(COMPRESSIONS),
                "units": "block",
                "measures": ["kl"],
                "top": None,
            },
            "model": {
                "name": "model",
                "fingerprint": "f" * 16,
                "blocks": 4,
                "dtype": "float32",
                "parameters": 5000,
                "bits": 32.0,
                "conv1d": False,
            },
            "on": {"text": "texts", "token_hash": "a" * 16, "documents": 30, "tokens": 900},
            "stages": [],
            "unstaged": None,
            "notes": [],
        },
        "units": units,
        "sizes": [
            UnitSize(compression=c, unit=u.name, bits=float(c[-1]) + 0.5)
            for c in COMPRESSIONS
            for u in units
        ],
        "effects": effects,
        "proxies": [
            ProxyScore(proxy="sqnr", compression=c, unit=u.name, value=-10.0 * (1 + place))
            for place, c in enumerate(COMPRESSIONS)
            for u in units
        ],
    }
    return Sensitivity(**(fields | changed))


def planned(**changed: Any) -> dict[str, Any]:
    """A plan of that run that was audited beside four others."""

    def sure(value: float) -> dict[str, Any]:
        return {
            "value": value,
            "low": 0.9 * value,
            "high": 1.1 * value,
            "documents": 30,
            "reason": None,
        }

    def rival(name: str, value: float, compression: str = "mixed:*=[rtn:bits=4]") -> dict[str, Any]:
        return {
            "name": name,
            "compression": compression,
            "bits": 4.5,
            "promised": None,
            "measured": sure(value),
            "more": sure(value - 0.2),
        }

    plan = {
        "schema": 2,
        "tool": {"version": "1"},
        "key": "0" * 16,
        "model": "model",
        "measure": "kl",
        "budget": 4.5,
        "text": "texts",
        "documents": 30,
        "units": [{"unit": "block 0", "format": "keep", "bits": 32.0, "weights": 1000}],
        "start": "by sqnr",
        "candidates": [
            rival("the plan", 0.2, "mixed:exclude=[0.*],*=[rtn:bits=3]")
            | {"promised": 0.19, "more": None},
            rival("effects alone", 0.25) | {"promised": 0.19},
            rival("uniform rtn:bits=4", 0.3),
            rival("random 1", 0.5),
            rival("by sqnr", 0.2, "mixed:exclude=[0.*],*=[rtn:bits=3]"),
        ],
        "swaps": [
            {
                "start": "by sqnr",
                "round": 1,
                "raised": "block 1",
                "raised_to": "rtn:bits=4",
                "lowered": "block 0",
                "lowered_to": "rtn:bits=3",
                "more": sure(0.1),
                "taken": False,
            }
        ],
        "fragments": [{"tool": "torchao", "file": "torchao.py", "text": "# all of it\nconfig"}],
        "notes": [],
    }
    return plan | changed
