"""What SAEs learn from and are measured on: the activations of a model and its twins at one site,
on documents that are learnt from and on others that are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import version
from typing import Any, Self

from torch import Tensor

from bitlens.compression import parse_spec
from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin_builder import BuiltTwins
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus
from bitlens.engine.plan import Plan, TokenBatch
from bitlens.engine.reader import ActivationReader, Streamed, count_positions, in_parts
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.errors import DataError, InputError
from bitlens.models.layout import Layout
from bitlens.models.sites import resolve, site
from bitlens.results.counts import count
from bitlens.sae.placement import SITES
from bitlens.sae.sae import TrainedOn
from bitlens.sae.training.trainer import InMemory, Source
from bitlens.workflows.given import NOTHING, Given
from bitlens.workflows.session import Log, Session, log_unread
from bitlens.workflows.text_check import check_text


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetSpec:
    """What is known of a training before any activation is read."""

    made_by: Mapping[str, Mapping[str, Any]]
    """By model: what decides about its activations."""
    parts: Sequence[Sequence[TokenBatch]]
    """What is learnt from, chunk by chunk."""
    site: str
    width: int
    trained_on: TrainedOn
    streamed: bool
    """Whether the activations do not fit into memory and are read anew on every pass."""

    @property
    def sizes(self) -> list[int]:
        """Positions in each chunk."""
        return [count_positions(part) for part in self.parts]

    @property
    def positions(self) -> int:
        """How many there are to learn from."""
        return sum(self.sizes)


@dataclass(frozen=True, eq=False, kw_only=True)
class ActivationDataset(DatasetSpec):
    """What is learnt from and measured on."""

    source: Source
    held_out: Mapping[str, Tensor]
    """By model, `[positions, width]`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetBuilder:
    """What makes datasets of a model and of twins that SAEs are trained on; the twins are made when
    they are first read."""

    session: Session
    models: Sequence[str]
    """`reference`, and the text of every twin."""
    site: str
    held: Corpus
    """The documents that are measured on, which no twin may be calibrated on."""

    @classmethod
    def open(
        cls, study: Study, models: Sequence[str], site: str, log: Log, given: Given = NOTHING
    ) -> Self:
        """The model of a study of one and its texts, all of them held out for now; `site`: the name
        of a place in it. BitlensError for a place where no SAE is trained."""
        log_unread(study, log)
        session = Session.open(study, log, given=given)
        place = _site(site, session.layout)
        opened = cls(session=session, models=models, site=place, held=session.corpus)
        check_text(session, opened.plan(session.corpus))
        return opened

    @cached_property
    def reader(self) -> ActivationReader:
        """What reads the activations of every model."""
        known: dict[str, SweptModel] = dict(self._built.twins)
        if REFERENCE in self.models:
            known[REFERENCE] = Reference(self.session.layout)
        return self.session.reader(self.site, {name: known[name] for name in self.models})

    @property
    def trained_on(self) -> TrainedOn:
        """What an SAE's files say of its training."""
        corpus = self.session.corpus
        dtype = str(self.session.layout.compute).removeprefix("torch.")
        return TrainedOn(
            model=self.session.loaded.name,
            context=corpus.context,
            prepend_bos=corpus.bos,
            dtype=dtype,
        )

    def plan(self, corpus: Corpus) -> Plan:
        """Which positions of these documents are read. BitlensError where none counts."""
        plan = self.session.plan(corpus)
        if not plan.positions:
            documents = plan.sets["corpus"].documents
            raise DataError(
                f"No position of {corpus.name} counts, of {count(documents, 'document')}.",
                "positions to learn from.",
                "--positions all, or another --text.",
            )
        return plan

    def rows(self, corpus: Corpus) -> dict[str, Tensor]:
        """By model, its activations on these documents, `[positions, width]`."""
        return self.reader.rows(self.plan(corpus).batches)

    @property
    def shared(self) -> dict[str, Any]:
        """What decides about the activations of every model, whatever is learnt from."""
        session = self.session
        return {
            "bitlens": version("bitlens"),
            "model": session.loaded.name,
            "weights": session.loaded.fingerprint,
            "dtype": str(session.layout.dtype),
            "compute": str(session.layout.compute),
            "site": self.site,
            "held out": self.held.token_hash,
            "positions": session.study.positions,
        }

    @property
    def made_by(self) -> dict[str, dict[str, Any]]:
        """By model: what decides about its activations, whatever is learnt from. BitlensError for a
        twin that cannot be made."""
        identity = self._built.identity
        return {name: {**self.shared, "of": name, **identity.get(name, {})} for name in self.models}

    def spec(self, learnt: Corpus) -> DatasetSpec:
        """What SAEs would learn from these documents. BitlensError for a twin that cannot be
        made."""
        batches = self.plan(learnt).batches
        streamed = self.reader.bytes_of(batches) > self.session.memory // 2
        parts = in_parts(batches) if streamed else [list(batches)]
        documents = {"name": learnt.name, "sha256": learnt.token_hash}
        more = {"learnt from": documents, "chunks": [count_positions(part) for part in parts]}
        return DatasetSpec(
            made_by={name: {**of, **more} for name, of in self.made_by.items()},
            parts=parts,
            site=self.site,
            width=self.session.layout.width,
            trained_on=self.trained_on,
            streamed=streamed,
        )

    def dataset(
        self, spec: DatasetSpec, held_out: Mapping[str, Tensor] | None = None
    ) -> ActivationDataset:
        """The activations themselves; `held_out`: those that are measured on, if they have been
        read already. BitlensError where they are not finite."""
        source: Source
        held_out = self.rows(self.held) if held_out is None else held_out
        if spec.streamed:
            source = Streamed(self.reader, spec.parts)
        else:
            source = InMemory(self.reader.rows(spec.parts[0]))
        known = {field.name: getattr(spec, field.name) for field in fields(spec)}
        return ActivationDataset(**known, source=source, held_out=held_out)

    @cached_property
    def _built(self) -> BuiltTwins:
        requests = [
            TwinRequest(text=name, compression=parse_spec(name), control=False)
            for name in self.models
            if name != REFERENCE
        ]
        return self.session.twin_builder(apart_from=self.held).build(requests)


def _site(name: str, layout: Layout) -> str:
    found = resolve(name, layout)
    if len(found) != 1 or site(found[0]).kind not in SITES:
        raise InputError(
            f"--site {name} means {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}.",
            f"one site as wide as the model: {', '.join(SITES)}.",
            f"--site resid.{layout.depth // 2}",
        )
    return found[0]
