"""What forks do to answers: the margin of the right choice that is lost, question by question.

The questions are those of a benchmark, asked as `bench` asks them; a fork reads them in one pass
with all others and is read at its end alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.errors import InputError
from bitlens.results.benchmarks.folder import read_benchmarks
from bitlens.results.records import Value
from bitlens.results.sensitivity.measures import ANSWERS, MARGIN
from bitlens.results.stats.replicates import SHARDS
from bitlens.workflows.bench.harness import HarnessTask, evaluate, load_tasks
from bitlens.workflows.bench.likelihoods import Likelihoods, PackedRequests, pack, said_of_runs
from bitlens.workflows.bench.outcomes import Stream, depths_of
from bitlens.workflows.bench.replay import ReplayLM, longest
from bitlens.workflows.bench.request import BenchRequest
from bitlens.workflows.sensitivity.effects import Values
from bitlens.workflows.sensitivity.forks import Forks
from bitlens.workflows.session import Session

_Question = tuple[str, int]
"""A task and the number of a question in it."""


class Questions:
    """The questions of the benchmarks that a study names, as a model reads them. InputError for
    one that is answered in writing: what a model writes has no margin."""

    def __init__(self, session: Session) -> None:
        self._session = session
        request = BenchRequest.of(session.study)
        self._tasks: list[HarnessTask] = load_tasks(request)
        for task in self._tasks:
            if task.kind != "likelihood":
                raise InputError(
                    f"{task.name} is answered in writing, which has no margin of the right choice.",
                    "benchmarks that are answered by choosing.",
                    "--benchmarks without it.",
                )
        recording = ReplayLM(session.loaded.tokenizer)
        questions = evaluate(recording, self._tasks, request.limit)
        self._right = [[q["doc_hash"], q["target_hash"]] for of in questions.values() for q in of]
        self._asked = dict(recording.asked)
        most = longest(session.loaded.model.config, session.loaded.tokenizer)
        self._packed: PackedRequests = pack(list(dict.fromkeys(self._asked.values())), most)

    @property
    def key(self) -> str:
        """Of the tokens that are asked, and of what is right."""
        tasks = [(task.name, task.version) for task in self._tasks]
        told = repr([tasks, self._asked, self._right])
        return hashlib.sha256(told.encode()).hexdigest()

    def drops(self, forks: Forks) -> Values:
        """What every fork loses."""
        runs = [ForwardRun(REFERENCE, REFERENCE), *(fork.run for fork in forks.all)]
        said = said_of_runs(self._session, forks.models, runs, self._packed)
        margins = self._margins(said)
        whole = _column(margins, 0)
        return {
            (fork.name, ANSWERS): {(MARGIN, "", ""): drop(whole, _column(margins, n))}
            for n, fork in enumerate(forks.all, start=1)
        }

    def _margins(self, said: np.ndarray) -> dict[_Question, Sequence[float | None]]:
        """By question, the margin under every run; `said` `[requests, runs]`."""
        first = np.ones(len(said), dtype=bool)
        # The harness is asked once, with the reference's answers: which choices there are, and
        # which of them are right, is the same for all.
        answers = Likelihoods(said[:, :1], first).answers(self._packed.requests)
        replaying = ReplayLM(self._session.loaded.tokenizer, answers)
        samples = evaluate(replaying, self._tasks, self._session.study.limit)
        number = {request: n for n, request in enumerate(self._packed.requests)}
        found: dict[_Question, Sequence[float | None]] = {}
        for task in self._tasks:
            # A margin a run, where there it is one a block.
            told = depths_of(
                task,
                samples[task.name],
                Stream(self._session.loaded.name, ""),
                Likelihoods(said, first),
                self._asked,
                number,
            )
            found |= {(task.name, one.doc): one.margins for one in told}
        return found


def _column(
    margins: Mapping[_Question, Sequence[float | None]], run: int
) -> dict[_Question, float | None]:
    return {question: of[run] for question, of in margins.items()}


def drop(
    reference: Mapping[_Question, float | None], twin: Mapping[_Question, float | None]
) -> Value:
    """How much of the margin is lost, in nats, a mean over questions; a replicate leaves out a
    twentieth of them, or one where there are fewer."""
    pairs = [(before, twin.get(question)) for question, before in sorted(reference.items())]
    lost = np.array(
        [np.nan if a is None or b is None else a - b for a, b in pairs], dtype=np.float64
    )
    missing = int((~np.isfinite(lost)).sum())
    if missing or not len(lost):
        reason = f"{missing} of {len(lost)} questions have no finite margin"
        if not len(lost):
            reason = "no question has a right choice among others"
        return Value(
            metric=MARGIN, site="", item="", value=None, documents=len(lost), reason=reason
        )
    shard = np.arange(len(lost)) % min(SHARDS, len(lost))
    number = int(shard.max()) + 1
    kept = shard != np.arange(number)[:, None]
    replicates = (kept @ lost) / kept.sum(axis=1) if number > 1 else np.empty(0)
    return Value(
        metric=MARGIN,
        site="",
        item="",
        value=float(lost.mean()),
        replicates=tuple(replicates.tolist()),
        documents=len(lost),
    )


def stored_drops(folder: Path, texts: Sequence[str]) -> dict[str, Value]:
    """By compression, what each loses of the margin in a folder of benchmarks."""
    by_twin: dict[str, dict[_Question, float | None]] = {}
    for one in read_benchmarks(folder).outcomes:
        by_twin.setdefault(one.compression, {})[one.task, one.doc] = one.margin
    # A question with nothing wrong among its choices has no margin in either.
    margins = {q: m for q, m in by_twin[REFERENCE].items() if m is not None}
    return {text: drop(margins, by_twin.get(text, {})) for text in texts}
