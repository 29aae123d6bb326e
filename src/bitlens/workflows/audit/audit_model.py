"""The audit of one model with one seed: build its twins, measure the missing cells, check."""

from collections.abc import Sequence
from dataclasses import replace

from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin_builder import BuiltTwins, OnFailure, TwinBuilder
from bitlens.engine.plan import Plan
from bitlens.errors import BitlensError, failed
from bitlens.results.records import Check
from bitlens.results.store import Store
from bitlens.workflows.audit.beside import about_pairs
from bitlens.workflows.audit.compute_floor import about_floor, announced, floors
from bitlens.workflows.audit.early_stop import read_until
from bitlens.workflows.audit.fewer_controls import (
    CellPart,
    about_controls,
    cell_parts,
    joined,
)
from bitlens.workflows.audit.manifest import ManifestParts, ModelAudit
from bitlens.workflows.audit.measure import CellSweep, required_memory
from bitlens.workflows.audit.selection import AskedAnalyses, Selection, select_analyses
from bitlens.workflows.audit.validity import (
    about_cache,
    about_change,
    about_layout,
    check_measurement,
)
from bitlens.workflows.bench.harness import HarnessTask
from bitlens.workflows.bench.run import Asking
from bitlens.workflows.session import Session
from bitlens.workflows.text_check import check_text


def audit_model(
    session: Session,
    asked: AskedAnalyses,
    store: Store,
    done: ManifestParts,
    *,
    tasks: Sequence[HarnessTask] = (),
    on_failure: OnFailure = "raise",
) -> None:
    """Compute what the store lacks of one model and seed, and add to the parts of the manifest how
    everything ended. `tasks`: benchmarks that it is asked besides. BitlensError for what cannot be
    read, built or measured; of twins it is recorded instead where `on_failure` says so."""
    session, plan, checks = _begun(session, store)
    builder = session.twin_builder(apart_from=session.corpus, on_failure=on_failure)
    selection = select_analyses(session, asked, plan, builder)
    requests, built = _build_twins(session, selection, builder)
    parts = cell_parts(session, selection, requests, built)
    if not any(part.cells.missing(store) for part in parts):
        session.log(f"{session.loaded.name}: every cell is there already; nothing to compute.")
    measuring, seconds_per_token = check_measurement(session)
    parts = [_measured(part, built, store, seconds_per_token, on_failure) for part in parts]
    fitting = [placed.check for placed in selection.saes]
    audited = ModelAudit(
        session=session,
        selection=selection,
        requests=requests,
        built=built,
        cells=joined(parts, requests),
        checks=[*checks, *fitting, *built.checks, *measuring],
        about_controls=about_controls(parts),
    )
    audited = _with_twins_checked(audited, store, on_failure)
    done.add(_with_benchmarks(audited, tasks, store, done, on_failure))


def _begun(session: Session, store: Store) -> tuple[Session, Plan, list[Check]]:
    """The session on the documents that are read, what is read of them, and what is to be known of
    weights, texts and layout. BitlensError for texts that the model cannot read."""
    plan = session.plan()
    checks = [
        Check("the reference's weights", passed=True, detail=note) for note in session.loaded.notes
    ]
    checks += [check_text(session, plan), about_layout()]
    if session.study.until:
        session = read_until(session, store)
        plan = session.plan()
    if session.layout.paired:
        checks.append(about_pairs(session.layout))
        session.log(f"Twins beside their reference: {checks[-1].detail}.")
    return session, plan, checks


def _measured(
    part: CellPart,
    built: BuiltTwins,
    store: Store,
    seconds_per_token: float | None,
    on_failure: OnFailure,
) -> CellPart:
    """A part after what is missing was measured. BitlensError for a twin that failed, unless
    failures are recorded: only then, so that what the others have is kept for the next try."""
    missing = part.cells.missing(store)
    if not missing:
        return part
    requests = [request for request in part.requests if request.text in built.twins]
    sweep = CellSweep(
        session=part.session,
        selection=part.selection,
        requests=requests,
        twins={request.text: built.twins[request.text] for request in requests},
        cells=part.cells,
        missing=missing,
        seconds_per_token=seconds_per_token,
    )
    failures = sweep.run(store)
    if failures and on_failure == "raise":
        first = next(iter(failures))
        raise failed(first, failures[first])
    return replace(part, cells=part.cells.without(failures))


def _with_twins_checked(audited: ModelAudit, store: Store, on_failure: OnFailure) -> ModelAudit:
    """What was audited with a check of every twin that has cells; it loses them where it should
    differ from its reference and does not. BitlensError instead, unless failures are recorded."""
    checks, cells = [*audited.checks], audited.cells
    for request in audited.requests:
        if request.text in cells.lost:
            continue
        try:
            checks += _about_twin(audited, request, store)
        except BitlensError as error:
            if on_failure == "raise":
                raise
            cells = cells.without({request.text: str(error)})
    return replace(audited, cells=cells, checks=checks)


def _with_benchmarks(
    audited: ModelAudit,
    tasks: Sequence[HarnessTask],
    store: Store,
    done: ManifestParts,
    on_failure: OnFailure,
) -> ModelAudit:
    """What was audited, after the model and every twin that did not fail were asked; why not, where
    they could not be. BitlensError instead, unless failures are recorded."""
    lost = audited.cells.lost
    if not tasks:
        return audited
    requests = [r for r in audited.requests if r.text not in lost]
    try:
        asking = Asking(
            session=audited.session, requests=requests, built=audited.built, tasks=tasks
        )
        done.benches.append(asking.result_beside(store.root))
    except BitlensError as error:
        if on_failure == "raise":
            raise
        reason = Check("benchmarks", passed=False, detail=error.found)
        return replace(audited, checks=[*audited.checks, reason])
    return audited


def _build_twins(
    session: Session, selection: Selection, builder: TwinBuilder
) -> tuple[list[TwinRequest], BuiltTwins]:
    """The twins that the study asks for, its controls and the compute floors among them. What is
    allowed of memory must be enough for all of it, before anything is compressed."""
    requests = session.requests()
    comparisons = selection.comparisons([request.text for request in requests])
    if session.study.memory and comparisons:
        required_memory(session, selection, comparisons)
    built = builder.build(requests)
    own = {
        text: twin.arithmetic for text, twin in built.twins.items() if twin.arithmetic is not None
    }
    floored = floors(requests, own, session.layout.compute)
    for line in announced(floored, session.loaded.name, session.layout.compute):
        session.log(line)
    return [*requests, *floored], built | builder.build(floored)


def _about_twin(audited: ModelAudit, request: TwinRequest, store: Store) -> list[Check]:
    """Does a twin differ from its reference, or, of a compute floor, by how much? BitlensError for
    one that does not and should."""
    session = audited.session
    stored, compute = session.layout.dtype, session.layout.compute
    if request.floor:
        cell = audited.cells.of_twin(request.text)
        values = store.read_cell(cell.id)[1] if cell and store.has(cell) else []
        return [about_floor(request, stored, compute, values)]
    twin = audited.built.twins[request.text]
    kept = request.compression.cache
    checks = [] if kept is None else [about_cache(request.text, kept, session.layout)]
    if kept is not None and not request.compression.parts:
        return checks
    # Twins whose cells were all there already have not met their weights yet.
    twin.complete_coverage()
    allowed = request.control or "identical" in session.study.allow
    changed = about_change(request, twin.coverage(), allowed=allowed, compute=compute)
    return [*checks, changed]
