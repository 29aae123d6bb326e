"""What do SAEs learn from, and what are they measured on? A model and its twins, read at one place
of documents that are learnt from and of others that are not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from torch import Tensor

from bitlens.activations import Reading, Streamed, in_parts
from bitlens.calibration import say_unread
from bitlens.compress import parse
from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError
from bitlens.evaluation import evaluation
from bitlens.making import BATCH_TOKENS, Making
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, free_memory, load
from bitlens.models.sites import resolve, site
from bitlens.plan import Plan, make_plan
from bitlens.sae.sae import TrainedOn
from bitlens.sae.training.loop import InMemory, Source
from bitlens.saes import SITES
from bitlens.sides import Side
from bitlens.study import Study, parse_bytes
from bitlens.sweep import REFERENCE
from bitlens.twin import Twin

FREE_SHARE = 0.5
"""Of the free memory, when --memory does not say; half of it for activations."""


@dataclass(frozen=True, eq=False)
class Material:
    """What is learnt from and measured on."""

    source: Source
    held_out: Mapping[str, Tensor]
    """By stream, `[positions, width]`."""
    made_by: Mapping[str, Mapping[str, Any]]
    """By stream: what decides about its activations."""
    positions: int
    """To learn from."""
    place: str
    width: int
    trained_on: TrainedOn
    once: bool
    """Whether they did not fit into memory."""


@dataclass(eq=False)
class Ground:
    """A model, its texts and its twins, which are made when they are first read."""

    study: Study
    streams: Sequence[str]
    """`reference`, and the text of every twin."""
    loaded: Loaded
    layout: Layout
    place: str
    corpus: Corpus
    memory: int
    say: Callable[[str], None]

    @cached_property
    def reading(self) -> Reading:
        twins = {REFERENCE: Twin(self.layout, None)} if REFERENCE in self.streams else {}
        twins |= self._making.twins(self._sides)
        ordered = {name: twins[name] for name in self.streams}
        return Reading(self.layout, ordered, self.place, self.memory // 4)

    @property
    def trained_on(self) -> TrainedOn:
        dtype = str(self.layout.dtype).removeprefix("torch.")
        return TrainedOn(self.loaded.name, self.corpus.context, self.corpus.bos, dtype)

    def plan(self, corpus: Corpus) -> Plan:
        """Which positions of these documents are read. BitlensError where none counts."""
        study, layout = self.study, self.layout
        batch_tokens = BATCH_TOKENS.get(layout.device.type, BATCH_TOKENS["cpu"])
        seed = study.seeds[0]
        plan = make_plan(corpus, study.positions, seed, batch_tokens, study.interval, layout.device)
        if not plan.positions:
            raise BitlensError(
                f"No position of {corpus.name} counts ({plan.sets['corpus'].documents} documents).",
                "positions to learn from.",
                "--positions all, or another --text.",
            )
        return plan

    def rows(self, corpus: Corpus) -> dict[str, Tensor]:
        """By stream, `[positions, width]`."""
        return self.reading.rows(self.plan(corpus).batches)

    def material(
        self, learnt: Corpus, held: Corpus, held_out: Mapping[str, Tensor] | None = None
    ) -> Material:
        """What is learnt from the one and measured on the other, of which `held_out` are the
        activations if they have been read already."""
        plan = self.plan(learnt)
        once = self.reading.bytes_of(plan.batches) > self.memory // 2
        held_out = self.rows(held) if held_out is None else held_out
        source: Source = (
            Streamed(self.reading, in_parts(plan.batches))
            if once
            else InMemory(self.reading.rows(plan.batches))
        )
        shared = {
            "bitlens": version("bitlens"),
            "model": self.loaded.name,
            "weights": self.loaded.fingerprint,
            "dtype": str(self.layout.dtype),
            "site": self.place,
            "learnt from": {"name": learnt.name, "sha256": learnt.token_hash},
            "held out": held.token_hash,
            "positions": self.study.positions,
            "chunks": list(source.sizes),
        }
        origins = {side.text: self._making.origin(side.compression) for side in self._sides}
        made_by = {n: {**shared, "of": n, **origins.get(n, {})} for n in self.streams}
        width = self.layout.width
        return Material(
            source, held_out, made_by, plan.positions, self.place, width, self.trained_on, once
        )

    @cached_property
    def _sides(self) -> list[Side]:
        return [Side(n, parse(n), False, None) for n in self.streams if n != REFERENCE]

    @cached_property
    def _making(self) -> Making:
        (model,) = self.study.models
        return Making(
            self.study,
            self.loaded,
            model.trust_remote_code,
            self.layout,
            self.corpus.context,
            None,
            self.study.seeds[0],
            self.memory,
            self.say,
            keep_going=False,
        )


def ground(study: Study, streams: Sequence[str], name: str, say: Callable[[str], None]) -> Ground:
    """The model of a study of one, its texts, and the place of this name in it. BitlensError for
    a place where no SAE is trained."""
    (model,) = study.models
    say_unread(study, say)
    memory = parse_bytes(study.memory) if study.memory else int(FREE_SHARE * free_memory(model))
    loaded = load(model, memory)
    layout = Layout(loaded.model)
    place = _place(name, layout)
    corpus = evaluation(study, loaded, layout, study.seeds[0])
    return Ground(study, streams, loaded, layout, place, corpus, memory, say)


def _place(name: str, layout: Layout) -> str:
    found = resolve(name, layout)
    if len(found) != 1 or site(found[0]).kind not in SITES:
        raise BitlensError(
            f"--site {name} means {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}.",
            f"one site as wide as the model: {', '.join(SITES)}.",
            f"--site resid.{layout.depth // 2}",
        )
    return found[0]
