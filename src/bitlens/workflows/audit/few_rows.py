"""A second, small sweep: a few rows of tokens read by the reference and its twins, to be shown.

What the first sweep sums up has no texts in it; what a reader looks at is read again, on the few
rows that were chosen for it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bitlens.data.corpus import Corpus
from bitlens.engine.plan import make_plan
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE
from bitlens.engine.step import Step
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.workflows.session import Session


def read_rows(
    session: Session,
    twins: Mapping[str, SweptModel],
    rows: Sequence[np.ndarray],
    sites: Collection[str],
    hidden_bytes: int,
) -> Iterator[Step]:
    """Every step of reading these rows with the reference and the twins, no further than the
    deepest of the sites. In a step's batch the document is the number of the row; every position
    counts."""
    layout = session.layout
    plan = make_plan(
        _few(session.corpus, rows), "all", 0, session.batch_tokens, device=layout.device
    )
    models = {REFERENCE: Reference(layout), **twins}
    return read(layout, models, sites, plan.batches, hidden_bytes=hidden_bytes)


def _few(corpus: Corpus, rows: Sequence[np.ndarray]) -> Corpus:
    """The rows as a corpus, each a document by itself."""
    return replace(
        corpus,
        rows=tuple(rows),
        document=np.arange(len(rows)),
        starts=np.zeros(len(rows), dtype=np.int64),
        document_names=tuple(map(str, range(len(rows)))),
        groups=None,
    )
