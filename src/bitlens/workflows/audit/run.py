"""The run of a study: model by model what is missing, then the tables over all of it."""

import json
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from bitlens.compression.twin_builder import OnFailure
from bitlens.config.presence import refuse_absent_texts
from bitlens.config.study import DEFAULT, Study
from bitlens.engine.memory import bound_heap
from bitlens.errors import (
    BitlensError,
    CapacityError,
    InputError,
    ResultsError,
    failed,
    out_of_memory,
)
from bitlens.models.source import ModelSource, name_of
from bitlens.results.benchmarks.estimates import estimate_rows
from bitlens.results.categories import categories
from bitlens.results.estimates import contrasts, estimates
from bitlens.results.records import to_json
from bitlens.results.store import Store
from bitlens.workflows.audit.audit_model import audit_model
from bitlens.workflows.audit.beside import set_beside
from bitlens.workflows.audit.manifest import ManifestParts, make_manifest, run_record
from bitlens.workflows.audit.selection import asked_analyses
from bitlens.workflows.bench.code import allow_code
from bitlens.workflows.bench.harness import load_tasks
from bitlens.workflows.bench.request import BenchRequest
from bitlens.workflows.bench.run import write_beside
from bitlens.workflows.given import NOTHING, Given
from bitlens.workflows.session import Log, Session, log_unread

CHANGES_NO_DIGIT = {"memory", "confirm_run_unsafe_code"}
LISTS = {"compressions", "controls", "analyses", "tasks", "seeds", "allow", "benchmarks"}
"""Settings that add to what is there when they name more."""


def run(
    study: Study,
    out: Path,
    command: str,
    log: Log = print,
    keep_going: bool = False,
    replace: bool = False,
    given: Given = NOTHING,
) -> Store:
    """Compute what is missing of a study and leave a complete store.

    A store of other settings is refused unless `replace`; one that this study adds to is not.

    Prints through `log` what each sweep will cost before it starts. With `keep_going` a model or
    compression that fails is recorded with its reason and the others go on; without, the error
    is raised. `given`: what the study only names, and the caller holds.
    """
    _refuse_namesakes(study)
    refuse_absent_texts(study)
    log_unread(study, log)
    bound_heap()
    store = Store.create(out)
    with store.alone(), given.lent():
        if store.finished and not replace:
            _refuse_other_settings(study, store)
        on_failure: OnFailure = "record" if keep_going else "raise"
        _run(study, store, command, log, on_failure=on_failure, given=given)
    return store


def _run(
    study: Study,
    store: Store,
    command: str,
    log: Log,
    *,
    on_failure: OnFailure,
    given: Given,
) -> None:
    started, done = time.monotonic(), ManifestParts()
    before = store.manifest() if store.finished else None
    request = BenchRequest.of(study)
    # What a benchmark lacks is said before anything is measured.
    tasks = load_tasks(request) if request.benchmarks else []
    allow_code(tasks, confirmed=request.confirm_run_unsafe_code)
    for source, seed in product(study.models, study.seeds):
        try:
            asked = asked_analyses(study, source, log)
            session = Session.open(
                study, log, source=source, seed=seed, eager=asked.eager, given=given
            )
            set_beside(session)
            first = tasks if seed == study.seeds[0] else []
            audit_model(session, asked, store, done, tasks=first, on_failure=on_failure)
        except Exception as error:
            refused = _no_memory(source) if out_of_memory(error) else error
            # One model that cannot be audited, for whatever reason, stops no other.
            if on_failure == "raise" and refused is error:
                raise
            if on_failure == "raise":
                raise refused from error
            reason = str(refused) if isinstance(refused, BitlensError) else repr(error)
            done.add_failure(study, source, seed, reason)
    if not any(cell["status"] == "done" for cell in done.cells):
        reasons = sorted({cell["reason"] for cell in done.cells})
        raise failed("Every cell", reasons[0])
    manifest = make_manifest(study, command, done)
    for changed in _changed(before, manifest) if before else ():
        log(f"{changed} other than when {store.root} was written: its numbers are new.")
    store.write_table("coverage", done.coverage)
    benched = write_beside(done.benches, request, store.root, command, log)
    rows: list[Any] = list(estimates(store, manifest, study.interval))
    if benched is not None:
        bits = {(twin["model"], twin["compression"]): twin["bits"] for twin in done.twins}
        rows += estimate_rows(benched, bits, study.seeds[0])
    store.write_table("estimates", rows)
    _write_contrasts(store, manifest, study)
    store.write_run(run_record(time.monotonic() - started))
    store.write_manifest(manifest)
    store.clear_partial()


def _write_contrasts(store: Store, manifest: Mapping[str, Any], study: Study) -> None:
    """How far twins are from controls, and kinds of text from all others."""
    store.write_table("contrasts", contrasts(store, manifest, study.interval))
    # What a run of other settings left is replaced, by nothing where no kinds are told apart now.
    if study.categories or store.read_table("categories").num_rows:
        store.write_table("categories", categories(store, manifest, study.interval))


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Which weights and texts are not what they were, under the same names and settings."""
    weights = {model["name"]: model["fingerprint"] for model in before["models"]}
    for model in now["models"]:
        if weights.get(model["name"], model["fingerprint"]) != model["fingerprint"]:
            yield f"The weights of {model['name']} are"
    if before["settings"]["text"] != now["settings"]["text"]:
        return
    texts = {(of["model"], of["seed"]): of["token_hash"] for of in before["corpora"]}
    for of in now["corpora"]:
        if texts.get((of["model"], of["seed"]), of["token_hash"]) != of["token_hash"]:
            yield f"The tokens that {of['model']} reads are"


def _refuse_other_settings(study: Study, store: Store) -> None:
    """What is there would be replaced, report and all. What only grows is kept."""
    # A store may be older than a setting.
    before = {**DEFAULT, **store.manifest()["settings"]}
    now = json.loads(to_json(study.to_dict()))
    differing = [
        said
        for name in sorted(now)
        # What a setting was that was not known yet is for the cells to say.
        if name in before
        and name not in CHANGES_NO_DIGIT
        and not _goes_on(name, before[name], now[name])
        for said in _differences(name, before[name], now[name])
    ]
    if differing:
        raise ResultsError(
            f"{store.root} holds results of other settings: {'; '.join(differing)}.",
            "the settings it was begun with, and more of the same if you like.",
            "another --out, or --replace, which keeps of it only what serves these settings.",
        )


def _goes_on(name: str, before: Any, now: Any) -> bool:
    """Is everything that was there still asked for?"""
    if name == "models":
        return all(any(_same_model(one, other) for other in now) for one in before)
    return before == now or (name in LISTS and all(one in now for one in before))


def _differences(name: str, before: Any, now: Any) -> list[str]:
    """What was asked for before, and is now; of a model that is in both, which of its settings."""
    if name != "models":
        return [f"{name} {to_json(before)}, not {to_json(now)}"]
    old, new = ({model["name"]: model for model in models} for models in (before, now))
    if not old.keys() <= new.keys():
        return [f"models {', '.join(old)}, not {', '.join(new)}"]
    return [
        f"{key} of {model} {to_json(of[key])}, not {to_json(new[model][key])}"
        for model, of in old.items()
        for key in sorted(of)
        if of[key] != new[model][key]
    ]


def _same_model(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return {**before, "saes": now["saes"]} == now and set(before["saes"]) <= set(now["saes"])


def _refuse_namesakes(study: Study) -> None:
    """Rows are told apart by their model's name."""
    names = [name_of(source) for source in study.models]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{names.count(name)} models of this study are called {name}.",
                "models with different names (of a folder, its last part counts).",
                "a study for each, with an --out of its own.",
            )


def _no_memory(source: ModelSource) -> BitlensError:
    return CapacityError(
        f"{source.name} ran out of memory.",
        "room for the weights, one block for every twin and the hidden states of a wave.",
        "less --memory (more waves, blocks from disk), fewer compressions or a shorter --context.",
    )
