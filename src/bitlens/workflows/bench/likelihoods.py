"""Log-probabilities of continuations by a model and all its twins, in one pass through depth a
wave, at the end and, through the logit lens, after every block."""

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitlens.data.corpus import Corpus
from bitlens.engine.plan import CORPUS, TokenBatch, make_plan
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE, ForwardRun, SiteRequest
from bitlens.engine.sweep import Sweep, logits_chunk
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.engine.wave_size import Pace, block_tokens, next_wave
from bitlens.errors import DataError, ModelError, failed
from bitlens.models.sites import site
from bitlens.progress import ProgressBar
from bitlens.workflows.bench.kept_waves import Said, keep, recalled
from bitlens.workflows.bench.replay import Answer, LikelihoodRequest
from bitlens.workflows.session import Session

FEWER = 3
"""By how much the batches of a model are smaller that is to show what batches do."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedRequests:
    """Requests as rows of tokens: those with the same input share one, and each place of a row
    that predicts something is read once."""

    requests: Sequence[LikelihoodRequest]
    rows: Sequence[np.ndarray]
    slot_row: np.ndarray
    """`[slots]`: the row of each place that is read, ascending."""
    slot_position: np.ndarray
    """`[slots]`: and where in it, ascending within a row."""
    slot: np.ndarray
    """`[tokens of continuations]`: the place that predicts each."""
    token: np.ndarray
    """`[tokens of continuations]`."""
    request: np.ndarray
    """`[tokens of continuations]`: whose they are."""


def pack(requests: Sequence[LikelihoodRequest], most: int) -> PackedRequests:
    """Requests in tokens as rows of at most `most`: of longer ones the first tokens are left out,
    as the harness does. DataError for a continuation that alone is longer, or empty."""
    rows: dict[tuple[int, ...], int] = {}
    places: list[tuple[int, int, int, int]] = []
    for number, (context, continuation) in enumerate(requests):
        if not 0 < len(continuation) <= most:
            raise DataError(
                f"A continuation has {len(continuation)} tokens.",
                f"1 to {most}, which the model reads at once.",
                "another benchmark, or a model with a longer context.",
            )
        row = (context + continuation)[-(most + 1) :][:-1]
        of = rows.setdefault(row, len(rows))
        first = len(row) - len(continuation)
        places += [(of, first + n, token, number) for n, token in enumerate(continuation)]
    row_of, position, token, request = np.array(places, dtype=np.int64).T
    slots, slot = np.unique(np.stack([row_of, position]), axis=1, return_inverse=True)
    return PackedRequests(
        requests=requests,
        rows=[np.array(row, dtype=np.int32) for row in rows],
        slot_row=slots[0],
        slot_position=slots[1],
        slot=slot.reshape(-1),
        token=token,
        request=request,
    )


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """What one model says of every request."""

    at: np.ndarray
    """`[requests, blocks]`: log-probability in nats through the lens after each block; the last is
    the model's own, and finite. Before it, what is not finite is no number."""
    first: np.ndarray
    """`[requests]`: whether every token of the continuation comes first."""

    def answers(self, requests: Sequence[LikelihoodRequest]) -> dict[LikelihoodRequest, Answer]:
        """As the harness takes them."""
        last = self.at[:, -1].tolist()
        return dict(zip(requests, zip(last, self.first.tolist(), strict=True), strict=True))


def measure(
    session: Session,
    twins: Mapping[str, SweptModel],
    packed: PackedRequests,
    broken: dict[str, str],
    folder: Path,
    elsewhere: Collection[str] = (),
) -> dict[str, Likelihoods]:
    """What the reference and each twin say, by name; twins whose numbers are not finite are put
    into `broken`, with why. `folder`: where each wave is kept, of these models and requests alone;
    what a stopped run left there is not computed again. `elsewhere`: twins that read fewer rows
    together than all others. BitlensError for weights that cannot be made, and for a reference that
    computes no numbers."""
    models = {REFERENCE: Reference(session.layout), **twins}
    together = {name: model for name, model in models.items() if name not in elsewhere}
    apart = {name: model for name, model in models.items() if name in elsewhere}
    found = _passed(session, together, packed, folder, session.batch_tokens)
    if apart:
        fewer = session.batch_tokens // FEWER
        found |= _passed(session, apart, packed, folder / "elsewhere", fewer)
    why = {name: _infinite(of.at) for name, of in found.items()}
    if why[REFERENCE] is not None:
        raise ModelError(
            f"{session.loaded.name} computes {why[REFERENCE]}.",
            "a model that computes finite numbers.",
            "--compute float32, or another --dtype.",
        )
    broken |= {name: reason for name, reason in why.items() if reason is not None}
    # A lens of an early block may give no number, and the model be sound: that stays none.
    return {name: of for name, of in found.items() if name not in broken}


def _passed(
    session: Session,
    models: Mapping[str, SweptModel],
    packed: PackedRequests,
    folder: Path,
    batch_tokens: int,
) -> dict[str, Likelihoods]:
    """What these models say, wave by wave; `batch_tokens`: so many run together."""
    said = Said.nothing(len(models), len(packed.requests), session.layout.depth)
    batches = _batches(session, packed, batch_tokens)
    of_these = _told(list(models), batches)
    known = recalled(folder, said, len(batches), of_these)
    if known:
        session.log(f"{len(known):,} of {len(batches):,} batches were swept before.")
    left = [_Batch.of(batch, packed) for batch in batches if batch.number not in known]
    tokens = sum(batch.tokens.numel() for batch in batches)
    pace = Pace(tokens, None)
    with ProgressBar("benchmarks", "tokens", tokens) as bar:
        bar.add(tokens - sum(of.batch.tokens.numel() for of in left))
        while left:
            room = next_wave([of.batch for of in left], lambda _: 0, room=0, tokens=pace.most)
            wave, left = left[: len(room)], left[len(room) :]
            begun = time.monotonic()
            _sweep(session, models, wave, said, bar)
            pace.took(sum(of.batch.tokens.numel() for of in wave), time.monotonic() - begun)
            requests = np.unique(np.concatenate([of.wanted.request for of in wave]))
            keep(folder, said, [of.batch.number for of in wave], requests, of_these)
    return {name: Likelihoods(said.at[n], said.first[n]) for n, name in enumerate(models)}


def said_of_runs(
    session: Session,
    twins: Mapping[str, SweptModel],
    runs: Sequence[ForwardRun],
    packed: PackedRequests,
) -> np.ndarray:
    """`[requests, runs]`: the log-probability in nats that each of these runs, which may leave
    others on their way, says of every request at its end. `twins`: the models whose blocks they
    take besides the reference's. BitlensError for weights that cannot be made."""
    layout = session.layout
    batches = _batches(session, packed, session.batch_tokens)
    of = {batch.number: _Batch.of(batch, packed) for batch in batches}
    sweep = Sweep(
        layout=layout,
        models={REFERENCE: Reference(layout), **twins},
        runs=runs,
        requests=[SiteRequest(run.name, frozenset({"logits"}), CORPUS) for run in runs],
        batches=[one.batch for one in of.values()],
        hidden_bytes=session.memory // 4,
    )
    said = np.zeros((len(packed.requests), len(runs)))
    number = {run.name: n for n, run in enumerate(runs)}
    passed = block_tokens(sweep.batches, runs, layout.depth)
    with ProgressBar("benchmarks", "tokens through a block", passed) as bar:
        for wave in sweep.waves:
            for step in sweep.run(wave, bar.add):
                if step.depth < layout.depth:
                    continue
                wanted = of[step.batch.number].at(step.index)
                for name, activations in step.activations.items():
                    _add(activations["logits"], wanted, said[:, number[name]], None)
    for name, reason in sweep.failed.items():
        raise failed(name, reason)
    return said


def _sweep(
    session: Session,
    models: Mapping[str, SweptModel],
    wave: Sequence["_Batch"],
    said: Said,
    bar: ProgressBar,
) -> None:
    """All models on some batches, in one pass through depth."""
    layout, depth = session.layout, session.layout.depth
    number = {name: n for n, name in enumerate(models)}
    by_number = {of.batch.number: of for of in wave}
    sites = [*(f"resid.{block}" for block in range(depth - 1)), "logits"]
    lens = _Lens(models, said, logits_chunk(layout.vocabulary, layout.config))
    for step in read(
        layout,
        models,
        sites,
        [of.batch for of in wave],
        hidden_bytes=session.memory // 4,
        # All models together pass a token on through so many blocks.
        progress=lambda passed: bar.add(passed / (len(models) * depth)),
    ):
        of = by_number[step.batch.number]
        for name, activations in step.activations.items():
            if name not in step.again:
                for place in {*activations} & {*sites}:
                    wanted = of.at(step.index)
                    if place == "logits":
                        at, first = said.at[number[name], :, -1], said.first[number[name]]
                        _add(activations[place], wanted, at, first)
                    else:
                        states = activations[place].flatten(0, 1)[step.index]
                        lens.take(number[name], site(place).depth, states, wanted)
        del step
    lens.read()


@dataclass(frozen=True, eq=False)
class _Wanted:
    """Which of some places predict which tokens of which requests."""

    place: np.ndarray
    """`[tokens of continuations]`: ascending."""
    token: Tensor
    request: np.ndarray

    def within(self, low: int, high: int) -> "_Wanted":
        """Of the places from one number to before another, counted from there."""
        some = slice(*np.searchsorted(self.place, [low, high]))
        return _Wanted(self.place[some] - low, self.token[some], self.request[some])


class _Lens:
    """States that blocks hand out, of all batches at one block, on their way through the model's
    own norm and unembedding. They are held until there are as many as go through at once: the
    unembedding of a large vocabulary takes as long for four as for forty."""

    def __init__(self, models: Mapping[str, SweptModel], said: Said, most: int) -> None:
        self._models, self._said, self._most = list(models.values()), said, most
        self._block = 0
        self._held: dict[int, list[tuple[Tensor, _Wanted]]] = {}

    def take(self, model: int, block: int, states: Tensor, wanted: _Wanted) -> None:
        """States `[n, width]` of a model after a block."""
        if block != self._block:
            self.read()
            self._block = block
        held = self._held.setdefault(model, [])
        held.append((states, wanted))
        if sum(len(states) for states, _ in held) >= self._most:
            self._read(model)

    def read(self) -> None:
        """Whatever is held."""
        for model in list(self._held):
            self._read(model)

    def _read(self, model: int) -> None:
        parts = self._held.pop(model)
        begins = np.cumsum([0, *(len(states) for states, _ in parts)])
        states = torch.cat([states for states, _ in parts])
        wanted = _Wanted(
            np.concatenate([w.place + begin for (_, w), begin in zip(parts, begins, strict=False)]),
            torch.cat([w.token for _, w in parts]),
            np.concatenate([w.request for _, w in parts]),
        )
        at = self._said.at[model, :, self._block]
        for begin in range(0, len(states), self._most):
            end = begin + self._most
            logits = self._models[model].leave(states[begin:end]).float()
            _add(logits, wanted.within(begin, end), at, None)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Batch:
    """A batch, and what its places predict."""

    batch: TokenBatch
    """Its counted positions are the places that are read, ascending."""
    index: np.ndarray
    """`[places]`: the same, here."""
    wanted: _Wanted

    def at(self, index: Tensor) -> _Wanted:
        """What these places, some in a row of all, predict."""
        begin = int(np.searchsorted(self.index, int(index[0])))
        return self.wanted.within(begin, begin + len(index))

    @classmethod
    def of(cls, batch: TokenBatch, packed: PackedRequests) -> "_Batch":
        width = batch.tokens.shape[1]
        row = batch.document.view(-1, width)[:, 0].cpu().numpy()
        line = np.full(len(packed.rows), -1)
        line[row] = np.arange(len(row))
        slots = np.flatnonzero(line[packed.slot_row] >= 0)
        index = line[packed.slot_row[slots]] * width + packed.slot_position[slots]
        order = np.argsort(index)
        where = np.full(len(packed.slot_row), -1)
        where[slots[order]] = np.arange(len(order))
        tokens = np.flatnonzero(where[packed.slot] >= 0)
        tokens = tokens[np.argsort(where[packed.slot[tokens]], kind="stable")]
        device = batch.tokens.device
        places = torch.from_numpy(index[order]).to(device)
        return cls(
            batch=replace(batch, index=places, logits_index=places),
            index=index[order],
            wanted=_Wanted(
                where[packed.slot[tokens]],
                torch.from_numpy(packed.token[tokens]).to(device),
                packed.request[tokens],
            ),
        )


def _add(logits: Tensor, wanted: _Wanted, at: np.ndarray, first: np.ndarray | None) -> None:
    """Add what logits at some places say to `at`, `[requests]`; `first`: which requests are first
    so far."""
    line = torch.from_numpy(wanted.place).to(logits.device)
    # As the harness has it: less exact by itself, and the same in its last digits.
    said = logits.log_softmax(dim=-1)[line, wanted.token].double().cpu().numpy()
    np.add.at(at, wanted.request, said)
    if first is not None:
        tops = logits.argmax(dim=-1)[line] == wanted.token
        np.logical_and.at(first, wanted.request, tops.cpu().numpy())


def _batches(session: Session, packed: PackedRequests, batch_tokens: int) -> list[TokenBatch]:
    """The rows in batches; in each the document is the number of the row."""
    n = len(packed.rows)
    corpus = Corpus(
        name="benchmarks",
        rows=tuple(packed.rows),
        document=np.arange(n),
        starts=np.zeros(n, dtype=np.int64),
        document_names=tuple(map(str, range(n))),
        context=max(map(len, packed.rows)),
        bos=False,
        bos_id=None,
    )
    plan = make_plan(corpus, "all", 0, batch_tokens, device=session.layout.device)
    return list(plan.batches)


def _told(models: Sequence[str], batches: Sequence[TokenBatch]) -> str:
    """Of the models, in their order, and of which rows are in which batch, with their tokens."""
    digest = hashlib.sha256(repr(models).encode())
    for batch in batches:
        digest.update(repr((batch.number, tuple(batch.tokens.shape))).encode())
        for part in (batch.tokens, batch.document):
            digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()


def _infinite(values: np.ndarray) -> str | None:
    """Of how many requests there is no finite log-probability; None where there is of all."""
    wrong = int((~np.isfinite(values[:, -1])).sum())
    return f"no finite log-probability of {wrong:,} of {len(values):,} requests" if wrong else None
