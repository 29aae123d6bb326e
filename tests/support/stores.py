"""One cell, its values and all that a store holds beside it."""

from dataclasses import asdict, replace
from typing import Any

from bitlens.results.records import Cell, Check, Metric, Value
from bitlens.results.store import Store
from bitlens.results.table_schema import ESTIMATES
from tests.support import results

CELL = Cell(
    model="org/model",
    compression="rtn:bits=4",
    analysis="behaviour",
    seed=0,
    settings={"corpus": "ab", "sites": ["logits"]},
)
VALUES = [
    Value(
        metric="kl",
        site="logits",
        item="",
        value=0.25,
        replicates=(0.24, 0.26),
        chance=9.5,
        documents=2,
    ),
    Value(metric="kl_max", site="logits", item="", value=None, reason="no documents"),
    Value(
        metric="kl",
        site="resid.0",
        item="cumulative",
        value=1e-300,
        replicates=(0.0, 5e-324),
        documents=2,
    ),
]
TABLES = {"heads": results.shown("heads", [{"block": 1, "head": 2, "kind": "induction"}])}
METRICS = {
    "behaviour.kl": asdict(Metric("kl", "How far?", unit="nats", worse="higher", intact=0.0))
}
MANIFEST = results.manifest(
    models=[results.model(CELL.model, saes=[results.sae()])],
    corpora=[results.corpus(CELL.model, notes=["cut"])],
    twins=[results.twin(CELL.compression, CELL.model)],
    checks=[asdict(Check("weights differ", True, "28 of 28."))],
    metrics=METRICS,
    cells=[results.entry(CELL), results.entry(replace(CELL, seed=1), status="failed", reason="x")],
)
ROW: dict[str, Any] = dict.fromkeys(ESTIMATES.names) | {
    "model": CELL.model, "compression": CELL.compression, "analysis": "behaviour", "metric": "kl",
    "site": "logits", "item": "", "value": 0.5, "documents": 2, "seed": 0,
}  # fmt: skip


def fill(store: Store) -> None:
    """Something in every place."""
    store.write_cell(CELL, VALUES, TABLES)
    store.write_table("estimates", [ROW])
    for name in ("contrasts", "coverage"):
        store.write_table(name, [])
    store.write_run(results.RUN)
    store.write_manifest(MANIFEST)
