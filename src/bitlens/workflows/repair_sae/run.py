"""The repair of an SAE for a twin of a folder of results, and what it is worth there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bitlens.compression.calibration.documents import about_overlap
from bitlens.compression.requests import TwinRequest
from bitlens.config.study import DEFAULT, Study
from bitlens.data.corpus import Corpus
from bitlens.demo import calibration_path, evaluation_path
from bitlens.engine.plan import Plan
from bitlens.engine.reader import ActivationReader
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.errors import DataError, ResultsError
from bitlens.report.page.parts import Table
from bitlens.results.files.writing import new_folder, reserved, write
from bitlens.results.json_files import read_json
from bitlens.results.records import to_json
from bitlens.results.store import Store
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.placement import fit_saes
from bitlens.sae.repair.activations import PairedActivations
from bitlens.sae.repair.repair import Repaired, repair
from bitlens.workflows.repair_sae.audited import AuditedTwin
from bitlens.workflows.repair_sae.measured import estimates, fates, measured, median_readable
from bitlens.workflows.repair_sae.shown import Repair, RepairRecord, record, table
from bitlens.workflows.session import Log, Session, calibration_texts

RECORD = "repair.json"
ANOTHER = "another --out."
HELD_OUT = 5
"""One calibration document in so many chooses and is not learnt from."""
Done = Callable[[Mapping[str, Any]], bool]
"""Whether the repair that these facts describe is there already."""


@dataclass(frozen=True, kw_only=True)
class RepairRequest:
    """Which SAE is to be repaired for which twin, and how."""

    results: Path
    """A folder that an audit of the twin wrote."""
    twin: str
    """The text of its compression."""
    sae: str
    """A folder with an SAE of the reference, or a release's."""
    calibration: str | None = None
    """Documents to learn from; None: those of the audit."""
    calibration_tokens: int = DEFAULT["calibration_tokens"]
    finetune: bool = False
    """Whether the encoder is trained too."""
    trust_remote_code: bool = False

    def learning(self, study: Study) -> Study:
        """A study with the documents that the repair learns from, whatever its twin is made by.
        BitlensError where there are none."""
        calibration = self.calibration or study.calibration
        if calibration is None and study.texts == str(evaluation_path()):
            calibration = str(calibration_path())
        if calibration is None:
            raise DataError(
                "No calibration documents are named.",
                "documents like those that were evaluated, apart from them.",
                "--calibration FILE",
            )
        other = {"calibration": calibration, "calibration_tokens": self.calibration_tokens}
        return Study.model_validate({**study.model_dump(), **other})


def repair_run(request: RepairRequest, out: Path, log: Log) -> Table:
    """Repair an SAE for a twin of a complete store, write it and its record to the new folder
    `out`, and show what it is worth. BitlensError for what cannot be repaired or measured. A
    repair that is there is shown again."""
    store = Store.open(request.results)
    audited = AuditedTwin.of(store, request.twin, trust_remote_code=request.trust_remote_code)
    learning = request.learning(audited.study)
    if (out / RECORD).is_file():
        there = read_json(RepairRecord, out / RECORD, ANOTHER)
        with reserved(out, "--out"):
            same = partial(_require, there=there, out=out)
            _repaired(request, audited, learning, log, done=same)
        log(f"{out} holds this repair already; nothing to compute.")
        return table(there)
    with new_folder(out, "--out") as aside:
        found = _repaired(request, audited, learning, log)
        assert found is not None
        made = record(found)
        save_sae(found.made.best.sae, aside)
        write(aside / RECORD, f"{to_json(made, indent=1)}\n".encode())
    return table(made)


def _require(facts: Mapping[str, Any], there: Mapping[str, Any], out: Path) -> bool:
    """True; BitlensError where a folder holds another repair than the one of these facts."""
    differing = [
        f"{name} {there[name]}, not {now}" for name, now in facts.items() if there[name] != now
    ]
    if differing:
        raise ResultsError(
            f"{out} holds a repair of something else: {'; '.join(differing)}.",
            "a new or empty folder, or the same repair.",
            ANOTHER,
        )
    load_sae(out)
    return True


def _repaired(
    request: RepairRequest,
    audited: AuditedTwin,
    learning: Study,
    log: Log,
    *,
    done: Done = lambda _: False,
) -> Repair | None:
    """The repair, measured; None where it is `done`."""
    session = Session.open(audited.study, log)
    audited.check_model(session.loaded)
    audited.check_texts(session.corpus)
    builder = session.twin_builder(apart_from=session.corpus)
    (wanted,) = session.requests()
    # To calibrate takes long: a checkpoint, or an SAE, that will not do is found before.
    builder.open(wanted.compression)
    plan = session.plan()
    placed = _placed(request.sae, session, plan)
    built = builder.build([wanted])
    twin, origin = built.twins[wanted.text], built.identity[wanted.text]
    audited.check_twin(origin)
    learnt = _learnt(session, learning, wanted)
    facts = {
        "model": session.loaded.name,
        "reference": session.loaded.fingerprint,
        "twin": wanted.text,
        "origin": dict(origin),
        "sae": {"label": placed.sae.label, "fingerprint": placed.sae.fingerprint},
        "site": placed.site,
        "seed": session.seed,
        "calibration": _described(learnt),
        "evaluation": _described(session.corpus),
        "finetune": request.finetune,
    }
    if done(facts):
        return None
    both: dict[str, SweptModel] = {REFERENCE: Reference(session.layout), "twin": twin}
    on = _activations(session.reader(placed.site, both), learnt, session.plan(learnt))
    log(f"Learning from {int((~on.held_out).sum()):,} positions of {learnt.name}.")
    made = _learn(placed, on, session.seed, finetune=request.finetune)
    found = measured(session, twin, placed, made, plan=plan)
    lost = fates(found, made)
    return Repair(
        made=made,
        numbers=estimates(found, session.study),
        lost=lost,
        readable=median_readable(made, lost),
        facts=facts,
    )


def _learnt(session: Session, learning: Study, wanted: TwinRequest) -> Corpus:
    """The documents that the repair learns from. BitlensError where the evaluation has them too."""
    texts = calibration_texts(learning, session.context)
    learnt = texts.read(wanted.compression, session.loaded, session.layout, session.seed)
    allowed = "overlap" in session.study.allow
    session.log(f"{about_overlap(learnt, session.corpus, allowed).detail}.")
    return learnt


def _placed(source: str, session: Session, plan: Plan) -> PlacedSae:
    """The SAE in its place in the reference. BitlensError for one that does not fit."""
    (placed,) = fit_saes(
        [source],
        session.layout,
        plan,
        session.corpus,
        name=session.loaded.name,
        allow_poor="poor-fit" in session.study.allow,
    )
    session.log(placed.said)
    return placed


def _activations(reader: ActivationReader, corpus: Corpus, plan: Plan) -> PairedActivations:
    """Both models at every counted position of the calibration documents; copies are held out
    together."""
    rows = reader.rows(plan.batches)
    document = torch.cat([batch.document[batch.index] for batch in plan.batches])
    unit = torch.from_numpy(corpus.unit).to(document.device)[document]
    return PairedActivations(rows[REFERENCE], rows["twin"], unit % HELD_OUT == 0)


def _learn(placed: PlacedSae, on: PairedActivations, seed: int, *, finetune: bool) -> Repaired:
    with tqdm(desc="fine-tuning", unit=" steps", disable=None if finetune else True) as bar:
        return repair(placed.sae, on, finetune, seed, progress=lambda _: bar.update())


def _described(corpus: Corpus) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "documents": corpus.n_documents,
        "tokens": corpus.n_tokens,
        "sha256": corpus.token_hash,
    }
