"""Twins of one model, from requests to models that can be swept.

What each compression takes is tried on one matrix of every shape, what must be opened, found or
calibrated is, and nothing fails late."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from bitlens.compression import format_spec
from bitlens.compression.calibration.calibrator import Calibrator
from bitlens.compression.calibration.documents import (
    CalibrationTexts,
    calibrated,
    read_for_calibration,
)
from bitlens.compression.compression import Compression
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.methods.controls import Noise
from bitlens.compression.opened_checkpoints import OpenedCheckpoints
from bitlens.compression.requests import TwinRequest
from bitlens.compression.sparsity_search import SparsitySearch
from bitlens.compression.targets import chosen, try_cache, try_shapes
from bitlens.compression.twin import CompressedTwin, Twin
from bitlens.compression.weight_sources import Around, Source
from bitlens.data.corpus import Corpus
from bitlens.engine.wave_size import batch_tokens
from bitlens.errors import BitlensError, failed
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.results.records import Check

OnFailure = Literal["raise", "record"]


@dataclass(frozen=True, eq=False, kw_only=True)
class BuiltTwins:
    """Twins that can be swept, and what is to be told of those that were asked for."""

    twins: Mapping[str, Twin]
    """By text, all that can be made."""
    failed: Mapping[str, str]
    """By text, why the others cannot."""
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    """What the reader of a result should know of the calibration documents."""
    identity: Mapping[str, Mapping[str, str]]
    """By text, what decides about a twin and does not stand there: the calibration documents
    (`calibration`), the checkpoint's weights (`checkpoint`), the sparsity found (`matched`)."""
    calibration: Corpus | None = None
    """The documents that compressions were calibrated on; None where none asked for any."""

    def __or__(self, more: "BuiltTwins") -> "BuiltTwins":
        """The twins of both, what failed in either, and the provenance of all."""
        return BuiltTwins(
            twins={**self.twins, **more.twins},
            failed={**self.failed, **more.failed},
            checks=(*self.checks, *more.checks),
            notes=tuple(dict.fromkeys((*self.notes, *more.notes))),
            identity={**self.identity, **more.identity},
            calibration=more.calibration or self.calibration,
        )


@dataclass(eq=False, kw_only=True)
class TwinBuilder:
    """Builds the twins of one model and seed; what two of them need is opened, found and
    calibrated once."""

    loaded: Loaded
    layout: Layout
    trust_remote_code: bool
    texts: CalibrationTexts
    evaluation: Corpus | None
    """What calibration documents must be apart from; None where nothing is measured."""
    seed: int
    memory: int
    """Bytes; half of them for hidden states."""
    log: Callable[[str], None]
    on_failure: OnFailure = "raise"
    """Whether the first twin that cannot be made raises, or its reason is recorded."""
    _checks: list[Check] = field(default_factory=list, init=False)
    """Checks that were made since twins were last handed out."""
    _tried: set[str] = field(default_factory=set, init=False)
    _checkpoints: OpenedCheckpoints = field(init=False)
    _calibrator: Calibrator = field(init=False)
    _search: SparsitySearch = field(init=False)

    def __post_init__(self) -> None:
        together = batch_tokens(self.layout.device.type)
        self._checkpoints = OpenedCheckpoints(
            loaded=self.loaded,
            layout=self.layout,
            trust_remote_code=self.trust_remote_code,
            log=self.log,
            report=self._checks.append,
        )
        self._calibrator = Calibrator(
            loaded=self.loaded,
            layout=self.layout,
            texts=self.texts,
            apart_from=self.evaluation,
            seed=self.seed,
            batch_tokens=together,
            memory=self.memory // 2,
            log=self.log,
            report=self._checks.append,
        )
        self._search = SparsitySearch(
            loaded=self.loaded,
            layout=self.layout,
            evaluation=self.evaluation,
            seed=self.seed,
            batch_tokens=together,
            memory=self.memory // 2,
            log=self.log,
            report=self._checks.append,
            calibrator=self._calibrator,
        )

    def build(self, requests: Sequence[TwinRequest]) -> BuiltTwins:
        """Build all of these twins that can be made. BitlensError for the first that cannot, unless
        failures are recorded."""
        lost: dict[str, str] = {}
        twins = self._twins(requests, lost)
        checks = tuple(self._checks)
        self._checks.clear()
        corpus = self._calibrator.corpus
        return BuiltTwins(
            twins=twins,
            failed=lost,
            checks=checks,
            notes=() if corpus is None else (read_for_calibration(corpus),),
            identity={request.text: self._identity(request.compression) for request in requests},
            calibration=corpus,
        )

    def open(self, compression: Compression) -> None:
        """Open the checkpoint that this is, or that this is noise like: before anything that takes
        long. BitlensError for one that cannot be read, or is not of this reference."""
        self._checkpoints.open(compression)

    def _twins(self, requests: Sequence[TwinRequest], lost: dict[str, str]) -> dict[str, Twin]:
        """The twins that can be made, by text; into `lost` goes why the others cannot."""
        takes: dict[str, list[str]] = {}
        known = []
        for request in requests:
            with self._losing(request.text, lost):
                compression = self._search.resolve(request.compression, self._aside, self._identity)
                self.open(compression)
                takes[request.text] = chosen(self.layout, compression)
                self._try(compression, takes[request.text])
                known.append(replace(request, compression=compression))
        self._calibrate(known, takes, lost)
        return {
            request.text: self._twin(request, takes[request.text])
            for request in known
            if request.text not in lost
        }

    def _twin(self, request: TwinRequest, takes: Sequence[str]) -> Twin:
        compression, base = request.compression, request.compression.base
        opened = self._checkpoints.twin(base)
        if opened is not None and isinstance(compression, Checkpoint):
            return opened
        source: Source | None = self._calibrator.weights(format_spec(base))
        if opened is not None:
            source = opened.matched
        if source is not None and isinstance(compression, Noise):
            source = Around(compression, source, self.seed)
        return CompressedTwin(self.layout, compression, takes, seed=self.seed, source=source)

    def _aside(self, compressions: Sequence[Compression]) -> list[Twin]:
        """Twins that something else needs. BitlensError where one of them cannot be made."""
        lost: dict[str, str] = {}
        requests = [TwinRequest(text=format_spec(c), compression=c) for c in compressions]
        made = self._twins(requests, lost)
        for request in requests:
            if request.text in lost:
                raise failed(request.text, lost[request.text])
        return [made[request.text] for request in requests]

    def _identity(self, compression: Compression) -> dict[str, str]:
        """What decides about a twin and does not stand in its text, by its name in `BuiltTwins`."""
        found: dict[str, str] = {}
        known = self._search.known(compression)
        if known != compression:
            found["matched"] = format_spec(known)
        corpus = self._calibrator.corpus
        if corpus is not None and calibrated(known) is not None:
            found["calibration"] = corpus.token_hash
        opened = self._checkpoints.twin(known.base)
        if opened is not None:
            found["checkpoint"] = opened.checkpoint.fingerprint
        return found

    def _try(self, compression: Compression, names: Sequence[str]) -> None:
        """Does it fit this model? Asked once, of noise of what it is like."""
        base = compression.base
        if base.cache is not None:
            try_cache(self.layout, base.cache)
        if not isinstance(base, Checkpoint) and format_spec(base) not in self._tried:
            try_shapes(self.layout, set(names), base)
            self._tried.add(format_spec(base))

    def _calibrate(
        self,
        requests: Sequence[TwinRequest],
        takes: Mapping[str, Sequence[str]],
        lost: dict[str, str],
    ) -> None:
        """What these are calibrated by, or matched to; of those that cannot be, why."""
        bases = {request.text: calibrated(request.compression) for request in requests}
        texts = {text: format_spec(base) for text, base in bases.items() if base is not None}
        asked = {
            format_spec(base): (base, takes[text])
            for text, base in bases.items()
            if base is not None
        }
        reasons = self._calibrator.calibrate(asked)
        for text, base_text in texts.items():
            if base_text in reasons:
                self._lose(text, reasons[base_text], lost)

    @contextmanager
    def _losing(self, text: str, lost: dict[str, str]) -> Iterator[None]:
        try:
            yield
        except BitlensError as error:
            self._lose(text, error, lost)

    def _lose(self, text: str, error: BitlensError, lost: dict[str, str]) -> None:
        if self.on_failure == "raise":
            raise error
        lost[text] = str(error)
