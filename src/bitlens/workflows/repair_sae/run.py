"""Which model, texts and twin is an SAE repaired for? Those of a folder of results."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bitlens.compression.calibration.documents import about_overlap
from bitlens.compression.requests import requested_twins
from bitlens.compression.twin import Twin
from bitlens.compression.twin_builder import BATCH_TOKENS, TwinBuilder
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus
from bitlens.data.display import CorpusTexts
from bitlens.demo import calibration_path, evaluation_path
from bitlens.engine.plan import Plan, make_plan
from bitlens.engine.reader import ActivationReader
from bitlens.engine.sweep import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import free_memory, load
from bitlens.report.page.parts import Table
from bitlens.results.files.writing import new_folder, reserved, write
from bitlens.results.records import to_json
from bitlens.results.schema import read_json
from bitlens.results.store import Store
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.sae.placement import fit_saes
from bitlens.sae.repair.activations import PairedActivations
from bitlens.sae.repair.repair import repair
from bitlens.workflows.repair_sae.audited import AuditedTwin
from bitlens.workflows.repair_sae.measured import estimates, fates, measured, median_readable
from bitlens.workflows.repair_sae.shown import Repair, RepairRecord, record, table
from bitlens.workflows.session import calibration_texts, evaluation

RECORD = "repair.json"
ANOTHER = "another --out."
HELD_OUT = 5
"""One calibration document in so many chooses and is not learnt from."""


def repair_run(
    results: Path,
    twin: str,
    sae: str,
    out: Path,
    calibration: str | None,
    calibration_tokens: int,
    finetune: bool,
    log: Callable[[str], None],
    trust_remote_code: bool = False,
) -> Table:
    """Repair an SAE for a twin of a complete store, write it and its record to the new folder
    `out`, and show what it is worth. BitlensError for what cannot be repaired or measured. A
    repair that is there is shown again."""
    audited = AuditedTwin.of(Store.open(results), twin, trust_remote_code)
    learning = _learning(audited.study, calibration, calibration_tokens)
    if (out / RECORD).is_file():
        there = read_json(RepairRecord, out / RECORD, ANOTHER)
        with reserved(out, "--out"):
            same = partial(_require, there=there, out=out)
            _repaired(audited, learning, sae, finetune, log, same)
        log(f"{out} holds this repair already; nothing to compute.")
        return table(there)
    with new_folder(out, "--out") as aside:
        found = _repaired(audited, learning, sae, finetune, log)
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
        raise BitlensError(
            f"{out} holds a repair of something else: {'; '.join(differing)}.",
            "a new or empty folder, or the same repair.",
            ANOTHER,
        )
    load_sae(out)
    return True


def _learning(study: Study, calibration: str | None, tokens: int) -> Study:
    """The study with the documents that the repair learns from, whatever its twin is made by."""
    calibration = calibration or study.calibration
    if calibration is None and study.texts == str(evaluation_path()):
        calibration = str(calibration_path())
    if calibration is None:
        raise BitlensError(
            "No calibration documents are named.",
            "documents like those that were evaluated, apart from them.",
            "--calibration FILE",
        )
    other = {"calibration": calibration, "calibration_tokens": tokens}
    return Study.model_validate({**study.model_dump(), **other})


def _repaired(
    audited: AuditedTwin,
    learning: Study,
    source: str,
    finetune: bool,
    log: Callable[[str], None],
    done: Callable[[Mapping[str, Any]], bool] = lambda facts: False,
) -> Repair | None:
    """`done`: whether the repair that these facts describe is there already; then None."""
    study = audited.study
    (model,), (seed,) = study.models, study.seeds
    memory = free_memory(model) // 2
    loaded = load(model, memory)
    for note in loaded.notes:
        log(note)
    audited.check_model(loaded)
    layout = Layout(loaded.model, loaded.compute)
    corpus = evaluation(study, loaded, layout, seed)
    audited.check_texts(corpus)
    builder = TwinBuilder(
        loaded=loaded,
        trust_remote_code=model.trust_remote_code,
        layout=layout,
        texts=calibration_texts(study, corpus.context),
        evaluation=corpus,
        seed=seed,
        memory=memory,
        log=log,
    )
    (side,) = requested_twins(study.compressions, study.controls, layout)
    # To calibrate takes long: a checkpoint, or an SAE, that will not do is found before.
    builder.open(side.compression)
    plan = _plan(study, layout, corpus)
    poor = "poor-fit" in study.allow
    (placed,) = fit_saes([source], layout, plan, corpus, loaded.name, poor)
    log(placed.said)
    built = builder.build([side])
    twin, origin = built.twins[side.text], built.identity[side.text]
    audited.check_twin(origin)
    asked = calibration_texts(learning, corpus.context)
    learnt = asked.read(side.compression, loaded, layout, seed)
    log(f"{about_overlap(learnt, corpus, 'overlap' in study.allow).detail}.")
    facts = {
        "model": loaded.name,
        "reference": loaded.fingerprint,
        "twin": side.text,
        "origin": origin,
        "sae": {"label": placed.sae.label, "fingerprint": placed.sae.fingerprint},
        "site": placed.site,
        "seed": seed,
        "calibration": _described(learnt),
        "evaluation": _described(corpus),
        "finetune": finetune,
    }
    if done(facts):
        return None
    on = _activations(layout, twin, learnt, _plan(study, layout, learnt), placed.site, memory)
    log(f"Learning from {int((~on.held_out).sum()):,} positions of {learnt.name}.")
    with tqdm(desc="fine-tuning", unit=" steps", disable=None if finetune else True) as bar:
        made = repair(placed.sae, on, finetune, seed, lambda step: bar.update())
    texts = CorpusTexts(corpus, loaded.tokenizer)
    found = measured(layout, twin, placed, made, plan, texts, memory)
    lost = fates(found, made)
    return Repair(made, estimates(found, study), lost, median_readable(made, lost), facts)


def _plan(study: Study, layout: Layout, corpus: Corpus) -> Plan:
    batch_tokens = BATCH_TOKENS.get(layout.device.type, BATCH_TOKENS["cpu"])
    seed = study.seeds[0]
    return make_plan(corpus, study.positions, seed, batch_tokens, study.interval, layout.device)


def _activations(
    layout: Layout, twin: Twin, corpus: Corpus, plan: Plan, place: str, memory: int
) -> PairedActivations:
    """Both models at every counted position of the calibration documents; copies are held out
    together."""
    reading = ActivationReader(layout, {REFERENCE: Reference(layout), "twin": twin}, place, memory)
    rows = reading.rows(plan.batches)
    document = torch.cat([batch.document[batch.index] for batch in plan.batches])
    unit = torch.from_numpy(corpus.unit).to(document.device)[document]
    return PairedActivations(rows[REFERENCE], rows["twin"], unit % HELD_OUT == 0)


def _described(corpus: Corpus) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "documents": corpus.n_documents,
        "tokens": corpus.n_tokens,
        "sha256": corpus.token_hash,
    }
