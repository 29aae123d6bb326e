"""From the twins that are wanted to twins that can be swept: what each takes is tried on one
matrix of every shape, what must be calibrated is, and nothing fails late."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from bitlens.calibrate import Wanted
from bitlens.calibration import about_overlap, calibrated, make, read_calibration, source_of, wanted
from bitlens.checkpoint_twin import CheckpointTwin
from bitlens.checkpoints import open_checkpoint
from bitlens.compress import format
from bitlens.compress.checkpoint import Checkpoint
from bitlens.compress.compression import Compression, Map
from bitlens.compress.controls import Noise
from bitlens.compress.inputs import Inputs
from bitlens.compress.prune import Prune
from bitlens.compress.rule import targets
from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError
from bitlens.matching import matched
from bitlens.matrices import Around, Source
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, attention, free_memory, load
from bitlens.plan import context_of
from bitlens.records import Check
from bitlens.sides import Side, sides
from bitlens.study import Study, parse_bytes
from bitlens.twin import Twin

BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}


@dataclass
class Making:
    """The twins of one model and seed."""

    study: Study
    loaded: Loaded
    trust_remote_code: bool
    layout: Layout
    context: int
    evaluation: Corpus | None
    """What calibration documents must be apart from; None where nothing is measured."""
    seed: int
    memory: int
    say: Callable[[str], None]
    keep_going: bool
    failed: dict[str, str] = field(default_factory=dict)
    """Twins that cannot be made, and why; without `keep_going` the first raises."""
    checks: list[Check] = field(default_factory=list)
    calibration: Corpus | None = None
    """The documents that compressions were calibrated on; None where none asked for any."""
    _calibrated: dict[str, Wanted] = field(default_factory=dict)
    _opened: dict[str, CheckpointTwin] = field(default_factory=dict)
    _sparsities: dict[str, Prune] = field(default_factory=dict)

    def twins(self, sides: Sequence[Side]) -> dict[str, Twin]:
        """By text, all that can be made."""
        takes: dict[str, list[str]] = {}
        found = []
        for side in sides:
            with self._losing(side.text):
                known = replace(side, compression=self._matched(side.compression))
                self._open(known.compression)
                takes[side.text] = chosen(self.layout, known.compression)
                found.append(known)
        sides = found
        self._calibrate([side for side in sides if side.text in takes], takes)
        return {
            side.text: self._twin(side, takes[side.text])
            for side in sides
            if side.text in takes and side.text not in self.failed
        }

    def fingerprint(self, compression: Compression) -> str | None:
        """Which weights does the checkpoint hold that this is, or that this is noise like?"""
        opened = self._opened.get(format(getattr(compression, "like", compression)))
        return opened.checkpoint.fingerprint if opened else None

    def _twin(self, side: Side, takes: Sequence[str]) -> Twin:
        compression = side.compression
        if isinstance(compression, Checkpoint):
            return self._opened[side.text]
        base = format(getattr(compression, "like", compression))
        source: Source | None = None
        if base in self._calibrated:
            source = self._calibrated[base].kept
        elif base in self._opened:
            source = self._opened[base].matched
        if source is not None and isinstance(compression, Noise):
            source = Around(compression, source, self.seed)
        return Twin(self.layout, compression, takes, self.seed, source)

    def _matched(self, compression: Compression) -> Compression:
        """With the sparsity that was to be found, where one was."""
        if isinstance(compression, Noise):
            return replace(compression, like=self._matched(compression.like))
        if not isinstance(compression, Prune) or compression.match is None:
            return compression
        text = format(compression)
        if text not in self._sparsities:
            if self.evaluation is None:
                raise BitlensError(
                    f"{text} is to be matched, and there is no text to compare on.",
                    "an audit, which has one.",
                    "bitlens audit, then prune:sparsity= with what it found.",
                )
            self.say(f"{text}: looking for its sparsity.")
            self._sparsities[text], detail = matched(
                compression,
                self._one(compression.match),
                self._one,
                self.layout,
                self.evaluation,
                self._batch_tokens,
                self.memory // 2,
                self.seed,
            )
            self.say(f"{text}: {detail}.")
            self.checks.append(Check(f"{text}: matched", True, detail))
        return self._sparsities[text]

    def _one(self, compression: Compression) -> Twin:
        """A twin by the way."""
        text = format(compression)
        made = self.twins([Side(text, compression, False, None)])
        if text in self.failed:
            raise BitlensError(
                f"{text} cannot be made: {self.failed.pop(text)}", "a twin.", "other settings."
            )
        return made[text]

    def _open(self, compression: Compression) -> None:
        """The checkpoint that this is, or that this is noise like."""
        compression = getattr(compression, "like", compression)
        text = format(compression)
        if not isinstance(compression, Checkpoint) or text in self._opened:
            return
        checkpoint = open_checkpoint(compression, self.loaded, self.trust_remote_code)
        self._opened[text] = CheckpointTwin(self.layout, compression, checkpoint)
        runs = "real kernels" if checkpoint.kernels else "dequantized weights"
        detail = " ".join([f"{checkpoint.format}, run as {runs}.", *checkpoint.notes])
        self.say(f"{text}: {detail}")
        self.checks.append(Check(f"{text}: what runs", checkpoint.kernels or None, detail))

    def _calibrate(self, sides: Sequence[Side], takes: dict[str, list[str]]) -> None:
        """What is calibrated for these, by the text of the compression that is."""
        bases = {side.text: calibrated(side.compression) for side in sides}
        asked = {
            format(base): (base, takes[text]) for text, base in bases.items() if base is not None
        }
        if not asked:
            return
        if self.calibration is None:
            self.calibration = self._documents(next(iter(asked.values()))[0])
            if self.evaluation is not None:
                allowed = "overlap" in self.study.allow
                self.checks.append(about_overlap(self.calibration, self.evaluation, allowed))
        corpus = self.calibration
        new = wanted(self.layout, self.loaded, asked.values(), corpus, self.seed)
        self._calibrated |= new
        # What is made must not depend on which analyses are asked for besides.
        with attention(self.loaded.model, self.loaded.attention):
            reasons = make(
                self.layout,
                new,
                corpus,
                self._batch_tokens,
                self.seed,
                self.memory // 2,
                self.say,
            )
        for text, base in bases.items():
            if base is not None and format(base) in reasons:
                self._lose(text, reasons[format(base)])

    @property
    def _batch_tokens(self) -> int:
        return BATCH_TOKENS.get(self.layout.device.type, BATCH_TOKENS["cpu"])

    def _documents(self, asking: Compression) -> Corpus:
        return read_calibration(
            source_of(self.study.calibration, self.study.text, asking),
            self.loaded,
            self.layout,
            self.context,
            self.study.bos,
            self.study.calibration_tokens,
            self.seed,
        )

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


def chosen(layout: Layout, compression: Compression) -> list[str]:
    """Which of the model's matrices does it take? In the model's order."""
    default = [name for name, _ in layout.matrices()]
    if isinstance(getattr(compression, "like", compression), Checkpoint):
        return default
    found = targets([example.name for example in layout.examples()], default, compression)
    base = calibrated(compression)
    for name in found if base is not None else ():
        if name not in default and isinstance(
            layout.shell.module.get_submodule(name), nn.Embedding
        ):
            raise BitlensError(
                f"{format(compression)} is to compress {name}, which is looked up in, not "
                "multiplied with: there is nothing to calibrate it on.",
                "matrices that are multiplied with activations.",
                f"exclude=[{name}], or mixed with another compression for it.",
            )
    _try_shapes(layout, set(found), base or compression)
    return found


def _try_shapes(layout: Layout, names: set[str], compression: Compression) -> None:
    """Compress one matrix of every kind: what does not fit fails before the sweep."""
    tried: set[tuple[object, ...]] = set()
    for example in layout.examples():
        kind = (tuple(example.weight.shape), example.head_size, example.fused)
        if example.name in names and kind not in tried:
            tried.add(kind)
            rows, columns = example.weight.shape[-2:]
            weight = torch.linspace(-0.1, 0.1, rows * columns).reshape(rows, columns)
            trial = replace(example, weight=weight)
            survey = compression.survey(partial(list, [trial]))
            (made,) = compression.compress([trial], 0, survey, _inputs(trial, compression))
            if made.activations is not None and example.weight.ndim == 3:
                # What experts are multiplied with is only seen where they run one by one.
                layout.model.set_experts_implementation("eager")


def _inputs(map: Map, compression: Compression) -> Inputs | None:
    """Inputs without any structure."""
    if not compression.needs:
        return None
    width = map.weight.shape[-1]
    ones = torch.ones(width)
    return Inputs(torch.tensor(width), torch.eye(width), ones, ones, ones)


def load_whole(study: Study) -> tuple[Loaded, Layout]:
    """The model of a study of one, in memory."""
    (source,) = study.models
    loaded = load(source, parse_bytes(study.memory) if study.memory else free_memory(source))
    if loaded.offloaded:
        raise BitlensError(
            f"{loaded.name} takes {loaded.weight_bytes / 1e9:.1f} GB, more than there is room for.",
            "room for the model and a copy of it.",
            "a machine with more memory, or a larger --memory.",
        )
    return loaded, Layout(loaded.model)


def make_one(study: Study, say: Callable[[str], None]) -> tuple[Making, Side, Twin]:
    """The twin of a study of one model and one compression, with nothing to be measured."""
    loaded, layout = load_whole(study)
    longest = getattr(layout.config, "max_position_embeddings", None)
    making = Making(
        study,
        loaded,
        study.models[0].trust_remote_code,
        layout,
        context_of(study.context, loaded.name, longest),
        None,
        study.seeds[0],
        parse_bytes(study.memory) if study.memory else free_memory(study.models[0]),
        say,
        keep_going=False,
    )
    (side,) = sides(study, layout)
    return making, side, making.twins([side])[side.text]
