"""What the table of experts says besides who was sent how many tokens: how far each one's weights
are off, and how many calibration tokens it met."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from bitlens.compression.calibration.documents import calibrated
from bitlens.compression.requests import TwinRequest
from bitlens.engine.expert_weights import ExpertErrors
from bitlens.engine.plan import make_plan
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.models.expert_routing import ROUTER, Routing
from bitlens.results.records import DetailTable
from bitlens.workflows.session import Session

EXPERTS = "experts"
"""The table's name."""


def expert_tables(
    session: Session,
    tables: Mapping[str, DetailTable],
    requests: Sequence[TwinRequest],
    errors: ExpertErrors,
    *,
    hidden_bytes: int,
) -> dict[str, DetailTable]:
    """By twin, its table with both columns. `requests`: all twins that are measured; calibration
    tokens are those of the documents that one of them was calibrated on, sent where the reference
    sends them, and absent where none was."""
    asking = [r.compression for r in requests if calibrated(r.compression) is not None]
    met: dict[int, np.ndarray] = {}
    if asking and tables:
        corpus = session.calibration_documents(asking[0])
        plan = make_plan(corpus, "all", 0, session.batch_tokens, device=session.layout.device)
        depths = [n for n, block in enumerate(session.layout.block_layouts) if block.routing]
        models = {REFERENCE: Reference(session.layout)}
        sites = [f"{ROUTER}.{n}" for n in depths]
        for step in read(session.layout, models, sites, plan.batches, hidden_bytes=hidden_bytes):
            for packed in step.activations[REFERENCE].values():
                one = Routing.of(packed.flatten(0, 1)[step.index])
                counts = torch.bincount(one.chosen.flatten(), minlength=one.scores.shape[-1])
                met[step.depth] = met.get(step.depth, 0) + counts.cpu().numpy()
    return {text: _with_both(table, text, errors, met) for text, table in tables.items()}


def _with_both(
    table: DetailTable, text: str, errors: ExpertErrors, met: Mapping[int, np.ndarray]
) -> DetailTable:
    places = list(zip(table.columns["block"], table.columns["expert"], strict=True))
    return replace(
        table,
        columns={
            **table.columns,
            "tokens_calibration": [int(met[b][e]) if b in met else None for b, e in places],
            "weight_error": np.array(
                [errors[text, b][e] if (text, b) in errors else np.nan for b, e in places]
            ),
        },
    )
