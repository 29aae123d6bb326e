"""The training of SAEs on a model or its twins, into folders that SAELens loads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue
from torch import Tensor

from bitlens.compression import format_spec, parse_spec
from bitlens.config.sae_grid import SaeGrid
from bitlens.config.study import Study
from bitlens.data.splits import split
from bitlens.engine.runs import REFERENCE
from bitlens.errors import InputError, ResultsError
from bitlens.models.sites import hook_of
from bitlens.report.page.parts import Column, Table
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.writing import alone, write
from bitlens.results.json_files import read_json
from bitlens.results.manifest_schema import Content
from bitlens.results.records import to_json
from bitlens.sae.fit import WORST_FVU, Fit, accumulate_fit
from bitlens.sae.formats.load import load_sae, save_firing_rates, save_sae
from bitlens.sae.formats.saelens import CONFIG, SPARSITY, WEIGHTS
from bitlens.sae.training.checkpoint import FILE as CHECKPOINT
from bitlens.sae.training.checkpoint import remove_checkpoint
from bitlens.sae.training.config import SaeTrainingConfig
from bitlens.sae.training.dead_latents import REASONS, diagnose
from bitlens.sae.training.trainer import Job, Trained
from bitlens.workflows.engines import PlannedTraining
from bitlens.workflows.folders import refuse_foreign
from bitlens.workflows.given import NOTHING, Given
from bitlens.workflows.session import Log
from bitlens.workflows.train_sae.dataset import ActivationDataset, DatasetBuilder, DatasetSpec

RECORD = "training.json"
"""Written last: a folder with one is complete."""
FEW_STEPS = 500
"""With fewer an SAE is far from what its settings can give."""


class MadeBy(Content):
    """What decided about an SAE; the rest is compared with what is to decide about one."""

    model_config = ConfigDict(extra="allow")

    of: str
    """The model it learnt from: `reference`, or a twin's text."""
    recipe: dict[str, JsonValue]
    """Its `SaeTrainingConfig`, under the name that such files have."""


class TrainingRecord(Content):
    """What is written beside an SAE."""

    made_by: Annotated[MadeBy, Field(alias="made by")]
    latents: int
    positions: int
    steps: int
    held_out: Annotated[Fit, Field(alias="held out")]
    stopped: Annotated[bool, Field(alias="stopped by held out")]
    dead: dict[str, int]
    looks: tuple[dict[str, float | None], ...]


def train_saes(
    study: Study,
    on: Sequence[str],
    grid: SaeGrid,
    out: Path,
    log: Log,
    given: Given = NOTHING,
) -> Table:
    """Train every SAE of a grid on the model of a study and on the twins that `on` names, write a
    folder each, and show how well they do on documents that were held out. `given`: what trains
    them.

    The same command again goes on where it stopped. BitlensError for what cannot be trained, and
    for a folder that holds anything else.
    """
    names = _models(on)
    single = len(names) * len(grid.configs(1 << 20, [1])) == 1
    _refuse_foreign_files(out, single=single)
    with alone(out):
        builder = DatasetBuilder.open(study, names, grid.site, log, given)
        return _train(builder, grid, out, single=single)


def _train(builder: DatasetBuilder, grid: SaeGrid, out: Path, *, single: bool) -> Table:
    session, log = builder.session, builder.session.log
    grid.configs(session.layout.width, [1])
    learnt, held = split(session.corpus, grid.held_out)
    builder = replace(builder, held=held)
    spec = builder.spec(learnt)
    log(
        f"{grid.architecture} SAEs at {spec.site} of {session.loaded.name}: {spec.positions:,} "
        f"positions of {count(learnt.n_documents, 'document')} to learn from, "
        f"{count(held.n_documents, 'document')} held out."
    )
    if spec.streamed and grid.epochs > 1:
        log(
            f"The activations of {spec.positions:,} positions do not fit into memory: they are "
            f"streamed and learnt from once, not {grid.epochs} times (fewer --tokens, or more "
            "--memory, would change that)."
        )
        grid = replace(grid, epochs=1)
    jobs = _jobs(grid, builder.models, spec, out, single=single)
    done = {job.label: finished(job) for job in jobs}
    wanted = [job for job in jobs if done[job.label] is None]
    if wanted and (steps := wanted[0].config.steps) < FEW_STEPS:
        asked = f"{count(steps, 'step')} of {SaeTrainingConfig.batch:,} positions"
        log(f"{asked} are few: more --tokens or --epochs make better SAEs.")
    dataset = builder.dataset(spec)
    planned = PlannedTraining(
        source=dataset.source, held_out=dataset.held_out, jobs=wanted, patience=grid.patience
    )
    made = session.given.engine.trained(planned, log) if wanted else []
    records = {
        trained.job.label: keep(trained, dataset.held_out[trained.job.model], dataset.positions)
        for trained in made
    }
    records |= {label: record for label, record in done.items() if record is not None}
    return _table([(job, records[job.label]) for job in jobs], dataset, grid.patience)


def _models(on: Sequence[str]) -> list[str]:
    """The reference, or twins by their text; the study has refused twins that are named twice."""
    names = [
        name if name == REFERENCE else format_spec(parse_spec(name)) for name in on or [REFERENCE]
    ]
    if names.count(REFERENCE) > 1:
        raise InputError(
            f"--on names {REFERENCE} twice.",
            "the reference once, and twins by their compressions.",
            "leave one out.",
        )
    return names


def _refuse_foreign_files(out: Path, *, single: bool) -> None:
    """A folder that something else wrote is left alone: of a `single` SAE it holds files, of
    several a folder each."""
    own = {RECORD, CHECKPOINT, CONFIG, WEIGHTS, SPARSITY}
    refuse_foreign(
        out,
        "this training",
        "the same command began",
        lambda path: not path.is_dir() and path.name in own if single else path.is_dir(),
    )


def _jobs(
    grid: SaeGrid, models: Sequence[str], spec: DatasetSpec, out: Path, *, single: bool
) -> list[Job]:
    jobs = []
    for name in models:
        for varied, config in grid.configs(spec.width, spec.sizes):
            parts = [name] * (len(models) > 1) + [varied] * bool(varied)
            folder = out if single else inside(out, ".".join(parts))
            settings = {"epochs": grid.epochs, "patience": grid.patience}
            jobs.append(job_of(spec, name, config, folder=folder, settings=settings))
    return jobs


def job_of(
    spec: DatasetSpec,
    model: str,
    config: SaeTrainingConfig,
    *,
    folder: Path,
    settings: Mapping[str, Any],
) -> Job:
    """One SAE on the activations of one model; `settings`: what else decides about it."""
    made_by = {**spec.made_by[model], "recipe": asdict(config), **settings}
    return Job(
        config=config,
        label=folder.resolve().name,
        hook=hook_of(spec.site),
        trained_on=spec.trained_on,
        model=model,
        folder=folder,
        made_by=json.loads(to_json(made_by)),
    )


def finished(job: Job) -> dict[str, Any] | None:
    """The record of an SAE that is complete already, which can be read; BitlensError where it is
    another."""
    record = recorded(job)
    if record is not None and job.folder is not None:
        load_sae(job.folder)
    return record


def recorded(job: Job) -> dict[str, Any] | None:
    """The record of an SAE that is complete, its weights unread; BitlensError where it is
    another."""
    assert job.folder is not None
    if not (job.folder / RECORD).is_file():
        return None
    record = read_record(job.folder)
    refuse_others(job.folder, record["made by"], job.made_by)
    # It may have been killed before it came to this.
    remove_checkpoint(job.folder)
    return record


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an SAE that is complete. BitlensError for a file that is none."""
    again = f"delete {folder}: the SAE is trained anew."
    return read_json(TrainingRecord, folder / RECORD, again)


def refuse_others(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """BitlensError where what made an SAE is not what is to make it, saying what differs."""
    before, now = ({**made, **made.get("recipe", {})} for made in (found, wanted))
    differing = [
        f"{name} {before.get(name)}, not {now.get(name)}"
        for name in sorted(before | now)
        if name != "recipe" and before.get(name) != now.get(name)
    ]
    if differing:
        raise ResultsError(
            f"{folder} holds an SAE that was trained with other settings: {'; '.join(differing)}.",
            "a new folder, or one that the same command began.",
            "another --out.",
        )


def keep(trained: Trained, held: Tensor, positions: int) -> dict[str, Any]:
    """Measure it on held-out rows `[n, width]` and write its folder; its record. `positions`: how
    many it learnt from."""
    job, sae = trained.job, trained.sae
    assert job.folder is not None
    fit = accumulate_fit(sae, held)
    record = {
        "made by": job.made_by,
        "latents": sae.latents,
        "positions": positions,
        "steps": trained.steps,
        "held out": asdict(fit.result()),
        "stopped by held out": bool(job.made_by.get("patience")),
        "dead": diagnose(sae, held, positions),
        "looks": trained.looks,
    }
    save_sae(sae, job.folder)
    save_firing_rates(fit.rates, job.folder)
    write(job.folder / RECORD, f"{to_json(record, indent=1)}\n".encode())
    remove_checkpoint(job.folder)
    return record


def _table(
    found: Sequence[tuple[Job, Mapping[str, Any]]], dataset: ActivationDataset, patience: int
) -> Table:
    rows, reasons = [], set()
    for job, record in found:
        fit, dead = Fit(**record["held out"]), record["dead"]
        reasons |= set(dead)
        rows.append(
            (
                job.label,
                job.model,
                f"{record['latents']:,}",
                "unknown" if fit.fvu is None else f"{fit.fvu:.1%}",
                f"{fit.l0:.1f}",
                f"{fit.alive:.1%}",
                ", ".join(f"{n:,} {reason}" for reason, n in dead.items()),
                f"{record['steps']:,} of {job.config.steps:,}",
            )
        )
    held = next(iter(dataset.held_out.values()))
    lines = [
        f"On {len(held):,} positions of documents that were not learnt from. FVU: share of the "
        "variance left unexplained; L0: latents that fire at a position; alive: share of the "
        "latents that fired at all here."
    ]
    if patience:
        lines.append(
            f"They also chose when training stops and whose weights are kept (--patience {patience}"
            "): these figures are better than those of documents that chose nothing."
        )
    lines += [f"{word}: {REASONS[word]}." for word in REASONS if word in reasons]
    left = {job.label: record["held out"]["fvu"] for job, record in found}
    poor = [label for label, fvu in left.items() if fvu is None or fvu > WORST_FVU]
    if poor:
        lines.append(
            f"{', '.join(poor)}: more than {WORST_FVU:.0%} is left unexplained; audit and repair "
            "refuse such an SAE."
        )
    titles = {"SAE": False, "of": False, "latents": True, "FVU": True, "L0": True, "alive": True}
    titles |= {"not alive, and why": False, "steps": False}
    columns = tuple(Column(title, numeric) for title, numeric in titles.items())
    return Table(columns, tuple(rows), "\n".join(lines))
