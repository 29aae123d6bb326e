"""Early stop: how many documents it takes until the headline of every twin is as sure as was asked.

Documents are read by the reference and the twins alone, in the order that the seed drew, with only
what the headline is made of; after each look the interval that the audit would give is worked out.
Then the audit is that of the documents read, with every other question, at every depth.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from math import ceil, inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlens.analyses.behaviour import DOCUMENTS, Behaviour
from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin import Twin
from bitlens.config.precision import Precision
from bitlens.data.corpus import Corpus
from bitlens.engine.accumulators import DocumentSums
from bitlens.engine.analysis import SampleSize
from bitlens.engine.comparisons import Comparison, comparisons
from bitlens.engine.keys import MetricKey
from bitlens.engine.plan import CORPUS
from bitlens.engine.summation import Summation
from bitlens.errors import BitlensError
from bitlens.progress import ProgressBar
from bitlens.report.text.early_stop import looked
from bitlens.results.files.reading import read_json
from bitlens.results.files.writing import write
from bitlens.results.records import FEWEST, Cell, Stopped, Value, to_json
from bitlens.results.stats.any_stop import level_at_any_stop
from bitlens.results.stats.intervals import interval
from bitlens.results.store import Store
from bitlens.workflows.audit.budget import budget
from bitlens.workflows.audit.cells import decisive
from bitlens.workflows.session import Session, narrowed

LOOKS = "looks.json"
COLUMNS = ("count", "kl", "changed", "surprise")
"""Of every document: positions, and sums over them of KL, of other top tokens, and of how much more
surprised the twin is than the reference."""
MOST, LEAST = 2.0, 1.25
"""Times the documents of one look that the next is at, at the most and at the least."""
HOPELESS = 1.5
"""Where so many times the documents there are would be needed, all are read without more looks."""

ALIKE = {"positions", "calibration", "calibration_tokens"}
"""Settings on which the numbers rest besides weights and texts: the same, or it is read anew."""

Sums = dict[str, NDArray[np.float64]]
"""By twin, `[documents of the corpus, COLUMNS]`."""


def read_until(session: Session, store: Store) -> Session:
    """The session on as many documents as it takes, or on all. What was found before, by a run that
    was finished or stopped, is found again. BitlensError for what cannot be built or read."""
    asked = Precision.parse(str(session.study.until))
    found = _finished(session, store) or _Looking.of(session, asked, store).stopped()
    session.log(f"{looked(asdict(found))}.")
    read = session.corpus.first_units(found.documents)
    return narrowed(replace(session, stopped=found), read)


def _finished(session: Session, store: Store) -> Stopped | None:
    """Where a finished run of the same rule, weights and texts stopped, to which this one adds:
    what is compared must have been read."""
    if not store.finished:
        return None
    before, now = store.manifest(), session.study
    weights = {of["name"]: of["fingerprint"] for of in before["models"]}
    name = session.loaded.name
    settings = before["settings"]
    if not set(settings["compressions"]) <= set(now.compressions):
        return None
    if any(
        settings.get(key, value) != value for key, value in now.model_dump(include=ALIKE).items()
    ):
        return None
    for of in before["corpora"]:
        until = of.get("until")
        same = until and (until["asked"], until["token_hash"]) == (
            now.until,
            session.corpus.token_hash,
        )
        if same and (of["model"], of["seed"]) == (name, session.seed):
            if weights[name] != session.loaded.fingerprint:
                return None
            made = {twin["compression"] for twin in before["twins"] if twin["model"] == name}
            waited = made.difference(until.get("others", ()))
            others = tuple(r.text for r in _requests(session) if r.text not in waited)
            return replace(Stopped(**until), others=others)
    return None


@dataclass(kw_only=True)
class _Looking:
    """Documents that are read until a precision is reached, and what they gave."""

    session: Session
    asked: Precision
    corpus: Corpus
    units: NDArray[np.int64]
    """Sampling units in the order in which they are read."""
    twins: Mapping[str, Twin]
    folder: Path
    sums: Sums = field(default_factory=dict)
    looks: list[int] = field(default_factory=list)
    """Units read at each."""

    @classmethod
    def of(cls, session: Session, asked: Precision, store: Store) -> "_Looking":
        """As far as a stopped run came."""
        corpus = session.corpus
        wanted = _requests(session)
        # What fails is said by the audit, with whatever else is wrong.
        builder = session.twin_builder(apart_from=corpus, on_failure="record")
        built = builder.build(wanted)
        settings = {
            **decisive(session),
            "until": session.study.until,
            "tokens": corpus.token_hash,
            "twins": {text: dict(built.identity.get(text, {})) for text in built.twins},
        }
        about = Cell(
            model=session.loaded.name,
            compression="",
            analysis="",
            seed=session.seed,
            settings=settings,
        )
        found = cls(
            session=session,
            asked=asked,
            corpus=corpus,
            units=np.unique(corpus.unit[corpus.document]),
            twins=built.twins,
            folder=store.partial / about.id,
        )
        found._recall()
        return found

    def stopped(self) -> Stopped:
        """Look after look until the precision is reached, or cannot be."""
        every = len(self.units)
        size, widths = min(FEWEST, every), dict[str, float]()
        needed: float = inf
        while size < every and self.twins:
            if size not in self.looks:
                self._read(size)
            if not self.twins:
                break
            widths = {twin: self._share(twin, size) for twin in self.twins}
            worst = max(widths.values())
            needed = size * (worst / self.asked.share) ** 2
            told = self._told(size, widths, needed)
            if worst <= self.asked.share:
                return told
            self.session.log(f"{looked(asdict(told))}.")
            if needed >= HOPELESS * every:
                break
            size = ceil(min(max(1.1 * needed, LEAST * size), MOST * size, every))
        seen = self.looks[-1] if self.looks else 0
        return replace(self._told(seen, widths, needed), documents=every, reached=False)

    def _told(self, seen: int, widths: Mapping[str, float], needed: float) -> Stopped:
        """What a look says."""
        twin = max(widths, key=lambda one: widths[one], default="")
        share = widths.get(twin, inf)
        return Stopped(
            asked=str(self.session.study.until),
            documents=seen,
            of=len(self.units),
            looks=self.looks.index(seen) + 1 if seen in self.looks else 0,
            seen=seen,
            twin=twin,
            share=share if share < inf else None,
            needed=ceil(needed) if needed < inf else None,
            reached=share <= self.asked.share,
            token_hash=self.corpus.token_hash,
            others=tuple(r.text for r in _requests(self.session) if r.text not in self.twins),
        )

    def _share(self, twin: str, size: int) -> float:
        """The longer half of the interval that the audit of the first so many units would give, as
        a share of the number; infinite where there is none."""
        if twin not in self.sums:
            return inf
        corpus = self.corpus.first_units(size)
        documents, read = self.session.plan(corpus).sets[CORPUS], np.unique(corpus.document)
        shards = np.zeros((documents.base, len(COLUMNS)))
        np.add.at(shards, documents.shard.cpu().numpy()[read], self.sums[twin][read])
        with np.errstate(all="ignore"):
            values = _headline(self.asked.metric, documents.weights @ shards)
        if not np.isfinite(values).all():
            return inf
        value = Value(
            metric=self.asked.metric,
            site="logits",
            item="",
            value=float(values[0]),
            replicates=tuple(values[1:].tolist()),
            documents=documents.documents,
        )
        metric = next(m for m in Behaviour.metrics if m.name == self.asked.metric)
        found = interval(value, metric, level=level_at_any_stop(documents.documents))
        if found.value is None or found.low is None or found.high is None:
            return inf
        half = max(found.high - found.value, found.value - found.low)
        return 0.0 if half == 0 else half / abs(found.value) if found.value else inf

    def _read(self, size: int) -> None:
        """What the units up to this number add, and keep it for a run that goes on."""
        new = self.units[self.looks[-1] if self.looks else 0 : size]
        session, corpus = self.session, self.corpus.of_units(new)
        plan, wanted = session.plan(corpus), self._comparisons()
        shells = sum(twin.held_bytes for twin in self.twins.values())
        room = budget(session.layout, wanted, plan, shells=shells).room(session.memory)
        part = self.folder / f"to-{size}"
        summation = Summation(session.layout, self.twins, wanted, plan, room, part)
        tokens = sum(batch.tokens.numel() for batch in summation.batches)
        passes = summation.sweep.forwards() * session.layout.depth
        with ProgressBar(f"{size} documents", "tokens", tokens) as bar:
            for depth in summation.complete(lambda n: bar.add(n / passes)):
                for key, of in depth.items():
                    if isinstance(key, MetricKey) and DOCUMENTS in of.documents:
                        self._add(key.twin, DocumentSums.joined(of.documents[DOCUMENTS]))
        self._leave_out(summation.sweep.failed)
        self.looks.append(size)
        self._keep()

    def _leave_out(self, failed: Collection[str]) -> None:
        """Twins that failed or overflowed: they never become sure, and the others need not wait."""
        self.sums = {
            twin: of
            for twin, of in self.sums.items()
            if twin not in failed and np.isfinite(of).all()
        }
        for twin in self.twins.keys() - self.sums.keys():
            self.session.log(f"{twin} gives no number: how much is read does not wait for it.")
        self.twins = {twin: of for twin, of in self.twins.items() if twin in self.sums}

    def _add(self, twin: str, of: DocumentSums) -> None:
        blank = np.zeros((len(self.corpus.document_names), len(COLUMNS)))
        held = self.sums.setdefault(twin, blank)
        columns = [of.sums[name].cpu().numpy() for name in COLUMNS]
        held[of.document.cpu().numpy()] += np.stack(columns, axis=1)

    def _comparisons(self) -> Sequence[Comparison]:
        analysis = Behaviour()
        reads = [replace(r, sample=SampleSize()) for r in analysis.reads(self.session.layout)]
        return comparisons([analysis], list(self.twins), {analysis.name: reads})

    def _keep(self) -> None:
        state = {"looks": self.looks, "sums": {t: of.tolist() for t, of in self.sums.items()}}
        whole = {"state": state, "sha256": _hash(state)}
        write(self.folder / LOOKS, to_json(whole).encode())

    def _recall(self) -> None:
        """What a stopped run kept, if it is whole."""
        path = self.folder / LOOKS
        if not path.exists():
            return
        try:
            whole = read_json(path)
            state = whole["state"]
            if whole["sha256"] != _hash(state):
                raise ValueError
            sums = {str(twin): np.array(of, dtype=np.float64) for twin, of in state["sums"].items()}
            looks = [int(size) for size in state["looks"]]
        except (BitlensError, ValueError, KeyError, TypeError, AttributeError):
            self.session.log(f"What a stopped run left in {path} cannot be used: it is read again.")
            return
        self.sums, self.looks = sums, looks
        self.twins = {text: twin for text, twin in self.twins.items() if text in sums}


def _requests(session: Session) -> list[TwinRequest]:
    """Twins whose number is waited for: all but controls."""
    return [request for request in session.requests() if not request.control]


def _headline(metric: str, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[replicates + 1]` of a number from the sums of its documents, as `behaviour` has it."""
    count, kl, changed, surprise = sums.T
    found: dict[str, NDArray[np.float64]] = {
        "kl": kl / count,
        "same_top": 1 - changed / count,
        "perplexity_ratio": np.exp(surprise / count),
    }
    return found[metric]


def _hash(state: Any) -> str:
    return sha256(to_json(state).encode()).hexdigest()
