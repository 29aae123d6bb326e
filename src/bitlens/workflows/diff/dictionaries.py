"""Dictionaries of differences: a TopK SAE for each, all learnt in one pass, each in a folder of its
own from which a run that was stopped goes on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bitlens.config.sae_grid import SaeGrid
from bitlens.models.sites import hook_of
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.records import to_json
from bitlens.sae.formats.load import load_sae
from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.training.config import SaeTrainingConfig
from bitlens.sae.training.trainer import LOOKS, InMemory, Job
from bitlens.workflows.engines import PlannedTraining
from bitlens.workflows.session import Session
from bitlens.workflows.train_sae.run import finished, keep

Whose = tuple[str, str, str]
"""A site, a twin, and whose difference: its own, that of noise, or random."""
STEPS_A_LOOK = 25
"""A look at the held-out positions takes as long as several steps."""


@dataclass(frozen=True, kw_only=True)
class DictionarySize:
    """How large dictionaries are and how long they learn."""

    width: str
    """Times the model's width, or latents."""
    k: int
    epochs: int

    def config(self, width: int, positions: int, seed: int) -> SaeTrainingConfig:
        """Of a TopK SAE, as `train-sae` trains it. BitlensError for what cannot be trained."""
        grid = SaeGrid(
            site="resid", widths=(self.width,), ks=(self.k,), seeds=(seed,), epochs=self.epochs
        )
        ((_, config),) = grid.configs(width, [positions])
        return config


@dataclass(frozen=True, eq=False, kw_only=True)
class Lessons:
    """What dictionaries learn from and are measured on, and what decides about it."""

    session: Session
    config: SaeTrainingConfig
    learnt: Mapping[Whose, Tensor]
    held: Mapping[Whose, Tensor]
    made_by: Mapping[Whose, Mapping[str, Any]]

    def dictionaries(self, out: Path) -> dict[Whose, Sae]:
        """By difference, its dictionary: what is there already, and what is learnt now.
        BitlensError for a folder that other settings began."""
        jobs = {whose: self._job(whose, out) for whose in self.learnt}
        missing = [job for job in jobs.values() if finished(job) is None]
        if missing:
            session, positions = self.session, len(next(iter(self.learnt.values())))
            session.log(
                f"{count(len(missing), 'SAE')} of differences to learn, of "
                f"{self.config.latents:,} latents: {count(self.config.steps, 'step')} of "
                f"{self.config.batch:,} positions."
            )
            known = {_name(whose): rows for whose, rows in self.held.items()}
            planned = PlannedTraining(
                source=InMemory({_name(whose): rows for whose, rows in self.learnt.items()}),
                held_out=known,
                jobs=missing,
                looks=max(1, min(LOOKS, self.config.steps // STEPS_A_LOOK)),
            )
            for trained in session.given.engine.trained(planned, session.log):
                keep(trained, known[trained.job.model], positions)
        device = self.session.layout.device
        found = {}
        for whose, job in jobs.items():
            assert job.folder is not None
            found[whose] = load_sae(job.folder).to(device)
        return found

    def _job(self, whose: Whose, out: Path) -> Job:
        place, twin, of = whose
        session = self.session
        folder = inside(out, _name(whose))
        made_by = {**self.made_by[whose], "recipe": asdict(self.config)}
        return Job(
            config=self.config,
            label=folder.name,
            hook=hook_of(place),
            trained_on=TrainedOn(
                # So that nobody takes it for an SAE of the model's own activations.
                model=f"{session.loaded.name}: what {twin} changes ({of})",
                context=session.corpus.context,
                prepend_bos=session.corpus.bos,
                dtype=str(session.layout.compute).removeprefix("torch."),
            ),
            model=_name(whose),
            folder=folder,
            made_by=json.loads(to_json(made_by)),
        )


def _name(whose: Whose) -> str:
    return ".".join(whose)
