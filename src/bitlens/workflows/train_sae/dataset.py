"""What do SAEs learn from, and what are they measured on? A model and its twins, read at one place
of documents that are learnt from and of others that are not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import version
from typing import Any

from torch import Tensor

from bitlens.compression import parse_spec
from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin_builder import BATCH_TOKENS, BuiltTwins, TwinBuilder
from bitlens.config.study import Study, parse_bytes
from bitlens.data.corpus import Corpus
from bitlens.engine.plan import Plan, TokenBatch, make_plan
from bitlens.engine.reader import ActivationReader, Streamed, in_parts, positions_of
from bitlens.engine.sweep import REFERENCE
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, free_memory, load
from bitlens.models.sites import resolve, site
from bitlens.results.counts import count
from bitlens.sae.placement import SITES
from bitlens.sae.sae import TrainedOn
from bitlens.sae.training.trainer import InMemory, Source
from bitlens.workflows.session import calibration_texts, evaluation, say_unread
from bitlens.workflows.text_check import check_text

FREE_SHARE = 0.5
"""Of the free memory, when --memory does not say; half of it for activations."""


@dataclass(frozen=True, eq=False)
class DatasetSpec:
    """What is known of a training before any activation is read."""

    made_by: Mapping[str, Mapping[str, Any]]
    """By stream: what decides about its activations."""
    parts: Sequence[Sequence[TokenBatch]]
    """What is learnt from, chunk by chunk."""
    place: str
    width: int
    trained_on: TrainedOn
    once: bool
    """Whether the activations do not fit into memory."""

    @property
    def sizes(self) -> list[int]:
        """Positions in each chunk."""
        return [positions_of(part) for part in self.parts]

    @property
    def positions(self) -> int:
        """To learn from."""
        return sum(self.sizes)


@dataclass(frozen=True, eq=False)
class ActivationDataset(DatasetSpec):
    """What is learnt from and measured on."""

    source: Source
    held_out: Mapping[str, Tensor]
    """By stream, `[positions, width]`."""


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
    held: Corpus
    """The documents of it that are measured on, which no twin may be calibrated on."""
    memory: int
    log: Callable[[str], None]

    @cached_property
    def reading(self) -> ActivationReader:
        twins: dict[str, SweptModel] = {}
        if REFERENCE in self.streams:
            twins[REFERENCE] = Reference(self.layout)
        twins |= self._built.twins
        ordered = {name: twins[name] for name in self.streams}
        return ActivationReader(self.layout, ordered, self.place, self.memory // 4)

    @property
    def trained_on(self) -> TrainedOn:
        dtype = str(self.layout.compute).removeprefix("torch.")
        return TrainedOn(self.loaded.name, self.corpus.context, self.corpus.bos, dtype)

    def plan(self, corpus: Corpus) -> Plan:
        """Which positions of these documents are read. BitlensError where none counts."""
        study, layout = self.study, self.layout
        batch_tokens = BATCH_TOKENS.get(layout.device.type, BATCH_TOKENS["cpu"])
        seed = study.seeds[0]
        plan = make_plan(corpus, study.positions, seed, batch_tokens, study.interval, layout.device)
        if not plan.positions:
            documents = plan.sets["corpus"].documents
            raise BitlensError(
                f"No position of {corpus.name} counts, of {count(documents, 'document')}.",
                "positions to learn from.",
                "--positions all, or another --text.",
            )
        return plan

    def rows(self, corpus: Corpus) -> dict[str, Tensor]:
        """By stream, `[positions, width]`."""
        return self.reading.rows(self.plan(corpus).batches)

    @property
    def shared(self) -> dict[str, Any]:
        """What decides about the activations of every stream, whatever is learnt from."""
        return {
            "bitlens": version("bitlens"),
            "model": self.loaded.name,
            "weights": self.loaded.fingerprint,
            "dtype": str(self.layout.dtype),
            "compute": str(self.layout.compute),
            "site": self.place,
            "held out": self.held.token_hash,
            "positions": self.study.positions,
        }

    @cached_property
    def made_by(self) -> dict[str, dict[str, Any]]:
        """By stream: what decides about its activations, whatever is learnt from."""
        streams = self.reading.twins  # They are made here: what of is known only afterwards.
        identity = self._built.identity
        return {name: {**self.shared, "of": name, **identity.get(name, {})} for name in streams}

    def terms(self, learnt: Corpus) -> DatasetSpec:
        """On which SAEs learn from these documents. BitlensError for a twin that cannot be made."""
        batches = self.plan(learnt).batches
        once = self.reading.bytes_of(batches) > self.memory // 2
        parts = in_parts(batches) if once else [list(batches)]
        documents = {"name": learnt.name, "sha256": learnt.token_hash}
        more = {"learnt from": documents, "chunks": [positions_of(part) for part in parts]}
        made_by = {name: {**of, **more} for name, of in self.made_by.items()}
        return DatasetSpec(made_by, parts, self.place, self.layout.width, self.trained_on, once)

    def material(
        self, terms: DatasetSpec, held_out: Mapping[str, Tensor] | None = None
    ) -> ActivationDataset:
        """What is learnt on these terms; `held_out`: the activations that are measured on, if they
        have been read already."""
        held_out = self.rows(self.held) if held_out is None else held_out
        source: Source = (
            Streamed(self.reading, terms.parts)
            if terms.once
            else InMemory(self.reading.rows(terms.parts[0]))
        )
        known = {field.name: getattr(terms, field.name) for field in fields(terms)}
        return ActivationDataset(**known, source=source, held_out=held_out)

    @cached_property
    def _built(self) -> BuiltTwins:
        (model,) = self.study.models
        builder = TwinBuilder(
            loaded=self.loaded,
            trust_remote_code=model.trust_remote_code,
            layout=self.layout,
            texts=calibration_texts(self.study, self.corpus.context),
            evaluation=self.held,
            seed=self.study.seeds[0],
            memory=self.memory,
            log=self.log,
        )
        twins = [name for name in self.streams if name != REFERENCE]
        return builder.build([TwinRequest(text=n, compression=parse_spec(n)) for n in twins])


def ground(study: Study, streams: Sequence[str], name: str, log: Callable[[str], None]) -> Ground:
    """The model of a study of one, its texts, and the place of this name in it. BitlensError for
    a place where no SAE is trained."""
    (model,) = study.models
    say_unread(study, log)
    memory = parse_bytes(study.memory) if study.memory else int(FREE_SHARE * free_memory(model))
    loaded = load(model, memory)
    for note in loaded.notes:
        log(note)
    layout = Layout(loaded.model, loaded.compute)
    place = _place(name, layout)
    corpus = evaluation(study, loaded, layout, study.seeds[0])
    found = Ground(study, streams, loaded, layout, place, corpus, corpus, memory, log)
    check_text(study, model, layout, corpus, found.plan(corpus), log)
    return found


def _place(name: str, layout: Layout) -> str:
    found = resolve(name, layout)
    if len(found) != 1 or site(found[0]).kind not in SITES:
        raise BitlensError(
            f"--site {name} means {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}.",
            f"one site as wide as the model: {', '.join(SITES)}.",
            f"--site resid.{layout.depth // 2}",
        )
    return found[0]
