"""Checks of the measurement itself: what a run says about whether it is to be trusted."""

import statistics
import time
from collections.abc import Sequence

import torch

from bitlens.compression import coverage
from bitlens.compression.numerics.cache_rounding import CacheRounding
from bitlens.compression.requests import TwinRequest
from bitlens.data.corpus import Corpus
from bitlens.models.attending import key_heads
from bitlens.models.compute import computing
from bitlens.models.layout import Layout
from bitlens.results.counts import agreeing, count
from bitlens.results.records import FEWEST, TEXT, Check
from bitlens.workflows.session import Session

_LOGITS_BYTES = 32 << 20
"""Bytes of the logits on which the sweep is held against the model's own forward: both have
them."""

NARROW = (
    "; in simulation a 95 % interval of a mean KL covered 86 % at 20 documents, 91 % at 100 and "
    "93 % at 200: with few documents, read intervals as somewhat too narrow"
)
"""Figures of benchmarks/coverage.md."""


ENOUGH = 200
"""Documents with which an interval covers about what it says."""


_COPIES = "is a copy of one of these", "are each a copy of one of these"


def check_measurement(session: Session) -> tuple[list[Check], float | None]:
    """Does the sweep compute what the model's own forward computes, and what does it read? And the
    seconds that a token takes; None where the weights lie on disk, where it is not tried."""
    layout, corpus = session.layout, session.corpus
    seconds = None
    if any(parameter.is_meta for parameter in layout.model.parameters()):
        forward = Check("the sweep equals the model's forward", None, "not tried from disk")
    else:
        forward, seconds = check_forward(layout, corpus)
    tokens = about_tokens(corpus, session.loaded.model.config._attn_implementation)
    return [forward, tokens, about_documents(corpus.n_units, corpus.copies)], seconds


def about_layout() -> Check:
    """What was checked when the model was loaded."""
    return Check(
        "the residual stream adds up",
        passed=True,
        detail="in every kind of block, output = input + attention + MLP, and only attention looks "
        "at other positions (checked on load)",
    )


def about_tokens(corpus: Corpus, attention: str) -> Check:
    """What all models read, and by which attention."""
    return Check(
        "identical tokens",
        passed=True,
        detail=f"all models read the same token ids (sha256 {corpus.token_hash[:12]}), with the "
        f"same {attention} attention",
    )


def about_documents(documents: int, copies: int) -> Check:
    """Are there enough documents for intervals to cover what they say?"""
    return Check(
        "enough documents",
        True if documents >= ENOUGH else None if documents >= FEWEST else False,
        f"{count(documents, 'document')}; documents are the sampling units"
        + (f"; {copies:,} more {agreeing(copies, *_COPIES)}, and counted with it" if copies else "")
        + ("" if documents >= ENOUGH else NARROW),
        bears_on=TEXT,
    )


def about_change(
    request: TwinRequest, rows: Sequence[coverage.Row], *, allowed: bool, compute: torch.dtype
) -> Check:
    """Does the twin differ from its reference, which computes in `compute`? BitlensError where it
    does not and should, unless that is `allowed`. `rows`: of its coverage table."""
    total = coverage.total(rows)
    own = request.compression.compute_dtype
    if own is not None and own != compute:
        names = [str(dtype).removeprefix("torch.") for dtype in (own, compute)]
        return Check(
            f"{request.text}: what differs",
            passed=True,
            detail=f"it computes in {names[0]}, the reference in {names[1]}; "
            f"{total.changed:.1%} of all parameters changed",
            twins=(request.text,),
        )
    coverage.require_change(rows, allowed)
    if request.compression.name == "nothing":
        equal = total.changed == 0
        name = f"{request.text}: weights are equal"
        return Check(name, equal, "as they should be", twins=(request.text,))
    errors = [r.relative_error for r in rows if r.compressed and r.relative_error is not None]
    if errors and statistics.median(errors) >= 1:
        return Check(
            f"{request.text}: weights differ",
            passed=False,
            detail=f"by as much as weights that have nothing to do with each other: median error "
            f"{statistics.median(errors):.0%} of their size; is this a twin of that reference?",
            twins=(request.text,),
        )
    return Check(
        f"{request.text}: weights differ",
        total.changed > 0 or (None if request.control else False),
        f"{total.changed:.1%} of all parameters changed; "
        f"{sum(r.compressed for r in rows)} of {count(len(rows), 'module')} compressed",
        twins=(request.text,),
    )


def about_cache(text: str, cache: CacheRounding, layout: Layout) -> Check:
    """What a token's keys and values take, rounded, and in the dtype of the weights."""
    bits = cache.number_bits
    return Check(
        f"{text}: keys and values are rounded",
        passed=True,
        detail=f"{bits[0]:.2f} bits a number of the keys, {bits[1]:.2f} of the values, scales"
        f" included: {token_bytes(layout, cache):,.0f} bytes a token instead of"
        f" {token_bytes(layout):,.0f} in {str(layout.dtype).removeprefix('torch.')}",
        twins=(text,),
    )


def token_bytes(layout: Layout, cache: CacheRounding | None = None) -> float:
    """What the keys and values of one token take in all blocks, rounded so; None: kept in the dtype
    of the weights."""
    heads, size = key_heads(layout.config)
    whole = 8.0 * layout.dtype.itemsize
    bits = (whole, whole) if cache is None else cache.number_bits
    return sum(bits) * heads * size * layout.depth / 8


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
