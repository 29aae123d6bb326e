"""The records of benchmarks: how a model did on a question, and how a twin changed a benchmark."""

from dataclasses import dataclass

import pyarrow as pa

from bitlens.results.benchmarks.generations import Generation

NO_PICK = -1
"""In the place of the choice that is first, where the lens gives no numbers to choose by."""


@dataclass(frozen=True, kw_only=True)
class BenchTask:
    """A task of a benchmark, as it was asked."""

    benchmark: str
    """What was asked for: `mmlu_cs`."""
    task: str
    """The harness' name: `mmlu_college_computer_science`."""
    category: str
    """`code`, `math`, `knowledge`, `language` or `other`."""
    version: str
    kind: str
    """`likelihood` or `generation`."""
    questions: int
    shots: int
    metrics: tuple[str, ...]
    """The first is the one that is spoken of."""
    chance: float | None
    """The score of a model that guesses; None: not known."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one model did on one question, by one metric."""

    model: str
    compression: str
    """`reference` for the model as given."""
    benchmark: str
    task: str
    metric: str
    """`acc`, or with its filter: `exact_match,strict-match`."""
    doc: int
    """The number of the question in its task."""
    sample: int = 0
    """Which of several answers to the same question."""
    prompt_hash: str
    """Of the first prompt: models are compared on the same."""
    score: float
    """1 right, 0 wrong; or a share."""
    answer: str
    """What it chose or said, as it is compared."""
    target: str
    margin: float | None = None
    """Log-probability of the right choice minus that of the best wrong one, in nats; None of
    generated text."""
    lead: float | None = None
    """That of the choice it makes minus that of the second."""


@dataclass(frozen=True, kw_only=True)
class DepthOutcome:
    """How one model's answer to a question took shape: its lens after every block."""

    model: str
    compression: str
    benchmark: str
    task: str
    doc: int
    margins: tuple[float | None, ...]
    """Log-probability of the right choice minus that of the best wrong one, one a block; the last
    is the model's own. None where the lens gives no finite number of every choice."""
    picks: tuple[int, ...]
    """The number of the choice that is first, one a block; `NO_PICK` where there is no margin."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a twin changed in a benchmark, by one metric: paired, the question the unit."""

    model: str
    compression: str
    control: bool
    benchmark: str
    task: str
    """Empty: all tasks of the benchmark."""
    category: str
    metric: str
    questions: int
    reference: float
    score: float
    difference: float
    """Twin minus reference; intact 0."""
    low: float | None
    high: float | None
    lost: int
    """Questions with a lower score than the reference's."""
    gained: int
    changed_wrong: int
    """Questions that both get wrong, with different answers."""
    changed: int
    """Questions with another answer, right or wrong."""
    p: float
    """McNemar's exact test of lost against gained."""
    q: float | None = None
    """That, corrected over all compressions and whole benchmarks of the model by their first
    metric (Benjamini and Hochberg 1995); None of other rows: controls, tasks, further metrics."""
    detectable: float
    """The smallest difference that so many questions show."""
    needed: int | None
    """How many it takes to show the difference that was seen; None: none to speak of was seen."""
    recovery: float | None
    recovery_low: float | None
    recovery_high: float | None
    chance: float | None
    reason: str | None
    """Why there are no bounds, or no recovery."""

    @property
    def of_shares(self) -> bool:
        """Whether questions are answered more or less well, as F1 has it, and not right or wrong:
        then a mean is hardly ever so many of so many questions."""
        right = (self.reference * self.questions, self.score * self.questions)
        return any(abs(number - round(number)) > 1e-6 for number in right)


def _schema(absent: str = "", **columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, of, name in absent.split()) for name, of in columns.items()])


def _of(kind: pa.DataType, names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names.split(), kind)


_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()


def _list(kind: pa.DataType, absent: bool = False) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=absent))


TABLES: dict[str, tuple[type, pa.Schema]] = {
    "tasks": (
        BenchTask,
        _schema(
            "chance",
            **_of(_TEXT, "benchmark task category version kind"),
            **_of(_COUNT, "questions shots"),
            metrics=_list(_TEXT),
            chance=_NUMBER,
        ),
    ),
    "outcomes": (
        Outcome,
        _schema(
            "margin lead",
            **_of(_TEXT, "model compression benchmark task metric"),
            **_of(_COUNT, "doc sample"),
            prompt_hash=_TEXT,
            score=_NUMBER,
            **_of(_TEXT, "answer target"),
            **_of(_NUMBER, "margin lead"),
        ),
    ),
    "depths": (
        DepthOutcome,
        _schema(
            **_of(_TEXT, "model compression benchmark task"),
            doc=_COUNT,
            margins=_list(_NUMBER, absent=True),
            picks=_list(_COUNT),
        ),
    ),
    "generations": (
        Generation,
        _schema(
            "shared ran",
            **_of(_TEXT, "model compression benchmark task"),
            doc=_COUNT,
            **_of(_TEXT, "asked text"),
            tokens=_COUNT,
            ended=_TEXT,
            shared=_COUNT,
            **_of(_TEXT, "before token reference_token ran"),
        ),
    ),
    "changes": (
        Change,
        _schema(
            "low high q needed recovery recovery_low recovery_high chance reason",
            **_of(_TEXT, "model compression"),
            control=pa.bool_(),
            **_of(_TEXT, "benchmark task category metric"),
            questions=_COUNT,
            **_of(_NUMBER, "reference score difference low high"),
            **_of(_COUNT, "lost gained changed_wrong changed"),
            **_of(_NUMBER, "p q detectable"),
            needed=_COUNT,
            **_of(_NUMBER, "recovery recovery_low recovery_high chance"),
            reason=_TEXT,
        ),
    ),
}
"""By name, the record of a row and the columns."""
