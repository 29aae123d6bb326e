"""From the twins that are wanted to twins that can be swept: what each takes is tried on one
matrix of every shape, what must be calibrated is, and nothing fails late."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from bitlens.compression import format_spec
from bitlens.compression.calibration.cache import cache_folder
from bitlens.compression.calibration.cache_key import made_by
from bitlens.compression.calibration.documents import (
    CalibrationTexts,
    about_overlap,
    about_size,
    calibrated,
    make,
    read_for_calibration,
    wanted,
)
from bitlens.compression.calibration.pipeline import CalibrationJob
from bitlens.compression.checkpoint_twin import CheckpointTwin
from bitlens.compression.checkpoints import open_checkpoint
from bitlens.compression.compression import Compression
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.methods.controls import Noise
from bitlens.compression.methods.prune import Prune
from bitlens.compression.requests import TwinRequest
from bitlens.compression.sparsity_search import matched, recall, remember
from bitlens.compression.targets import chosen, try_shapes
from bitlens.compression.twin import CompressedTwin, Twin
from bitlens.compression.weight_sources import Around, Source
from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError, failed
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, attention
from bitlens.results.records import Check

BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}

OWN_SETTINGS = "the twin computes with its own, so what differs is not its weights' doing alone"

LEFT_OUT = "this is not done here, so what is deployed may differ by more than what is measured"
"""How a checkpoint's settings bear on what is measured of it."""


@dataclass
class TwinBuilder:
    """The twins of one model and seed."""

    loaded: Loaded
    trust_remote_code: bool
    layout: Layout
    texts: CalibrationTexts
    evaluation: Corpus | None
    """What calibration documents must be apart from; None where nothing is measured."""
    seed: int
    memory: int
    log: Callable[[str], None]
    keep_going: bool
    failed: dict[str, str] = field(default_factory=dict)
    """Twins that cannot be made, and why; without `keep_going` the first raises."""
    checks: list[Check] = field(default_factory=list)
    calibration: Corpus | None = None
    """The documents that compressions were calibrated on; None where none asked for any."""
    _tried: set[str] = field(default_factory=set)
    _calibrated: dict[str, CalibrationJob] = field(default_factory=dict)
    _fresh: set[str] = field(default_factory=set)
    """Those that were not kept before this run."""
    _opened: dict[str, CheckpointTwin] = field(default_factory=dict)
    _sparsities: dict[str, Prune] = field(default_factory=dict)

    def twins(self, sides: Sequence[TwinRequest]) -> dict[str, Twin]:
        """By text, all that can be made."""
        takes: dict[str, list[str]] = {}
        known = []
        for side in sides:
            with self._losing(side.text):
                compression = self._matched(side.compression)
                self.open(compression)
                takes[side.text] = chosen(self.layout, compression)
                self._try(compression, takes[side.text])
                known.append(replace(side, compression=compression))
        self._calibrate(known, takes)
        return {
            side.text: self._twin(side, takes[side.text])
            for side in known
            if side.text not in self.failed
        }

    def origin(self, compression: Compression) -> dict[str, str]:
        """What decides about a twin and does not stand in its text: the calibration documents,
        the checkpoint's weights, the sparsity that was found."""
        found: dict[str, str] = {}
        known = self._known(compression)
        if known != compression:
            found["matched"] = format_spec(known)
        if self.calibration is not None and calibrated(known) is not None:
            found["calibration"] = self.calibration.token_hash
        opened = self._opened.get(format_spec(getattr(known, "like", known)))
        if opened is not None:
            found["checkpoint"] = opened.checkpoint.fingerprint
        return found

    def _twin(self, side: TwinRequest, takes: Sequence[str]) -> Twin:
        compression = side.compression
        if isinstance(compression, Checkpoint):
            return self._opened[side.text]
        base = format_spec(getattr(compression, "like", compression))
        source: Source | None = None
        if base in self._calibrated:
            source = self._calibrated[base].kept
        elif base in self._opened:
            source = self._opened[base].matched
        if source is not None and isinstance(compression, Noise):
            source = Around(compression, source, self.seed)
        return CompressedTwin(self.layout, compression, takes, self.seed, source)

    def _matched(self, compression: Compression) -> Compression:
        """With the sparsity that is to be found, where one is."""
        like = getattr(compression, "like", compression)
        if isinstance(like, Prune) and like.match is not None:
            self._match(like, like.match)
        return self._known(compression)

    def _known(self, compression: Compression) -> Compression:
        """With the sparsity that was found, where one was."""
        if isinstance(compression, Noise):
            return replace(compression, like=self._known(compression.like))
        return self._sparsities.get(format_spec(compression), compression)

    def _match(self, prune: Prune, to: Compression) -> None:
        text = format_spec(prune)
        if text in self._sparsities:
            return
        if self.evaluation is None:
            raise BitlensError(
                f"{text} is to be matched, and there is no text to compare on.",
                "an audit, which has one.",
                "bitlens audit, then prune:sparsity= with what it found.",
            )
        (target,) = self._aside([to])
        made = made_by(
            self.layout,
            self.loaded,
            self.seed,
            compression=text,
            targets=sorted(chosen(self.layout, prune)),
            evaluation=self.evaluation.token_hash,
            calibration=self._documents(prune).token_hash if calibrated(prune) else None,
            match=self.origin(to),
        )
        folder = cache_folder(made)
        found = recall(folder, prune)
        if found is None:
            self.log(f"{text}: looking for its sparsity.")
            found = self._search(prune, target, self.evaluation)
            remember(folder, made, *found)
        self._sparsities[text], check = found
        self.log(f"{text}: {check.detail}.")
        self.checks.append(check)

    def _search(self, prune: Prune, target: Twin, evaluation: Corpus) -> tuple[Prune, Check]:
        """Candidates that were made for the search alone are not kept."""
        known = set(self._calibrated)
        try:
            found = matched(
                prune,
                target,
                self._aside,
                self.layout,
                evaluation,
                self._batch_tokens,
                self.memory // 2,
                self.seed,
            )
        except BitlensError:
            self._forget(known)
            raise
        self._forget(known | {format_spec(found[0])})
        return found

    def _forget(self, keep: set[str]) -> None:
        for text in (self._fresh & self._calibrated.keys()) - keep:
            self._calibrated.pop(text).kept.remove()

    def _aside(self, compressions: Sequence[Compression]) -> list[Twin]:
        """Twins that something else needs."""
        texts = [format_spec(compression) for compression in compressions]
        made = self.twins(
            [TwinRequest(t, c, False, None) for t, c in zip(texts, compressions, strict=True)]
        )
        for text in texts:
            if text not in made:
                raise failed(text, self.failed[text])
        return [made[text] for text in texts]

    def open(self, compression: Compression) -> None:
        """The checkpoint that this is, or that this is noise like; once. BitlensError for one that
        cannot be read, or is not of this reference."""
        compression = getattr(compression, "like", compression)
        text = format_spec(compression)
        if not isinstance(compression, Checkpoint) or text in self._opened:
            return
        checkpoint = open_checkpoint(compression, self.loaded, self.trust_remote_code)
        twin = self._opened[text] = CheckpointTwin(self.layout, compression, checkpoint)
        runs = "real kernels" if checkpoint.kernels else "dequantized weights"
        notes = [*checkpoint.notes, *_other_arithmetic(twin)]
        detail = " ".join([f"{checkpoint.format}, run as {runs}.", *notes])
        self.log(f"{text}: {detail}")
        self.checks.append(Check(f"{text}: what runs", True, detail, twins=(text,)))
        for name, found, what in (
            ("settings of its own", checkpoint.own_settings, OWN_SETTINGS),
            ("left out", checkpoint.left_out, LEFT_OUT),
        ):
            if found:
                told = f"{'; '.join(found)}: {what}"
                self.log(f"{text}: {told}.")
                self.checks.append(Check(f"{text}: {name}", None, told, twins=(text,)))

    def _try(self, compression: Compression, names: Sequence[str]) -> None:
        """Does it fit this model? Asked once, of noise of what it is like."""
        like = getattr(compression, "like", compression)
        if not isinstance(like, Checkpoint) and format_spec(like) not in self._tried:
            try_shapes(self.layout, set(names), like)
            self._tried.add(format_spec(like))

    def _calibrate(self, sides: Sequence[TwinRequest], takes: dict[str, list[str]]) -> None:
        """What is calibrated for these, by the text of the compression that is."""
        bases = {side.text: calibrated(side.compression) for side in sides}
        asked = {
            format_spec(base): (base, takes[text])
            for text, base in bases.items()
            if base is not None
        }
        if not asked:
            return
        try:
            corpus = self._documents(next(iter(asked.values()))[0])
        except BitlensError as error:
            for text, base in bases.items():
                if base is not None:
                    self._lose(text, error)
            return
        names = {name for _, takes in asked.values() for name in takes}
        size = about_size(corpus, self.layout, names)
        if size not in self.checks:
            self.checks.append(size)
            if not size.passed:
                self.log(f"Few documents to calibrate on: {size.detail}.")
        new = wanted(self.layout, self.loaded, asked.values(), corpus, self.seed)
        self._calibrated |= new
        self._fresh |= {text for text, twin in new.items() if not twin.kept.complete}
        # What is made must not depend on which analyses are asked for besides.
        with attention(self.loaded.model, self.loaded.attention):
            reasons = make(
                self.layout,
                new,
                corpus,
                self._batch_tokens,
                self.seed,
                self.memory // 2,
                self.log,
            )
        for text, base in bases.items():
            if base is not None and format_spec(base) in reasons:
                self._lose(text, reasons[format_spec(base)])

    @property
    def _batch_tokens(self) -> int:
        return BATCH_TOKENS.get(self.layout.device.type, BATCH_TOKENS["cpu"])

    @property
    def notes(self) -> list[str]:
        """What the reader of a result should know of the calibration documents."""
        return [read_for_calibration(self.calibration)] if self.calibration is not None else []

    def _documents(self, asking: Compression) -> Corpus:
        """What is calibrated on, and that it is apart from the evaluation."""
        if self.calibration is None:
            corpus = self.texts.read(asking, self.loaded, self.layout, self.seed)
            if self.evaluation is not None:
                allowed = self.texts.allow_overlap
                self.checks.append(about_overlap(corpus, self.evaluation, allowed))
            self.calibration = corpus
        return self.calibration

    @contextmanager
    def _losing(self, text: str) -> Iterator[None]:
        try:
            yield
        except BitlensError as error:
            self._lose(text, error)

    def _lose(self, text: str, error: BitlensError) -> None:
        if not self.keep_going:
            raise error
        self.failed[text] = str(error)


def _other_arithmetic(twin: Twin) -> Iterator[str]:
    """That it computes in a dtype of its own."""
    if twin.arithmetic not in (None, twin.layout.compute):
        own, reference = (
            str(dtype).removeprefix("torch.") for dtype in (twin.arithmetic, twin.layout.compute)
        )
        yield f"It computes in {own}, the reference in {reference}."
