"""Is the measurement itself to be trusted? What a run checks about itself."""

import statistics
import time
from collections.abc import Sequence

import torch

from bitlens.compression import coverage
from bitlens.compression.requests import TwinRequest
from bitlens.data.corpus import Corpus
from bitlens.models.compute import computing
from bitlens.models.layout import Layout
from bitlens.results.counts import agreeing, count
from bitlens.results.records import FEWEST, TEXT, Check

_LOGITS_BYTES = 64 << 20
"""Of the window on which the sweep is held against the model's own forward: both have it."""

NARROW = (
    "; in simulation a 95 % interval of a mean KL covered 86 % at 20 documents, 91 % at 100 and "
    "93 % at 200: with few documents, read intervals as somewhat too narrow"
)
"""Figures of benchmarks/coverage.md."""


ENOUGH = 200
"""Documents with which an interval covers about what it says."""


_COPIES = "is a copy of one of these", "are each a copy of one of these"


def about_layout() -> Check:
    return Check(
        "the residual stream adds up",
        True,
        "in every kind of block, output = input + attention + MLP, and only attention looks "
        "at other positions (checked on load)",
    )


def about_tokens(corpus: Corpus, attention: str) -> Check:
    return Check(
        "identical tokens",
        True,
        f"all models read the same token ids (sha256 {corpus.token_hash[:12]}), with the same "
        f"{attention} attention",
    )


def about_documents(documents: int, copies: int) -> Check:
    return Check(
        "enough documents",
        True if documents >= ENOUGH else None if documents >= FEWEST else False,
        f"{count(documents, 'document')}; documents are the sampling units"
        + (f"; {copies:,} more {agreeing(copies, *_COPIES)}, and counted with it" if copies else "")
        + ("" if documents >= ENOUGH else NARROW),
        bears_on=TEXT,
    )


def about_change(
    side: TwinRequest, rows: Sequence[coverage.Row], allowed: bool, compute: torch.dtype
) -> Check:
    """Does the twin differ from its reference, which computes in `compute`? An error where it does
    not and should."""
    total = coverage.total(rows)
    own = side.compression.compute_dtype
    if own is not None and own != compute:
        names = [str(dtype).removeprefix("torch.") for dtype in (own, compute)]
        return Check(
            f"{side.text}: what differs",
            True,
            f"it computes in {names[0]}, the reference in {names[1]}; {total.changed:.1%} of all "
            "parameters changed",
            twins=(side.text,),
        )
    coverage.require_change(rows, allowed)
    if side.compression.name == "nothing":
        equal = total.changed == 0
        name = f"{side.text}: weights are equal"
        return Check(name, equal, "as they should be", twins=(side.text,))
    errors = [r.relative_error for r in rows if r.compressed and r.relative_error is not None]
    if errors and statistics.median(errors) >= 1:
        return Check(
            f"{side.text}: weights differ",
            False,
            f"by as much as weights that have nothing to do with each other: median error "
            f"{statistics.median(errors):.0%} of their size; is this a twin of that reference?",
            twins=(side.text,),
        )
    return Check(
        f"{side.text}: weights differ",
        total.changed > 0 or (None if side.control else False),
        f"{total.changed:.1%} of all parameters changed; "
        f"{sum(r.compressed for r in rows)} of {count(len(rows), 'module')} compressed",
        twins=(side.text,),
    )


@torch.no_grad()
def check_forward(layout: Layout, corpus: Corpus) -> tuple[Check, float]:
    """The first window, as far as its logits fit, through the model's own forward and through the
    blocks one by one, and the seconds that the latter took for a token."""
    device = layout.device
    most = min(512, max(16, _LOGITS_BYTES // (4 * layout.vocabulary)))
    tokens = torch.from_numpy(corpus.rows[0][:most]).long().to(device)[None]
    with computing(layout.model, layout.blocks, layout.dtype, layout.compute):
        expected = layout.model(input_ids=tokens, use_cache=False).logits[0]
    started = time.perf_counter()
    found = layout.forward(tokens)
    seconds = time.perf_counter() - started
    equal = torch.equal(found, expected)
    largest = float(found.sub_(expected).abs_().max())
    check = Check(
        "the sweep equals the model's forward",
        equal or largest <= 16 * torch.finfo(expected.dtype).eps * float(expected.abs().max()),
        "bit for bit" if equal else f"largest difference of a logit {largest:.2g}",
    )
    return check, seconds / tokens.numel()
