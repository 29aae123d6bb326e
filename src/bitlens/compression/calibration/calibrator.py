"""Calibration of the compressions of one model and seed: each once, on documents read once."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bitlens.compression import format_spec
from bitlens.compression.calibration.cache import WeightCache, cache_folder
from bitlens.compression.calibration.cache_key import made_by
from bitlens.compression.calibration.documents import (
    CalibrationTexts,
    about_overlap,
    about_size,
)
from bitlens.compression.calibration.pipeline import CalibrationJob, calibrate, work
from bitlens.compression.compression import Compression
from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, attention
from bitlens.progress import ProgressBar
from bitlens.results.counts import count
from bitlens.results.records import Check


@dataclass(eq=False, kw_only=True)
class Calibrator:
    """Calibrates what is asked for, unless the cache on disk has it already."""

    loaded: Loaded
    layout: Layout
    texts: CalibrationTexts
    apart_from: Corpus | None
    """The evaluation, with which the documents may not overlap; None where nothing is measured."""
    seed: int
    batch_tokens: int
    memory: int
    """Bytes for hidden states."""
    log: Callable[[str], None]
    report: Callable[[Check], None]
    """Is handed every check that is made."""
    corpus: Corpus | None = field(default=None, init=False)
    """The documents; None until something asks for them."""
    _sizes: set[Check] = field(default_factory=set, init=False)
    """Checks of the number of documents that were reported."""
    _jobs: dict[str, CalibrationJob] = field(default_factory=dict, init=False)
    _new: set[str] = field(default_factory=set, init=False)
    """Compressions, as text, that were not in the cache before."""

    @property
    def known(self) -> set[str]:
        """The compressions, as text, that were calibrated or found in the cache."""
        return set(self._jobs)

    def weights(self, text: str) -> WeightCache | None:
        """The matrices of a compression by its text; None where it was not calibrated."""
        job = self._jobs.get(text)
        return None if job is None else job.cache

    def documents(self, asking: Compression) -> Corpus:
        """The documents, read when they are first asked for. BitlensError where none are named,
        where they cannot be read, and where they overlap with the evaluation unallowed."""
        if self.corpus is None:
            corpus = self.texts.read(asking, self.loaded, self.layout, self.seed)
            if self.apart_from is not None:
                allowed = self.texts.allow_overlap
                self.report(about_overlap(corpus, self.apart_from, allowed=allowed))
            self.corpus = corpus
        return self.corpus

    def calibrate(
        self, asked: Mapping[str, tuple[Compression, Sequence[str]]]
    ) -> dict[str, BitlensError]:
        """Calibrate compressions, by their text, each with the names of the matrices it takes;
        by text, those that cannot be, and why."""
        if not asked:
            return {}
        try:
            corpus = self.documents(next(iter(asked.values()))[0])
        except BitlensError as error:
            return dict.fromkeys(asked, error)
        self._check_size(corpus, {name for _, names in asked.values() for name in names})
        jobs = calibration_jobs(self.layout, self.loaded, asked.values(), corpus, seed=self.seed)
        self._jobs |= jobs
        self._new |= {text for text, job in jobs.items() if not job.cache.complete}
        # What is made must not depend on which analyses are asked for besides.
        with attention(self.loaded.model, self.loaded.attention):
            return self._make(jobs, corpus)

    def discard(self, *, keep: Collection[str]) -> None:
        """Remove what was not in the cache before, apart from the compressions of these texts."""
        for text in (self._new & self._jobs.keys()) - set(keep):
            self._jobs.pop(text).cache.remove()

    def _check_size(self, corpus: Corpus, names: Collection[str]) -> None:
        size = about_size(corpus, self.layout, names)
        if size not in self._sizes:
            self._sizes.add(size)
            self.report(size)
            if not size.passed:
                self.log(f"Few documents to calibrate on: {size.detail}.")

    def _make(self, jobs: Mapping[str, CalibrationJob], corpus: Corpus) -> dict[str, BitlensError]:
        """Calibrate what is not in the cache; those that failed, and why."""
        for text, job in jobs.items():
            for part, why in job.cache.faults.items():
                self.log(f"{text}: {part} of {job.cache.folder} is made again: {why}.")
        missing = {text: job for text, job in jobs.items() if not job.cache.complete}
        if not missing:
            return {}
        self.log(
            f"Calibrating {', '.join(missing)} on {count(corpus.n_documents, 'document')} of "
            f"{corpus.name}, {corpus.n_tokens:,} tokens."
        )
        total = work(self.layout, missing, corpus)
        with ProgressBar("calibration", "tokens through a block", total) as bar:
            return calibrate(
                self.layout,
                missing,
                corpus,
                batch_tokens=self.batch_tokens,
                seed=self.seed,
                memory=self.memory,
                progress=bar.add,
            )


def calibration_jobs(
    layout: Layout,
    loaded: Loaded,
    compressions: Iterable[tuple[Compression, Sequence[str]]],
    corpus: Corpus,
    *,
    seed: int,
) -> dict[str, CalibrationJob]:
    """What is to be calibrated, by its text, each with the folder that is its own in the cache.
    `compressions` come with the names of the matrices they take."""
    jobs = {}
    shapes = {example.name: tuple(example.weight.shape) for example in layout.examples()}
    for compression, targets in compressions:
        made = made_by(
            layout,
            loaded,
            seed,
            compression=compression,
            targets=sorted(targets),
            calibration=corpus.token_hash,
        )
        record = {**made, "model": loaded.name, "calibration name": corpus.name}
        cache = WeightCache(cache_folder(made), shapes)
        job = CalibrationJob(compression, frozenset(targets), cache, record)
        jobs[format_spec(compression)] = job
    return jobs
