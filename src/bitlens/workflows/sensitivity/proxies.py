"""Proxy scores: how much a unit matters, told without running a compressed model.

These are what other tools rank layers by; here they stand beside the measured effects, on the same
documents. One forward and one backward pass of the reference, block by block, on the first few
thousand positions of the corpus.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bitlens.compression.twin import CompressedTwin
from bitlens.engine.plan import CORPUS, Plan, TokenBatch
from bitlens.engine.sweep import logits_chunk
from bitlens.models.block_examination import first_tensor
from bitlens.models.block_layout import MatrixPlace
from bitlens.models.layout import BlockWeights, Layout
from bitlens.models.shell import Entry
from bitlens.progress import ProgressBar
from bitlens.results.sensitivity.proxies import GRADIENT, OUTPUT, TRACE
from bitlens.results.sensitivity.records import SQNR, ProxyScore, Unit

POSITIONS = 4096
"""Positions of the corpus whose gradients are taken, about."""
_Sums = dict[tuple[str, str, str], float]
"""Sums by proxy, compression and matrix."""


def proxy_scores(
    layout: Layout, twins: Mapping[str, CompressedTwin], units: Sequence[Unit], plan: Plan
) -> list[ProxyScore]:
    """Every proxy of every unit inside the blocks. A unit with fused experts has no score by
    gradients: their products are no module's."""
    batches = list(_first([b for b in plan.batches if b.documents == CORPUS]))
    scores: _Sums = {}
    errors: dict[tuple[str, str], tuple[float, float]] = {}
    """By compression and matrix: squared error, squared length."""
    with ProgressBar("proxies", "blocks", len(batches) * layout.depth) as bar:
        for batch in batches:
            for depth, weights, found in _backwards(layout, batch):
                for text, twin in twins.items():
                    changes = dict(_changes(layout, depth, weights, twin))
                    for place, (change, size) in changes.items():
                        name = f"{layout.block_name(depth)}.{place.name}"
                        errors[text, name] = (float(change.double().square().sum()), size)
                        if place.key in found:
                            _score(scores, text, name, change, found[place.key])
                bar.add(1)
    return list(_by_unit(twins, units, scores, errors))


@dataclass(frozen=True, eq=False)
class _Product:
    """A matrix' inputs `[rows, positions, in]` and the loss' gradient at its outputs
    `[rows, positions, out]`."""

    inputs: Tensor
    gradient: Tensor


def _first(batches: Sequence[TokenBatch]) -> Iterator[TokenBatch]:
    left = POSITIONS
    for batch in batches:
        if left > 0 and len(batch.logits_index):
            left -= len(batch.logits_index)
            yield batch


def _backwards(
    layout: Layout, batch: TokenBatch
) -> Iterator[tuple[int, BlockWeights, dict[str, _Product]]]:
    """Block by block from the last: its weights, and every product of it by its place's key. The
    loss is the mean next-token cross-entropy of the batch; each block runs again for its
    gradients, so that one block's activations are held at a time."""
    with torch.no_grad():
        entry = layout.shell.enter(batch.tokens, batch.mask)
        states = [entry.hidden]
        for depth in range(layout.depth):
            states.append(_through(layout, depth, layout.block(depth), entry, states[-1]))
    gradient = _at_the_end(layout, batch, states.pop())
    layout.shell.release()
    for depth in reversed(range(layout.depth)):
        weights = layout.block(depth)
        given = states.pop().detach().requires_grad_()
        with torch.enable_grad(), _heard(layout, depth) as heard:
            output = _through(layout, depth, weights, entry, given)
            outputs = [y for _, y in heard.values()]
            gradient, *at = torch.autograd.grad(output, [given, *outputs], gradient)
        yield (
            depth,
            weights,
            {
                key: _Product(_rows(x.detach(), given), _rows(g, given))
                for (key, (x, _)), g in zip(heard.items(), at, strict=True)
            },
        )


def _through(
    layout: Layout, depth: int, weights: BlockWeights, entry: Entry, states: Tensor
) -> Tensor:
    call = entry.calls[depth]
    return first_tensor(
        functional_call(
            layout.callable_block(depth), weights.computed, (states, *call.args), call.kwargs
        )
    )


def _at_the_end(layout: Layout, batch: TokenBatch, states: Tensor) -> Tensor:
    """The gradient at the last block's output, a few positions at a time."""
    index = batch.logits_index
    read = states.detach().flatten(0, 1)
    whole = torch.zeros_like(read)
    chunk = logits_chunk(layout.vocabulary, layout.config)
    for begin in range(0, len(index), chunk):
        part = index[begin : begin + chunk]
        some = read[part].requires_grad_()
        with torch.enable_grad():
            logits = layout.shell.leave(some).float()
            loss = cross_entropy(logits, batch.target[part], reduction="sum") / len(index)
            whole[part] = torch.autograd.grad(loss, some)[0]
    return whole.view_as(states)


@contextmanager
def _heard(layout: Layout, depth: int) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """By place, what each module with a matrix was given and handed out."""
    code = layout.callable_block(depth)
    heard: dict[str, tuple[Tensor, Tensor]] = {}

    def listen(place: MatrixPlace) -> Callable[..., None]:
        def hook(_module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            heard[place.key] = (args[0], output)

        return hook

    with ExitStack() as stack:
        for group in layout.block_layouts[depth].groups:
            for place in group:
                if place.parameter == "weight":
                    module = code.get_submodule(place.module)
                    stack.callback(module.register_forward_hook(listen(place)).remove)
        yield heard


def _rows(value: Tensor, like: Tensor) -> Tensor:
    """`[rows, positions, ...]`, of families that flatten the two inside a block as well; experts
    see some of the tokens only, which then stand in one row."""
    if value.ndim == 3:
        return value.float()
    rows, positions = like.shape[:2]
    whole = value.shape[0] == rows * positions
    return value.float().unflatten(0, (rows, positions)) if whole else value.float()[None]


@torch.no_grad()
def _changes(
    layout: Layout, depth: int, weights: BlockWeights, twin: CompressedTwin
) -> Iterator[tuple[MatrixPlace, tuple[Tensor, float]]]:
    """Every matrix that a twin changes in a block: twin minus reference, `[out, in]` or
    `[expert, out, in]`, and the squared length of the reference's."""
    own = twin.block_weights(depth, weights)
    prefix = layout.block_name(depth)
    for group in layout.block_layouts[depth].groups:
        for place in group:
            if f"{prefix}.{place.name}" in twin.targets:
                before = place.effective(weights.stored[place.key]).float()
                change = place.effective(own[place.key]).float() - before
                yield place, (change, float(before.double().square().sum()))


@torch.no_grad()
def _score(scores: _Sums, text: str, name: str, change: Tensor, at: _Product) -> None:
    """Add one batch's share of the three scores that take gradients."""
    g, x = at.gradient, at.inputs
    moved = torch.einsum("rpi,oi->rpo", x, change)
    gradient = torch.einsum("rpo,rpi->oi", g, x)
    # A row's gradient is g^T x: its squared length needs the rows' own products alone.
    squares = ((g @ g.transpose(1, 2)) * (x @ x.transpose(1, 2))).sum()
    for proxy, amount in (
        (OUTPUT, (g.square() * moved.square()).sum()),
        (GRADIENT, (gradient * change).abs().sum()),
        (TRACE, squares * change.square().mean() / 2),
    ):
        key = (proxy, text, name)
        scores[key] = scores.get(key, 0.0) + float(amount)


def _by_unit(
    twins: Mapping[str, CompressedTwin],
    units: Sequence[Unit],
    scores: _Sums,
    errors: Mapping[tuple[str, str], tuple[float, float]],
) -> Iterator[ProxyScore]:
    """Sums over each unit's matrices; of SQNR, errors and lengths apart."""
    for text in twins:
        for unit in units:
            of = [errors[text, name] for name in unit.matrices if (text, name) in errors]
            if not of:
                continue
            error, size = (sum(column) for column in zip(*of, strict=True))
            if error and size:
                value = float(10 * torch.log10(torch.tensor(error / size, dtype=torch.float64)))
                yield ProxyScore(proxy=SQNR, compression=text, unit=unit.name, value=value)
            for proxy in (OUTPUT, GRADIENT, TRACE):
                found = [scores.get((proxy, text, name)) for name in unit.matrices]
                if all(one is not None for one in found):
                    total = sum(one for one in found if one is not None)
                    yield ProxyScore(proxy=proxy, compression=text, unit=unit.name, value=total)
