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
            },
            "model": {
                "name": "model",
                "fingerprint": "f" * 16,
                "blocks": 4,
                "dtype": "float32",
                "parameters": 5000,
                "bits": 32.0,
            },
            "on": {"text": "texts", "token_hash": "a" * 16, "documents": 30, "tokens": 900},
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
