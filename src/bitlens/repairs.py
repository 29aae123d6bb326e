"""What of an SAE's survival in a twin can be had back? From a folder of results to an SAE that
reads the twin, and what it is worth on documents it was not made on.

The model, its texts and the twin are those of the results. What is repaired is learnt from
calibration documents and chosen by some of them; every number is of the evaluation documents.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from bitlens.analyses.analysis import Shown
from bitlens.analyses.features import Features
from bitlens.analyses.survival import SURVIVED
from bitlens.analyses.transfer import Splice, Transfer
from bitlens.calibration import about_overlap, read_calibration
from bitlens.comparison import comparisons
from bitlens.compress import format, parse
from bitlens.data.corpus import Corpus
from bitlens.data.shown import CorpusTexts
from bitlens.demo import calibration_path, evaluation_path
from bitlens.errors import BitlensError
from bitlens.evaluation import evaluation
from bitlens.making import BATCH_TOKENS, Making
from bitlens.measure import Measured, Measurement
from bitlens.models.layout import Layout
from bitlens.models.load import free_memory, load
from bitlens.models.sites import site
from bitlens.plan import CORPUS, Plan, make_plan
from bitlens.records import Metric, Value, to_json
from bitlens.report.parts import Column, Table
from bitlens.report.wording import count, figure, margin
from bitlens.sae.formats import save_sae
from bitlens.sae.repair import UNREPAIRED, Activations, Repaired, repair
from bitlens.saes import Fitted, fit_saes
from bitlens.saving import new_folder
from bitlens.sides import sides
from bitlens.stats.intervals import interval
from bitlens.store import Store
from bitlens.study import Study
from bitlens.sweep import REFERENCE, Stream, Sweep, Wish
from bitlens.twin import Twin

RECORD = "repair.json"
HELD_OUT = 5
"""One calibration document in so many chooses and is not learnt from."""
RECOVERED = Metric(
    "recovered",
    "What share of the lost survival is had back?",
    "share",
    "lower",
    None,
    level=True,
)
SHOWN = {
    "survived": ("features", "survived", ""),
    "recovered": ("", "recovered", ""),
    "median r": ("features", "r", ""),
    "concordance": ("features", "concordance", ""),
    "F1": ("features", "firing_f1", ""),
    "FVU": ("features", "fvu", ", twin"),
    "loss recovered": ("transfer", "loss_recovered", ", twin"),
}
"""Columns: title to analysis, metric and the end of the item."""

Numbers = dict[str, dict[str, Any]]
"""By `metric` (and whose it is): fields of an `Estimate`."""


@dataclass(frozen=True, eq=False)
class Repair:
    """What is to be written and shown."""

    made: Repaired
    numbers: dict[str, Numbers]
    """By step."""
    lost: dict[str, list[int]]
    """Latents that were lost and are back, that are lost all the same, and that were not lost
    before."""
    readable: dict[str, float | None]
    """Of the first two, the median of how well a linear reading of the twin tells them."""
    facts: dict[str, Any]


def repair_run(
    results: Path,
    twin: str,
    sae: str,
    out: Path,
    calibration: str | None,
    calibration_tokens: int,
    finetune: bool,
    say: Callable[[str], None],
) -> Table:
    """Repair an SAE for a twin of a complete store, write it and its record to the new folder
    `out`, and show what it is worth. BitlensError for what cannot be repaired or measured."""
    study = _study(Store.open(results), twin, calibration, calibration_tokens)
    with new_folder(out, "--out") as aside:
        found = _repaired(study, sae, finetune, say)
        save_sae(found.made.best.sae, aside)
        record = to_json(_record(found), indent=1)
        (aside / RECORD).write_text(f"{record}\n", encoding="utf-8")
    return table(found)


def _study(store: Store, twin: str, calibration: str | None, tokens: int) -> Study:
    """The study of the results, of one twin and with calibration documents."""
    manifest = store.manifest()
    settings = manifest["settings"]
    if len(settings["models"]) != 1:
        raise BitlensError(
            f"{store.root} holds results of {len(settings['models'])} models.",
            "results of one.",
            "an audit of the model that the SAE was trained on.",
        )
    known = [t["compression"] for t in manifest["twins"] if t["status"] == "done"]
    text = format(parse(twin))
    if text not in known:
        raise BitlensError(
            f"{store.root} has no twin {text}.", f"one of {', '.join(known)}.", f"--twin {known[0]}"
        )
    changed = {"compressions": [text], "controls": [], "calibration_tokens": tokens}
    settings = _at_home({**settings, **changed, "seeds": settings["seeds"][:1]})
    calibration = calibration or settings["calibration"]
    if calibration is None and settings["text"] in ("demo", str(evaluation_path())):
        calibration = str(calibration_path())
    if calibration is None:
        raise BitlensError(
            "No calibration documents are named.",
            "documents like those that were evaluated, apart from them.",
            "--calibration FILE",
        )
    return Study.model_validate({**settings, "calibration": calibration})


def _at_home(settings: Any) -> Any:
    """Settings with the user's folder where the manifest has `~`."""
    if isinstance(settings, Mapping):
        return {name: _at_home(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_at_home(value) for value in settings]
    return settings.replace("~/", f"{Path.home()}/") if isinstance(settings, str) else settings


def _repaired(study: Study, source: str, finetune: bool, say: Callable[[str], None]) -> Repair:
    (model,), (seed,) = study.models, study.seeds
    memory = free_memory(model) // 2
    loaded = load(model, memory)
    layout = Layout(loaded.model)
    corpus = evaluation(study, loaded, layout, seed)
    making = Making(
        study,
        loaded,
        model.trust_remote_code,
        layout,
        corpus.context,
        corpus,
        seed,
        memory,
        say,
        keep_going=False,
    )
    (side,) = sides(study, layout)
    twin = making.twins([side])[side.text]
    assert study.calibration is not None
    learnt = read_calibration(
        study.calibration,
        loaded,
        layout,
        corpus.context,
        study.bos,
        study.calibration_tokens,
        seed,
    )
    say(f"{about_overlap(learnt, corpus, 'overlap' in study.allow).detail}.")
    plan = _plan(study, layout, corpus)
    poor = "poor-fit" in study.allow
    (fitted,) = fit_saes([source], layout, plan, corpus, loaded.name, poor)
    say(fitted.said)
    on = _activations(layout, twin, _plan(study, layout, learnt), fitted.placed.site, memory)
    say(f"Learning from {int((~on.held_out).sum()):,} positions of {learnt.name}.")
    with tqdm(desc="fine-tuning", unit=" steps", disable=None if finetune else True) as bar:
        made = repair(fitted.placed.sae, on, finetune, seed, lambda step: bar.update())
    texts = CorpusTexts(corpus, loaded.tokenizer)
    found = _measured(layout, twin, fitted, made, plan, texts, memory)
    facts = {
        "model": loaded.name,
        "reference": loaded.fingerprint,
        "twin": side.text,
        "sae": {"label": fitted.placed.sae.label, "fingerprint": fitted.placed.sae.fingerprint},
        "site": fitted.placed.site,
        "seed": seed,
        "calibration": _described(learnt),
        "evaluation": _described(corpus),
    }
    lost = _lost(found, made)
    return Repair(made, _numbers(found, study), lost, _readable(made, lost), facts)


def _plan(study: Study, layout: Layout, corpus: Corpus) -> Plan:
    batch_tokens = BATCH_TOKENS.get(layout.device.type, BATCH_TOKENS["cpu"])
    seed = study.seeds[0]
    return make_plan(corpus, study.positions, seed, batch_tokens, study.interval, layout.device)


@torch.no_grad()
def _activations(layout: Layout, twin: Twin, plan: Plan, place: str, memory: int) -> Activations:
    """Both models at every counted position of the calibration documents."""
    names, stop = (REFERENCE, "twin"), site(place).depth + 1
    sweep = Sweep(
        layout,
        {REFERENCE: Twin(layout, None), "twin": twin},
        [Stream(name, name, stop=stop) for name in names],
        [Wish(name, frozenset([place]), CORPUS) for name in names],
        plan.batches,
        memory,
    )
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in (*names, "document")}
    for wave in sweep.waves:
        for step in sweep.run(wave):
            if place in step.readings.get(REFERENCE, ()):
                for name in names:
                    values = step.readings[name][place].flatten(0, 1)[step.index]
                    rows[name].append(values.float())
                rows["document"].append(step.batch.document[step.index])
    reference, theirs, document = (torch.cat(parts) for parts in rows.values())
    _refuse_infinite(theirs, place)
    return Activations(reference, theirs, document % HELD_OUT == 0)


def _refuse_infinite(values: torch.Tensor, place: str) -> None:
    broken = int((~values.isfinite()).any(dim=1).sum())
    if broken:
        raise BitlensError(
            f"The twin's activations at {place} are not finite at {broken:,} positions.",
            "a twin that computes finite numbers.",
            "another --twin, or a --dtype of larger range in the audit.",
        )


def _measured(
    layout: Layout,
    twin: Twin,
    fitted: Fitted,
    made: Repaired,
    plan: Plan,
    texts: CorpusTexts,
    memory: int,
) -> list[Measured]:
    """Every step on the evaluation documents: the reference read by the SAE as it is, the twin by
    the repaired one."""
    placed = [
        replace(fitted.placed, sae=replace(fitted.placed.sae, label=step.name), adapted=step.sae)
        for step in made.steps
    ]
    splices = [Splice(p.sae, p.site, fitted.mean, p.adapted) for p in placed]
    analyses = [Features(tuple(placed)), Transfer(tuple(splices))]
    sites = {analysis.name: analysis.sites(layout) for analysis in analyses}
    wanted = comparisons(analyses, ["twin"], sites)
    with TemporaryDirectory(prefix="bitlens-") as folder:
        partial = Path(folder)
        one = Measurement(layout, {"twin": twin}, wanted, plan, memory, partial, texts)
        found = list(one.values())
    for reason in one.sweep.failed.values():
        raise BitlensError(f"The twin failed: {reason}", "a twin.", "another --twin.")
    return found


def _numbers(found: Sequence[Measured], study: Study) -> dict[str, Numbers]:
    """By step, every estimate of it."""
    values = [(one.comparison.analysis, value) for one in found for value in one.values]
    numbers: dict[str, Numbers] = {}
    survived: dict[str, Value] = {}
    for analysis, value in values:
        step, _, who = value.item.partition(", ")
        metric = next(m for m in analysis.metrics if m.name == value.metric)
        name = f"{value.metric}, {who}" if who else value.metric
        estimate = asdict(interval(value, metric, study.interval))
        numbers.setdefault(step, {})[f"{analysis.name}.{name}"] = estimate
        if value.metric == "survived":
            survived[step] = value
    for step, value in survived.items():
        if step != UNREPAIRED:
            back = recovered(survived[UNREPAIRED], value)
            numbers[step]["recovered"] = asdict(interval(back, RECOVERED, study.interval))
    return numbers


def recovered(before: Value, after: Value) -> Value:
    """What share of the lost survival is had back, (after - before) / (1 - before), under every
    replicate's weights; below 0 where more is lost."""
    if before.value is None or after.value is None:
        reason = before.reason or after.reason
        return Value("recovered", after.site, after.item, None, reason=reason)
    lost = [1 - value for value in (before.value, *before.replicates)]
    if min(lost) <= 0:
        reason = "nothing was lost"
        return Value("recovered", after.site, after.item, None, reason=reason)
    shares = [
        (now - 1 + gone) / gone
        for now, gone in zip((after.value, *after.replicates), lost, strict=True)
    ]
    return Value(
        "recovered",
        after.site,
        after.item,
        shares[0],
        tuple(shares[1:]),
        documents=after.documents,
    )


def _lost(found: Sequence[Measured], made: Repaired) -> dict[str, list[int]]:
    """What became of the features that were lost, and of those that were not."""
    shown = [s for one in found for s in one.shown if s.name == "features" and len(s.columns)]
    before, after = (_survivors(shown, name) for name in (UNREPAIRED, made.best.name))
    lost = sorted(latent for latent, survives in before.items() if not survives)
    return {
        "repaired": [latent for latent in lost if after[latent]],
        "not repaired": [latent for latent in lost if not after[latent]],
        "lost by the repair": sorted(n for n, kept in before.items() if kept and not after[n]),
    }


def _readable(made: Repaired, lost: Mapping[str, list[int]]) -> dict[str, float | None]:
    names = ("repaired", "not repaired")
    found = {name: made.readable[lost[name]] for name in names}
    return {name: float(r.median()) if len(r) else None for name, r in found.items()}


def _survivors(shown: Sequence[Shown], step: str) -> dict[int, bool]:
    """Of every feature of the reference, whether it survives."""
    (columns,) = (s.columns for s in shown if s.columns["sae"][0] == step)
    rows = zip(columns["latent"], columns["state"], strict=True)
    return {int(latent): state == "survived" for latent, state in rows if state != "twin only"}


def _described(corpus: Corpus) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "documents": corpus.n_documents,
        "tokens": corpus.n_tokens,
        "sha256": corpus.token_hash,
    }


def _record(found: Repair) -> dict[str, Any]:
    steps = {
        step.name: {"calibration error": step.error, "evaluation": found.numbers[step.name]}
        for step in found.made.steps
    }
    return {
        "bitlens": version("bitlens"),
        **found.facts,
        "chosen": found.made.best.name,
        "steps": steps,
        "latents": found.lost,
        "readable": found.readable,
    }


def table(found: Repair) -> Table:
    """A row a step; what was repaired and what was not below."""
    rows = []
    for step in found.made.steps:
        numbers = found.numbers[step.name]
        cells = []
        for analysis, metric, who in SHOWN.values():
            name = f"{analysis}.{metric}{who}" if analysis else metric
            unit = "share" if metric in _SHARES else ""
            cells.append(margin(numbers.get(name), unit))
        chosen = " (chosen)" if step is found.made.best else ""
        rows.append((f"{step.name}{chosen}", figure(step.error), *cells))
    titles = ("calibration error", *SHOWN)
    columns = (Column("step"), *(Column(title, numeric=True) for title in titles))
    return Table(columns, tuple(rows), "\n".join(_said(found)))


_SHARES = {"survived", "recovered", "fvu", "loss_recovered"}


def _said(found: Repair) -> list[str]:
    lost, facts = found.lost, found.facts
    back, left = len(lost["repaired"]), len(lost["not repaired"])
    best = found.made.best
    lines = [
        f"On {count(facts['evaluation']['documents'], 'document')} that nothing was learnt from or "
        "chosen by; ± is the longer half of the 95 % interval over documents. recovered: share of "
        f"the lost survival (r > {SURVIVED:g}) had back. FVU and loss recovered are the twin's."
    ]
    if best.name == UNREPAIRED:
        lines.append("No step makes the codes more alike: the SAE is written as it is.")
    else:
        lines.append(
            f"Of {count(back + left, 'lost feature')}, {back:,} are back by the {best.name}; "
            f"{left:,} are not, {len(lost['lost by the repair']):,} were lost by it."
        )
    for name, r in found.readable.items():
        if r is not None:
            lines.append(
                f"{name}: the best linear reading of the twin tells these features' pre-activation "
                f"with a median r of {r:.2f} on held-out calibration documents."
            )
    lines.append(
        "A gain and an offset change a feature's strength and when it fires, not how it orders "
        "positions: they mend concordance and F1, and r only as far as firings decide it."
    )
    return lines
