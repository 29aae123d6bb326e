"""Train what a part of the grid lacks, compare it, and keep what was found.

    DIR/saes/NAME/       an SAE each, as bitlens train-sae writes it
    DIR/results.json     every number of every configuration, and what is said of them
    DIR/report.html      the page

Configuration by configuration, each file whole or absent: the same command goes on where it
stopped, and what was run at different times stands together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.geometry import debiased_cka
from bitlens.config.sae_study import Configuration, SaeStudy, configurations
from bitlens.data.corpus import Corpus
from bitlens.data.splits import nested
from bitlens.engine.gram import Gram
from bitlens.engine.runs import REFERENCE
from bitlens.errors import CapacityError
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.writing import alone, write
from bitlens.results.stats.intervals import student
from bitlens.results.stats.replicates import assign, leave_one_out
from bitlens.sae.formats.load import load_sae
from bitlens.sae.sae import Sae
from bitlens.sae.training.trainer import LOOKS, Job
from bitlens.seeds import generator
from bitlens.workflows.engines import PlannedTraining
from bitlens.workflows.folders import refuse_foreign
from bitlens.workflows.given import NOTHING, Given
from bitlens.workflows.sae_study.measures import aligned, frozen, plain
from bitlens.workflows.sae_study.results import RESULTS, Results
from bitlens.workflows.sae_study.show import PAGE, page_of, sentences
from bitlens.workflows.session import Log
from bitlens.workflows.train_sae.dataset import ActivationDataset, DatasetBuilder, DatasetSpec
from bitlens.workflows.train_sae.run import (
    RECORD,
    job_of,
    keep,
    read_record,
    recorded,
    refuse_others,
)

SAES = "saes"
STEPS_A_LOOK = 100
"""A look at the held-out positions reads as many as four steps learn from."""
CKA_POSITIONS = 2048


def run(study: SaeStudy, only: Sequence[str], out: Path, log: Log, given: Given = NOTHING) -> Path:
    """Train and compare a part of the grid; the path of the page, which shows all there is.
    `given`: what trains.

    BitlensError for what cannot be trained, and for a folder that holds anything else.
    """
    axes = study.part(only)
    own = {SAES, RESULTS, PAGE}
    begun = "a part of this study was written to"
    refuse_foreign(out, "this study", begun, lambda path: path.name in own)
    with alone(out):
        return _run(_StudyRun(study, axes, out, log, given))


def _run(work: "_StudyRun") -> Path:
    axes, out, log = work.axes, work.out, work.log
    results = Results.open(out / RESULTS, work.about)
    work.refuse_others()
    results.cka |= work.cka(set(axes["twin"]) - set(results.cka))
    wanted = configurations(axes)
    for tokens in axes["tokens"]:
        for group in work.groups([c for c in wanted if c.tokens == tokens]):
            work.train(tokens, group)
            for configuration in group:
                for twin in axes["twin"]:
                    work.measure(results, configuration, twin)
        work.forget()
    results.write()
    write(out / PAGE, page_of(results.content).encode())
    for sentence in sentences(results.content):
        log(f"- {sentence}")
    return out / PAGE


class _StudyRun:
    """A model, its documents, and the SAEs of one folder; everything is read when it is needed."""

    def __init__(
        self,
        study: SaeStudy,
        axes: Mapping[str, Sequence[Any]],
        out: Path,
        log: Log,
        given: Given = NOTHING,
    ) -> None:
        self.study, self.axes, self.out, self.log = study, axes, out, log
        models = [REFERENCE, *axes["twin"]]
        whole = DatasetBuilder.open(study.study, models, study.train.site, log, given)
        sizes = axes["tokens"]
        self.held, learnt = nested(whole.session.corpus, study.train.held_out, sizes)
        self.builder = replace(whole, held=self.held)
        self.learnt: dict[int, Corpus] = dict(zip(sizes, learnt, strict=True))
        self._specs: dict[int, DatasetSpec] = {}
        self._dataset: ActivationDataset | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What all SAEs of a folder have in common, and two parts of it may not differ in."""
        session, train = self.builder.session, self.study.train
        return {
            "model": session.loaded.name,
            "weights": session.loaded.fingerprint,
            "text": self.held.name,
            "held out": {"documents": self.held.n_documents, "sha256": self.held.token_hash},
            "width": session.layout.width,
            "site": self.builder.site,
            "penalty": train.penalty,
            "architecture": train.architecture,
            "rate": train.rate,
            "schedule": train.schedule,
            "positions": self.study.study.positions,
        }

    def refuse_others(self) -> None:
        """BitlensError for an SAE of the folder that has not in common what all of them have."""
        made_by = self.builder.made_by
        for file in sorted((self.out / SAES).glob(f"*/{RECORD}")):
            found = read_record(file.parent)["made by"]
            wanted = made_by.get(found["of"], self.builder.shared)
            there = {name: found[name] for name in found if name in wanted}
            refuse_others(file.parent, there, wanted)

    @cached_property
    def held_out(self) -> dict[str, Tensor]:
        """By model, its activations on the documents that are measured on, `[positions, width]`."""
        return self.builder.rows(self.held)

    def cka(self, twins: set[str]) -> dict[str, dict[str, float | None]]:
        """Debiased CKA of the activations themselves, of the reference and of each twin, and its
        value where the twin's positions are others'."""
        if not twins:
            return {}
        batches = self.builder.plan(self.held).batches
        document = torch.cat([batch.document[batch.index] for batch in batches]).cpu().numpy()
        chosen = generator(0, "cka").permutation(len(document))[:CKA_POSITIONS]
        shard = _shards(self.held.unit[document[chosen]])
        weights = leave_one_out(np.ones(shard.max() + 1, dtype=bool))

        found = {}
        of = {name: rows[torch.from_numpy(chosen)] for name, rows in self.held_out.items()}
        reference = Gram.of(of[REFERENCE], shard)
        for twin in sorted(twins):
            value, chance = (
                debiased_cka(reference, Gram.of(rows, shard), weights)
                for rows in (of[twin], of[twin].roll(len(chosen) // 2, dims=0))
            )
            found[twin] = _interval(value) | {
                "chance": None if chance is None else float(chance[0])
            }
        return found

    def groups(self, wanted: Sequence[Configuration]) -> list[list[Configuration]]:
        """What is trained in one pass: a configuration where activations are in memory, or nothing
        is to be trained; else all of them, each of one epoch."""
        if not any(self._missing(wanted)) or not self._spec_of(wanted[0].tokens).streamed:
            return [[configuration] for configuration in wanted]
        if any(configuration.epochs > 1 for configuration in wanted):
            raise CapacityError(
                f"The activations of {wanted[0].tokens:,} tokens do not fit into memory.",
                "less, where they are learnt from more than once.",
                "--only epochs=1, fewer tokens, or more memory in the study.",
            )
        return [list(wanted)]

    def train(self, tokens: int, group: Sequence[Configuration]) -> None:
        """Every SAE of these configurations that is not there yet."""
        missing = self._missing(group)
        if not missing:
            return
        dataset = self._dataset_of(tokens)
        self.log(
            f"{count(len(missing), 'SAE')}: {', '.join(map(_said, group))}, of which "
            f"{count(dataset.positions, 'position')} count."
        )
        looks = max(1, min(LOOKS, missing[0].config.steps // STEPS_A_LOOK))
        planned = PlannedTraining(
            source=dataset.source, held_out=dataset.held_out, jobs=missing, looks=looks
        )
        for trained in self.builder.session.given.engine.trained(planned, self.log):
            keep(trained, dataset.held_out[trained.job.model], dataset.positions)

    def measure(self, results: Results, configuration: Configuration, twin: str) -> None:
        """Compare what is there of a configuration, unless it was compared before."""
        reference, other = (self._there(configuration, name) for name in (REFERENCE, twin))
        prints = [[sae.fingerprint for sae in saes.values()] for saes in (reference, other)]
        if results.known(configuration, twin, prints):
            return
        records = {
            name: {str(seed): _measured(self._folder(configuration, name, seed)) for seed in s}
            for name, s in ((REFERENCE, reference), (twin, other))
        }
        here, there = self.held_out[REFERENCE], self.held_out[twin]
        results.put(
            {
                **asdict(configuration),
                "twin": twin,
                "latents": next(iter(reference.values())).latents,
                "fingerprints": prints,
                "saes": records,
                "frozen": {
                    str(seed): plain(frozen(sae.to(here.device), here, there))
                    for seed, sae in reference.items()
                },
                "aligned": plain(aligned(reference, other)),
            }
        )
        results.keep()

    def forget(self) -> None:
        """The activations of a data size."""
        self._dataset = None

    def _missing(self, wanted: Sequence[Configuration]) -> list[Job]:
        """BitlensError where another SAE is in the place of one of these."""
        jobs = [
            self._job(configuration, model, seed)
            for configuration in wanted
            for model in (REFERENCE, *self.axes["twin"])
            for seed in self.axes["seed"]
        ]
        return [job for job in jobs if recorded(job) is None]

    def _there(self, configuration: Configuration, model: str) -> dict[int, Sae]:
        """By seed, whatever part they were trained in."""
        jobs = {s: self._job(configuration, model, s) for s in self.study.train.seed}
        return {
            seed: load_sae(self._folder(configuration, model, seed))
            for seed, job in jobs.items()
            if recorded(job) is not None
        }

    def _job(self, configuration: Configuration, model: str, seed: int) -> Job:
        spec, epochs = self._spec_of(configuration.tokens), configuration.epochs
        grid = self.study.train.grid([configuration.width], [configuration.penalty], [seed], epochs)
        ((_, config),) = grid.configs(spec.width, spec.sizes)
        folder = self._folder(configuration, model, seed)
        return job_of(spec, model, config, folder=folder, settings={"epochs": epochs})

    def _folder(self, configuration: Configuration, model: str, seed: int) -> Path:
        train = self.study.train
        name = (
            f"{model}.width{configuration.width}.{train.penalty}{configuration.penalty:g}"
            f".epochs{configuration.epochs}.tokens{configuration.tokens}.seed{seed}"
        )
        return inside(inside(self.out, SAES), name)

    def _spec_of(self, tokens: int) -> DatasetSpec:
        if tokens not in self._specs:
            self._specs[tokens] = self.builder.spec(self.learnt[tokens])
        return self._specs[tokens]

    def _dataset_of(self, tokens: int) -> ActivationDataset:
        if self._dataset is None:
            self._dataset = self.builder.dataset(self._spec_of(tokens), self.held_out)
        return self._dataset


def _said(configuration: Configuration) -> str:
    c = configuration
    return f"{c.width} of {c.penalty:g}, epochs {c.epochs}, {c.tokens:,} tokens"


def _shards(document: np.ndarray) -> np.ndarray:
    """`[positions]`: the shard each one's document is in."""
    names, place, sizes = np.unique(document, return_inverse=True, return_counts=True)
    return assign(sizes.tolist(), names.tolist())[place]


def _interval(replicates: np.ndarray | None) -> dict[str, float | None]:
    """The first, and what leaving out shards of documents makes of it."""
    value = None if replicates is None else float(replicates[0])
    if replicates is None or value is None or len(replicates) < 3:
        return {"value": value, "low": None, "high": None}
    low, high = student(value, replicates[1:]).tolist()
    return {"value": value, "low": low, "high": min(high, 1.0)}


def _measured(folder: Path) -> dict[str, Any]:
    """How well an SAE does on the held-out documents."""
    record = read_record(folder)
    return {**record["held out"], "steps": record["steps"], "learnt from": record["positions"]}
