"""The compute floor: what a dtype adds to a difference by itself.

Where somebody computes in other than float32, it is the reference beside itself in another dtype,
on the seeded subset of the documents. Weights that are stored in more than they are computed in
are rounded with it.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.requests import TwinRequest
from bitlens.results.counts import count
from bitlens.results.records import TEXT, Check, Value


def floors(
    wanted: Sequence[TwinRequest], own: Mapping[str, torch.dtype], compute: torch.dtype
) -> list[TwinRequest]:
    """The reference in float32, where it is computed in less, and in what a twin computes in.

    `own`: the twins that compute in a dtype of their own, by their text; `compute`: the
    reference's. Casts are left out: to compute otherwise is what they do.
    """
    casts = {request.text for request in wanted if request.compression.compute_dtype is not None}
    dtypes = {dtype for text, dtype in own.items() if text not in casts} - {compute}
    if compute.itemsize < torch.float32.itemsize:
        dtypes.add(torch.float32)
    names = sorted(map(_name, dtypes))
    found = (parse_spec(f"cast:dtype={name}") for name in names)
    return [
        TwinRequest(text=format_spec(c), compression=c, control=True, floor=True)
        for c in found
        if format_spec(c) not in casts
    ]


def announced(floors: Sequence[TwinRequest], model: str, compute: torch.dtype) -> Iterator[str]:
    """What is said before anything runs."""
    measured = "what that changes by itself is measured as the compute floor"
    if compute != torch.float32:
        yield f"Its twins compute in {_name(compute)} too: {measured}."
    for request in floors:
        own = request.compression.compute_dtype
        if own not in (None, torch.float32):
            yield f"Some twins compute in {_name(own)}, {model} in {_name(compute)}: {measured}."


def about_floor(
    request: TwinRequest, stored: torch.dtype, compute: torch.dtype, values: Sequence[Value]
) -> Check:
    """What computing in another dtype does to the outputs by itself; `stored`: the weights'."""
    other = request.compression.compute_dtype
    name = f"the compute floor: {_name(compute)} beside {_name(other)}"
    found = {value.metric: value for value in values}
    if not found:
        told = "not measured: behaviour is not among the analyses"
        return Check(name, None, told, bears_on=TEXT)
    kl, top = found["kl"], found["same_top"]
    if kl.value is None or top.value is None:
        return Check(name, None, f"not known: {kl.reason or top.reason}", bears_on=TEXT)
    both = ", or, as both models round, than twice that" if compute != torch.float32 else ""
    rounded = any(dtype not in (torch.float32, stored) for dtype in (other, compute))
    weights = ", its weights rounded too" if rounded else ""
    return Check(
        name,
        passed=True,
        detail=f"on {count(kl.documents, 'document')} the reference is {kl.value:.2g} nats of mean "
        f"KL away from itself{weights}, with {top.value:.2%} same top tokens; nothing smaller than "
        f"that{both} is a compression's doing",
        bears_on=TEXT,
    )


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
