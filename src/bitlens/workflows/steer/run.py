"""A steering run: a vector, made or read, put into a reference and its twins, and what it does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.compression.requests import TwinRequest
from bitlens.config.study import Study
from bitlens.data.labelled_corpus import LabelledCorpus, renumbered
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.errors import InputError
from bitlens.models.sites import resolve
from bitlens.results.counts import count
from bitlens.results.files.home import without_home
from bitlens.results.files.writing import new_folder
from bitlens.results.records import Estimate
from bitlens.results.stats.intervals import LEVEL
from bitlens.results.steering.file import VECTOR, write_steering
from bitlens.results.steering.response import (
    FULL,
    MULTIPLIERS,
    Sampled,
    at,
    chance,
    estimate,
    needed,
)
from bitlens.seeds import generator
from bitlens.workflows.session import Log, Session
from bitlens.workflows.steer.measure import ABLATION, Name, Steering, effects, side_effects
from bitlens.workflows.steer.prompts import (
    Prompts,
    answer_tokens,
    class_tokens,
    neutral_of,
    prompts_of,
)
from bitlens.workflows.steer.search import CandidateDirection, search
from bitlens.workflows.steer.vectors import read_vector, save_vector

BEST = "best:"
"""What a site begins with that is looked for."""
RANDOM = 5
"""Directions drawn at random: what any vector of the length does."""


@dataclass(frozen=True, kw_only=True)
class SteerRequest:
    """What is put where, and what is looked at."""

    site: str
    """After which block: `resid.N`; empty: the middle one; `best:N`: whichever block and token, of
    the last N of the texts, is found to be best."""
    vector: str
    """A file; empty: the difference of the means of the labelled texts' classes."""
    answers: tuple[str, ...]
    """Texts whose first tokens' log-odds are the effect, after whole prompts; none: the tokens of
    the class, after the first half of each text."""


def steer(study: Study, request: SteerRequest, out: Path, command: str, log: Log = print) -> None:
    """Measure, and write steering.json and the vector to the new folder `out`. BitlensError for
    what cannot be loaded, compressed, read or measured."""
    with new_folder(out, "--out") as aside:
        last = _looked_for(request)
        session = Session.open(study, log)
        site = "" if last else _site(session, request.site)
        labelled = _of_one_set(session)
        # What the user can get wrong comes before the minutes that a compression may take.
        whole = bool(request.answers)
        prompts = prompts_of(session, labelled, whole=whole)
        tokens = answer_tokens(session, request.answers) if whole else class_tokens(labelled)
        candidates = search(session, labelled, tokens, last) if last else []
        site = candidates[0].site if candidates else site
        given = _given(session, site, request.vector, candidates)
        vector, length = _vector(session, labelled, site, given)
        builder = session.twin_builder(apart_from=session.corpus)
        built = builder.build(session.requests())
        steering = Steering(
            layout=session.layout,
            twins={r.text: built.twins[r.text] for r in session.requests() if not r.floor},
            site=site,
            directions={"vector": vector, **_random(vector, session.seed)},
            hidden_bytes=session.memory // 4,
        )
        log(
            f"{count(len(steering.twins), 'twin')}, {count(len(steering.names), 'steered run')} on "
            f"{count(len(prompts.positive), 'prompt')}."
        )
        source = _source(request, labelled, candidates)
        save_vector(aside / VECTOR, site, vector, {"from": source, "model": session.loaded.name})
        content = {
            **_about(session, command, site=site, source=source),
            **_asked(session, labelled, tokens),
            "norm": float(vector.norm()),
            "norm_share": float(vector.norm()) / length,
            "prompts": len(prompts.positive),
            "candidates": [one.record for one in candidates],
            "rows": list(_rows(session, steering, prompts, tokens)),
            "notes": [*prompts.corpus.notes, *built.notes],
        }
        write_steering(aside, content)


def _of_one_set(session: Session) -> LabelledCorpus:
    """The labelled texts. BitlensError for those of several sets."""
    labelled = session.labelled
    if len(labelled.sets) != 1:
        raise InputError(
            f"{count(len(labelled.sets), 'set')} of labelled texts.",
            "one: a vector points to one class.",
            "--labelled with one of them.",
        )
    return labelled


def _looked_for(request: SteerRequest) -> int:
    """At how many of the last tokens the vector is looked for; 0 where its site is given.
    BitlensError for a search without what it needs."""
    if not request.site.startswith(BEST):
        return 0
    number = request.site.removeprefix(BEST)
    last = int(number) if number.isdecimal() and len(number) < 4 else 0
    if not last or request.vector or not request.answers:
        lacks = "a vector that is given" if request.vector else "no answers"
        raise InputError(
            f"--site {request.site} with {lacks}." if last else f"--site {request.site}.",
            "a number of last tokens, answers by which directions are judged, and no --vector.",
            f'--site {BEST}5 --answers " I cannot, Sorry"',
        )
    return last


def _site(session: Session, asked: str) -> str:
    """Where the vector is added. BitlensError for what is no block's output."""
    found = resolve(asked, session.layout) if asked else [f"resid.{session.layout.depth // 2}"]
    if len(found) != 1 or not found[0].startswith("resid."):
        raise InputError(
            f"The site {asked} means {', '.join(found[:4])}.",
            "the output of one block.",
            f"--site resid.{session.layout.depth // 2}",
        )
    return found[0]


def _given(
    session: Session, site: str, source: str, candidates: Sequence[CandidateDirection]
) -> Tensor | None:
    """The vector of a file, or that which was found; None where it is to be made."""
    if candidates:
        return candidates[0].vector
    return read_vector(source, site, session.layout.width) if source else None


def _source(
    request: SteerRequest, labelled: LabelledCorpus, candidates: Sequence[CandidateDirection]
) -> str:
    """Where the vector comes from."""
    made = f"difference of means of {labelled.sets[0].name}"
    if candidates:
        return f"{made}, token {candidates[0].token}, the best of {len(candidates)}"
    return without_home(request.vector) or made


def _vector(
    session: Session, labelled: LabelledCorpus, site: str, given: Tensor | None
) -> tuple[Tensor, float]:
    """The vector, and how long the reference's activations at the last tokens are on average."""
    corpus = renumbered(labelled.corpus, np.arange(labelled.training))
    assert corpus.groups is not None
    batches = session.plan(corpus).batches
    rows = torch.zeros(labelled.training, session.layout.width)
    models = {REFERENCE: Reference(session.layout)}
    for step in read(session.layout, models, [site], batches, session.memory // 4):
        batch, values = step.batch, step.activations[REFERENCE].get(site)
        if values is not None:
            width = batch.tokens.shape[1]
            first = torch.arange(0, batch.tokens.numel(), width, device=batch.length.device)
            ends = first + batch.length[first] - 1
            rows[batch.document[ends].cpu()] = values.flatten(0, 1)[ends].float().cpu()
    length = float(rows.norm(dim=1).mean())
    if given is not None:
        return given, length
    positive = torch.from_numpy(corpus.groups.label == labelled.sets[0].labels[1])
    return rows[positive].mean(dim=0) - rows[~positive].mean(dim=0), length


def _random(vector: Tensor, seed: int) -> dict[str, Tensor]:
    """Directions drawn at random, of the vector's length, by name."""
    drawn = generator(seed, "steer", "random").normal(size=(RANDOM, len(vector)))
    rows = torch.from_numpy(drawn).float()
    scaled = rows / rows.norm(dim=1, keepdim=True) * vector.norm()
    return {f"random {n + 1}": of for n, of in enumerate(scaled)}


def _about(session: Session, command: str, *, site: str, source: str) -> dict[str, Any]:
    """What was run, and of what."""
    return {
        "tool": {"version": version("bitlens")},
        "command": without_home(command),
        "name": session.loaded.name,
        "fingerprint": session.loaded.fingerprint,
        "site": site,
        "vector": source,
        "neutral": session.corpus.name,
        "twins": [r.text for r in session.requests() if not r.control],
        "controls": [r.text for r in session.requests() if _is_control(r)],
    }


def _is_control(request: TwinRequest) -> bool:
    return request.control and not request.floor


def _asked(session: Session, labelled: LabelledCorpus, tokens: tuple[int, ...]) -> dict[str, Any]:
    """The classes, and the tokens whose log-odds are the effect."""
    (pair,) = labelled.sets
    words = tuple(session.loaded.tokenizer.decode([token]) for token in tokens)
    return {"positive": pair.positive, "negative": pair.negative, "answers": words}


def _rows(
    session: Session, steering: Steering, prompts: Prompts, tokens: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """Every number of every model and direction."""
    unit = prompts.corpus.together
    of_prompts = effects(steering, prompts.batches, tokens, len(unit))
    neutral = neutral_of(session)
    names = len(neutral.document_names)
    vector = replace(steering, directions={"vector": steering.directions["vector"]})
    of_neutral = side_effects(vector, session.plan(neutral).batches, names)
    reference = _sampled(of_prompts, REFERENCE, "vector", ~prompts.positive, unit)
    for model in (REFERENCE, *steering.twins):
        rows = _sampled(of_prompts, model, "vector", ~prompts.positive, unit)
        seen = np.isfinite(of_neutral[model, "vector", 0.0])
        kl = _sampled(of_neutral, model, "vector", seen, neutral.unit)
        for metric, multiplier, found in (*_effects(rows), *_told(rows, kl, reference)):
            yield _row(model, "vector", metric, multiplier, found)
        yield from _drawn(steering, of_prompts, model, ~prompts.positive, unit)
    yield from _against_noise(session, steering, of_prompts, ~prompts.positive, unit)
    for model in (REFERENCE, *steering.twins):
        clean, without = (of_prompts[model, d, x] for d, x in (("vector", 0.0), (ABLATION, None)))
        both = np.stack([clean, without], axis=1)[prompts.positive]
        rows = Sampled.of(both, unit[prompts.positive])
        for name, values in (
            ("effect_before", rows.mean(both[:, 0])),
            ("effect_without", rows.mean(both[:, 1])),
            ("effect_removed", rows.mean(both[:, 0] - both[:, 1])),
        ):
            yield _row(model, ABLATION, name, None, estimate(values, rows.documents))


def _against_noise(
    session: Session,
    steering: Steering,
    found: Mapping[Name, np.ndarray],
    some: np.ndarray,
    unit: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """The vector's slope in every twin over the reference's, and less that of weight noise of the
    twin's size: what a claim of all twins together rests on, with intervals that are as much wider
    as there are twins (Bonferroni)."""
    requests = [request for request in session.requests() if not request.floor]
    noise = {request.like: request.text for request in requests if request.like}
    asked = [request.text for request in requests if not request.control]
    level = 1 - (1 - LEVEL) / max(1, len(asked))
    ratio = {}
    for model in (REFERENCE, *steering.twins):
        rows = _sampled(found, model, "vector", some, unit)
        ratio[model] = rows.mean(rows.slopes)
    ratio = {model: slope / ratio[REFERENCE] for model, slope in ratio.items()}
    n = int(some.sum())
    for twin in asked:
        told = {"slope_ratio_together": estimate(ratio[twin], n, level=level)}
        if twin in noise:
            of_noise = ratio[noise[twin]]
            told["slope_ratio_of_noise"] = estimate(of_noise, n)
            told["slope_ratio_less_noise"] = estimate(ratio[twin] - of_noise, n, level=level)
        for metric, value in told.items():
            yield _row(twin, "vector", metric, None, value)


def _sampled(
    found: Mapping[Name, np.ndarray], model: str, direction: str, some: np.ndarray, unit: np.ndarray
) -> Sampled:
    """One model's numbers of some documents at every multiplier."""
    values = np.stack([found[model, direction, x] for x in MULTIPLIERS], axis=1)
    return Sampled.of(values[some], unit[some])


Told = Iterator[tuple[str, float | None, Estimate]]
"""Metrics, their multipliers, and what was found."""


def _drawn(
    steering: Steering,
    found: Mapping[Name, np.ndarray],
    model: str,
    some: np.ndarray,
    unit: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """What each random direction does in a model, and within what of such directions nearly all
    slopes are."""
    slopes = []
    for direction in steering.directions:
        if direction == "vector":
            continue
        rows = _sampled(found, model, direction, some, unit)
        slopes.append(float(rows.mean(rows.slopes)[0]))
        for metric, multiplier, number in _effects(rows):
            yield _row(model, direction, metric, multiplier, number)
    yield _row(model, "random", "slope", None, chance(slopes))


def _effects(rows: Sampled) -> Told:
    """The curve, and how steep it is."""
    for k, multiplier in enumerate(MULTIPLIERS):
        yield "effect", multiplier, estimate(rows.curve[:, k], rows.documents)
    yield "slope", None, estimate(rows.mean(rows.slopes), rows.documents)


def _told(rows: Sampled, kl: Sampled, reference: Sampled) -> Told:
    """Side effects, what goes the wrong way, and the multiplier of equal effect."""
    n = rows.documents
    for k, multiplier in enumerate(MULTIPLIERS):
        yield "side_effect", multiplier, estimate(kl.curve[:, k], kl.documents)
    slope, before = rows.mean(rows.slopes), reference.mean(reference.slopes)
    yield "slope_ratio", None, estimate(slope / before, n)
    yield "wrong_way", None, estimate(rows.mean((rows.slopes < 0).astype(float)), n)
    dose, reason = needed(reference.curve, rows.curve)
    yield "needed", None, estimate(dose, n, reason)
    cost = at(kl.curve, float(dose[0])) if not reason else np.full(len(kl.weights), np.nan)
    yield "side_effect_at_needed", None, estimate(cost, kl.documents, reason)
    yield "gain", None, estimate(rows.curve[:, FULL] - rows.curve[:, MULTIPLIERS.index(0.0)], n)


def _row(
    model: str, direction: str, metric: str, multiplier: float | None, found: Estimate
) -> dict[str, Any]:
    return {
        "model": model,
        "direction": direction,
        "metric": metric,
        "multiplier": multiplier,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "documents": found.documents,
        "reason": found.reason,
    }
