"""What a model, its twins and controls write when they are asked: whole models, one after another,
in the same batches, resumed where a run was stopped.

Text cannot go through depth together: every token needs the whole model before the next one.
"""

import copy
import gc
import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from pydantic import TypeAdapter, ValidationError
from transformers import PreTrainedModel

from bitlens.compression.twin import Twin
from bitlens.errors import BitlensError, CapacityError, InputError, in_one_line
from bitlens.models.generation import Generated, Writing, context_ids, generate
from bitlens.models.load import free_memory
from bitlens.progress import ProgressBar
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.reading import read_bytes
from bitlens.results.files.writing import write
from bitlens.results.records import REFERENCE
from bitlens.workflows.session import Session

ROWS = 8
"""Samples that are written together. A number of its own, and not what memory allows: which rows
run together decides about rounding, and would differ from machine to machine."""
FEWER_ROWS = 3
"""Where it is to be seen what batches do by themselves."""
BUDGET = 256
"""Tokens at most where a task does not say, as in the harness."""
_BUDGETS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_BATCH = TypeAdapter(list[Generated])


class GenerationRequest(NamedTuple):
    """A text that is to be gone on with."""

    context: str
    settings: str
    """The harness' settings of generation, as JSON."""

    @classmethod
    def of(cls, context: str, settings: Mapping[str, Any]) -> Self:
        """As the harness hands them over."""
        return cls(context, json.dumps(settings, sort_keys=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class Written:
    """What all models wrote."""

    texts: Mapping[str, Mapping[GenerationRequest, Generated]]
    """By model, the reference among them, what it wrote for each request."""
    failed: Mapping[str, str]
    """Twins that cannot write, and why."""
    notes: Sequence[str]
    """What the reader of a result should know."""


@dataclass(frozen=True, kw_only=True)
class WrittenTogether:
    """A batch: requests with the same settings, the longest first."""

    requests: tuple[GenerationRequest, ...]
    contexts: tuple[tuple[int, ...], ...]
    """In tokens, without what the model has no room for."""
    writing: Writing

    @property
    def decides(self) -> list[Any]:
        """What decides about what is written, but for the model."""
        config = self.writing.config.to_json_string(use_diff=True)
        return [self.contexts, self.writing.until, self.writing.most, config]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Model:
    """A model that writes."""

    name: str
    twin: Twin | None
    """None: the reference."""
    known: str
    """What decides about it."""
    batches: Sequence[WrittenTogether]


class Writer:
    """A session's models, and what they are asked to write."""

    def __init__(
        self, session: Session, requests: Sequence[GenerationRequest], longest: int
    ) -> None:
        self.session = session
        self.notes: list[str] = []
        asked = list(dict.fromkeys(requests))
        self.batches = list(self._batches(asked, longest, ROWS))
        self._smaller = list(self._batches(asked, longest, FEWER_ROWS))
        self.notes = list(dict.fromkeys(self.notes))

    def write(
        self,
        twins: Mapping[str, Twin],
        identity: Mapping[str, Any],
        folder: Path,
        elsewhere: Collection[str] = (),
    ) -> Written:
        """What the reference and each twin write. `identity`: what decides about a twin and does
        not stand in its name; `folder`: where batches are kept until all are there; `elsewhere`:
        twins that write fewer texts together than all others. CapacityError where there is no room
        for a whole twin beside its reference."""
        self._require_room()
        texts: dict[str, dict[GenerationRequest, Generated]] = {}
        failed: dict[str, str] = {}
        total = sum(len(batch.requests) for batch in self.batches)
        with ProgressBar("generations", "samples", total * (1 + len(twins))) as bar:
            for name in (REFERENCE, *twins):
                twin = twins.get(name)
                known = self._identity(name, identity.get(name, {}))
                try:
                    batches = self._smaller if name in elsewhere else self.batches
                    model = _Model(name=name, twin=twin, known=known, batches=batches)
                    texts[name] = self._of_model(model, folder, bar)
                except BitlensError as error:
                    if twin is None or isinstance(error, CapacityError):
                        raise
                    failed[name] = str(error)
                    bar.add(total)
                    self.session.log(f"{name} writes nothing: {error.found}")
        return Written(texts=texts, failed=failed, notes=self.notes)

    def _of_model(
        self, of: "_Model", folder: Path, bar: ProgressBar
    ) -> dict[GenerationRequest, Generated]:
        """What one model writes; it is made only where a batch is missing."""
        found: dict[GenerationRequest, Generated] = {}
        model: PreTrainedModel | None = None
        fresh, begun = 0, 0.0
        for batch in of.batches:
            key = hashlib.sha256(json.dumps([of.known, batch.decides]).encode()).hexdigest()
            path = inside(folder, f"{key}.json")
            own = _kept(path, len(batch.requests))
            if own is None:
                if model is None:
                    model = self._whole(of.twin)
                    begun = time.monotonic()
                tokenizer = self.session.loaded.tokenizer
                own = generate(model, tokenizer, batch.contexts, batch.writing)
                write(path, _BATCH.dump_json(own))
                fresh += len(own)
                bar.at(f"{in_one_line(of.name)}, {_rate(fresh, begun):.2g} samples a second")
            found.update(zip(batch.requests, own, strict=True))
            bar.add(len(own))
        speed = f", {_rate(fresh, begun):.2g} a second" if fresh else ""
        there = len(found) - fresh
        kept = f", {there:,} of them before" if there else ""
        self.session.log(f"{of.name}: {count(len(found), 'sample')} written{kept}{speed}.")
        del model
        gc.collect()
        return found

    def _whole(self, twin: Twin | None) -> PreTrainedModel:
        """The model with all of its weights, in the dtype that a sweep computes it in."""
        layout = self.session.layout
        dtype = None if layout.compute == layout.dtype else layout.compute
        if twin is not None:
            return twin.model(dtype=dtype)
        model: PreTrainedModel = self.session.loaded.model
        if dtype is None:
            return model
        return _copy_in(model, dtype)

    def _identity(self, name: str, more: Any) -> str:
        """What decides about the model that writes."""
        session = self.session
        packages = {of: version(of) for of in ("bitlens", "torch", "transformers")}
        about = [session.loaded.fingerprint, name, more, session.seed, packages]
        return json.dumps([*about, str(session.layout.compute), session.layout.device.type])

    def _require_room(self) -> None:
        loaded, layout = self.session.loaded, self.session.layout
        wider = max(1.0, layout.compute.itemsize / layout.dtype.itemsize)
        wanted, free = wider * loaded.weight_bytes, free_memory(self.session.source)
        if loaded.offloaded or wanted > free:
            raise CapacityError(
                f"{loaded.name} is to write, and a whole twin beside it takes {wanted / 1e9:.1f} "
                f"GB, of which {free / 1e9:.1f} are free.",
                "room for the model and a copy of it: text is not written block by block.",
                "a machine with more memory, --compute bfloat16, or benchmarks that are answered "
                "by choosing.",
            )

    def _batches(
        self, requests: Sequence[GenerationRequest], longest: int, together: int
    ) -> Iterator[WrittenTogether]:
        """As the harness orders them: by settings, the longest first, so that the first batch
        tells what the rest will take; so many `together`."""
        tokenizer = self.session.loaded.tokenizer
        for settings in dict.fromkeys(request.settings for request in requests):
            writing = self._writing(json.loads(settings), longest)
            rows = [
                (context_ids(tokenizer, request.context, longest - writing.most), request)
                for request in requests
                if request.settings == settings
            ]
            rows.sort(key=lambda row: (-len(row[0]), row[1].context))
            for begin in range(0, len(rows), together):
                contexts, own = zip(*rows[begin : begin + together], strict=True)
                yield WrittenTogether(requests=own, contexts=contexts, writing=writing)

    def _writing(self, settings: Mapping[str, Any], longest: int) -> Writing:
        if settings.get("do_sample") or settings.get("temperature"):
            raise InputError(
                f"A task draws its text at random: {json.dumps(settings)}.",
                "a task that is answered greedily, or the difference would be the draw's.",
                "leave it out.",
            )
        until = settings.get("until") or []
        until = [until] if isinstance(until, str) else list(until)
        tokenizer = self.session.loaded.tokenizer
        if tokenizer.eos_token_id is not None:
            until.append(tokenizer.decode(tokenizer.eos_token_id))
        asked = next((int(settings[b]) for b in _BUDGETS if settings.get(b)), BUDGET)
        most = asked if asked < longest else max(1, longest // 2)
        if most < asked:
            self.notes.append(
                f"The model reads {longest:,} tokens at a time: the budget of an answer is "
                f"{most:,} tokens and not {asked:,}."
            )
        config = self.session.loaded.model.generation_config
        until = [stop for stop in dict.fromkeys(until) if stop]
        return Writing(until=tuple(until), most=most, config=config)


def _rate(samples: int, begun: float) -> float:
    """Samples a second since then; some clocks stand still for that long."""
    return samples / max(time.monotonic() - begun, 1e-3)


def _copy_in(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    own = copy.deepcopy(model)
    for weight in own.parameters():
        weight.data = weight.data.to(dtype)
    return own


def _kept(path: Path, rows: int) -> list[Generated] | None:
    """A batch that was written before; None where it is not there whole."""
    if not path.is_file():
        return None
    try:
        found = _BATCH.validate_json(read_bytes(path))
    except ValidationError:
        return None
    return found if len(found) == rows else None
