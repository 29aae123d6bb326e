"""A model of a study, loaded: with the texts it reads, the memory it may use, and its twins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import psutil

from bitlens.compression import parse_spec
from bitlens.compression.calibration.documents import CalibrationTexts
from bitlens.compression.compression import Compression
from bitlens.compression.requests import TwinRequest, requested_twins
from bitlens.compression.twin import Twin
from bitlens.compression.twin_builder import BuiltTwins, OnFailure, TwinBuilder
from bitlens.config.study import Study
from bitlens.config.study_settings import parse_bytes
from bitlens.data.chats import ChatFormat, as_chats
from bitlens.data.corpus import Corpus, check_vocabulary, make_corpus
from bitlens.data.display import CorpusTexts
from bitlens.data.files import RowFields
from bitlens.data.hub import PREFIX
from bitlens.data.labelled import read_labelled
from bitlens.data.labelled_corpus import LabelledCorpus, as_texts, in_parts
from bitlens.data.texts import STRINGS, Documents, read_texts
from bitlens.demo import calibration_path, evaluation_path
from bitlens.engine.plan import Plan, context_of, make_plan
from bitlens.engine.reader import ActivationReader
from bitlens.engine.swept_model import SweptModel
from bitlens.engine.wave_size import batch_tokens
from bitlens.errors import CapacityError, ModelError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, free_memory, load
from bitlens.models.source import ModelSource
from bitlens.results.records import Stopped
from bitlens.workflows.given import NOTHING, Given

Log = Callable[[str], None]
"""Takes a line for the user."""
FREE_SHARE = 0.5
"""How much of the free memory is used where a study does not say."""
PATTERN_BYTES = 1 << 27
"""Bytes of one run's attention patterns in a batch, or those of one window where that is more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Session:
    """One model and seed of a study: whatever a workflow does with it begins here."""

    study: Study
    source: ModelSource
    seed: int
    loaded: Loaded
    layout: Layout
    memory: int
    """Bytes that may be used, the model's weights included."""
    held_before: int
    """Bytes that the process held before the model was loaded."""
    log: Log
    given: Given = NOTHING
    """Models and texts that were handed over as objects."""
    stopped: Stopped | None = None
    """How many documents of the texts are read, where a rule decided."""

    @classmethod
    def open(
        cls,
        study: Study,
        log: Log,
        *,
        source: ModelSource | None = None,
        seed: int | None = None,
        share: float = FREE_SHARE,
        eager: bool = False,
        given: Given = NOTHING,
    ) -> Self:
        """Load a model of a study: its first, with its first seed, where none is given. `share` of
        the free memory is used where the study does not say; `eager`: attention hands out its
        patterns. What there is to know of the weights is logged. BitlensError for what cannot be
        loaded."""
        source = source or study.models[0]
        lent = given.models.get(source.name)
        # What a lent model takes is taken already.
        taken = lent.weight_bytes if lent else 0
        free = free_memory(source) + taken
        memory = parse_bytes(study.memory) if study.memory else int(share * free)
        held_before = psutil.Process().memory_info().rss
        if lent and source.device == "cpu":
            held_before -= taken
        loaded = lent.loaded(source) if lent else load(source, memory)
        for note in loaded.notes:
            log(note)
        if eager:
            # Only eager attention hands out its weights, and all models must use the same.
            _make_eager(loaded)
        return cls(
            study=study,
            source=source,
            seed=study.seeds[0] if seed is None else seed,
            loaded=loaded,
            layout=Layout(loaded.model, loaded.compute),
            memory=memory,
            held_before=held_before,
            log=log,
            given=given,
        )

    @classmethod
    def in_memory(cls, study: Study, log: Log, given: Given = NOTHING) -> Self:
        """The model of a study of one with all of its weights in memory; what is free beside them
        may be used. BitlensError where they do not fit."""
        (source,) = study.models
        session = cls.open(study, log, source=source, share=1.0, given=given)
        loaded = session.loaded
        if loaded.offloaded:
            raise CapacityError(
                f"{loaded.name} takes {loaded.weight_bytes / 1e9:.1f} GB, "
                "more than there is room for.",
                "room for the model and a copy of it.",
                "a machine with more memory, or --dtype bfloat16.",
            )
        return replace(session, memory=free_memory(source))

    @cached_property
    def corpus(self) -> Corpus:
        """The evaluation texts as the model reads them. BitlensError for texts that it cannot."""
        study = self.study
        fields = RowFields(study.categories or "", chats=study.chat_template)
        corpus = make_corpus(
            self._as_chats(self.given.documents(study.texts) or read_texts(study.texts, fields)),
            self.loaded.tokenizer,
            self.context,
            study.bos,
            max_tokens=study.tokens or None,
            seed=self.seed,
            categories=study.categories,
        )
        check_vocabulary(corpus, self.layout.vocabulary)
        return corpus

    def _as_chats(self, texts: Documents) -> Documents:
        """What is read, as the model's chat template writes it where the study says so."""
        study = self.study
        if not study.chat_template:
            return texts
        how = ChatFormat(system=study.system, thinking=study.thinking)
        return as_chats(texts, self.loaded.tokenizer, how, self.loaded.name)

    @cached_property
    def texts(self) -> CorpusTexts:
        """What the corpus looks like to a reader."""
        return CorpusTexts(self.corpus, self.loaded.tokenizer)

    @cached_property
    def labelled(self) -> LabelledCorpus:
        """The labelled texts as the model reads them. BitlensError for those that it cannot."""
        tokenizer = self.loaded.tokenizer

        def lengths(texts: list[str]) -> list[int]:
            return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

        sets = [read_labelled(source, lengths) for source in self.study.labelled]
        corpus = make_corpus(
            as_texts(sets), tokenizer, self.context, self.study.bos, seed=self.seed
        )
        check_vocabulary(corpus, self.layout.vocabulary)
        return in_parts(corpus, sets, self.seed)

    @property
    def context(self) -> int:
        """Tokens that the model reads at a time. BitlensError where it cannot read as many as the
        study asks for."""
        return context_in(self.layout, self.study, self.loaded.name)

    @property
    def batch_tokens(self) -> int:
        """Tokens that run together: fewer where attention hands out its patterns, which grow with
        the context."""
        most = batch_tokens(self.layout.device.type)
        if self.loaded.model.config._attn_implementation != "eager":
            return most
        heads = int(self.layout.config.num_attention_heads)
        return min(most, PATTERN_BYTES // (4 * heads * self.context))

    def plan(
        self,
        corpus: Corpus | None = None,
        own: Mapping[str, tuple[Corpus, int]] | None = None,
    ) -> Plan:
        """Which positions of a corpus, the evaluation's where none is given, are read together and
        count. `own`: by analysis, documents of its own and how many every replicate keeps."""
        return make_plan(
            self.corpus if corpus is None else corpus,
            self.study.positions,
            self.seed,
            self.batch_tokens,
            interval=self.study.interval,
            device=self.layout.device,
            own=own,
        )

    def requests(self) -> list[TwinRequest]:
        """The twins that the study asks for, its controls among them."""
        return requested_twins(self.study.compressions, self.study.controls, self.layout)

    def twin_builder(
        self, *, apart_from: Corpus | None, on_failure: OnFailure = "raise"
    ) -> TwinBuilder:
        """What makes the model's twins. Calibration documents must be apart from those of
        `apart_from`; None where nothing is measured."""
        return TwinBuilder(
            loaded=self.loaded,
            trust_remote_code=self.source.trust_remote_code,
            layout=self.layout,
            texts=self._calibration_texts(measured=apart_from is not None),
            evaluation=apart_from,
            seed=self.seed,
            memory=self.memory,
            log=self.log,
            on_failure=on_failure,
        )

    def calibration_documents(self, asking: Compression) -> Corpus:
        """The documents that this compression is calibrated on. BitlensError where none are
        named."""
        texts = self._calibration_texts(measured=True)
        return texts.read(asking, self.loaded, self.layout, self.seed)

    def _calibration_texts(self, *, measured: bool) -> CalibrationTexts:
        texts = calibration_texts(self.study, self.context, measured=measured)
        given = self.given.documents(self.study.calibration)
        return replace(texts, source=given) if given else texts

    def build_twin(self) -> tuple[BuiltTwins, Twin]:
        """The twin of a study of one compression, with nothing measured. BitlensError where it
        cannot be made."""
        built = self.twin_builder(apart_from=None).build(self.requests())
        (twin,) = built.twins.values()
        return built, twin

    def reader(self, site: str, models: Mapping[str, SweptModel]) -> ActivationReader:
        """What reads the activations of these models at one site."""
        return ActivationReader(self.layout, models, site, self.memory // 4)


def narrowed(session: Session, corpus: Corpus) -> Session:
    """The same session, reading these documents of its corpus."""
    other = replace(session)
    vars(other)["corpus"] = corpus
    return other


def context_in(layout: Layout, study: Study, name: str) -> int:
    """How many tokens a model of this layout and name reads at a time in a study. BitlensError for
    more than it can."""
    longest = getattr(layout.config, "max_position_embeddings", None)
    return context_of(study.context, name, longest)


def calibration_texts(study: Study, context: int, *, measured: bool = True) -> CalibrationTexts:
    """What a study calibrates on: what was named; for the texts that ship with bitlens, those that
    ship with them. Where nothing is `measured` the text is nobody's choice and says nothing."""
    source = study.calibration
    if source is None and measured and study.texts == str(evaluation_path()):
        source = str(calibration_path())
    return CalibrationTexts(
        source=source,
        context=context,
        bos=study.bos,
        tokens=study.calibration_tokens,
        allow_overlap="overlap" in study.allow,
    )


def log_unread(study: Study, log: Log) -> None:
    """Are calibration documents named that nothing will read? BitlensError where they are not
    there: a misspelt name would be found out only when something is calibrated."""
    source = study.calibration
    if source in (None, str(calibration_path())) or _asks_for_data(study):
        return
    if source.startswith(STRINGS):
        log("Nothing is calibrated here: the calibration documents are not read.")
        return
    if not source.startswith(PREFIX) and not Path(source).expanduser().exists():
        read_texts(source)
    log(f"Nothing is calibrated here: {source} is not read.")


def _asks_for_data(study: Study) -> bool:
    return any(one.statistics for text in study.compressions for one in parse_spec(text).nested())


def _make_eager(loaded: Loaded) -> None:
    try:
        loaded.model.set_attn_implementation("eager")
    except ValueError as error:
        raise ModelError(
            f"{loaded.name} has no eager attention: {error}",
            "attention that hands out its patterns.",
            "leave attention and heads out of --analyses.",
        ) from error
