"""A study of SAEs that are trained and compared: axes in a YAML file, of which any part can be
run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt

from bitlens.config.consent import require_consent
from bitlens.config.parsing import Settings, distinct, read_settings
from bitlens.config.sae_grid import PENALTIES, K, SaeGrid
from bitlens.config.study import ASKED_BESIDES, Study
from bitlens.config.study_settings import Whole
from bitlens.errors import BitlensError, InputError
from bitlens.registry import nearest
from bitlens.sae.training.config import WITH_K, Kind, Schedule

KEY = "train"
"""What tells a study of trained SAEs from an audit's."""
ROOM = 2
"""Times as many tokens are read as are wanted: documents are held out and learnt from whole, and
of few long ones a budget takes the beginnings."""
ELSEWHERE = {
    "tokens": "train.tokens, the data sizes, and train.held_out",
    "seeds": "train.seed, the seeds of training",
    "sites": "train.site",
    **dict.fromkeys(("controls", "analyses", "interval", "allow"), "nothing: leave it out"),
    **dict.fromkeys(ASKED_BESIDES, "nothing: bitlens bench asks twins"),
}
"""Settings of an audit's study that this one has no use for, and what it has instead."""


Counts = Annotated[
    tuple[Annotated[StrictInt, Field(ge=1)], ...], Field(min_length=1), AfterValidator(distinct)
]


Width = Annotated[str, BeforeValidator(lambda width: str(width) if _whole(width) else width)]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Training(Settings):
    """The axes of the grid, and what all its SAEs have in common."""

    site: str = Field(examples=["resid.3"])
    """Where the SAEs read."""
    architecture: Kind = Field("topk", examples=["topk"])
    """What kind they are."""
    width: Annotated[tuple[Width, ...], AfterValidator(distinct)] = Field(
        min_length=1, examples=["[0.5x, 8x]"]
    )
    """Latents: times the model's width, or a number."""
    k: Annotated[tuple[StrictInt, ...], AfterValidator(distinct)] = Field((), examples=["[16, 64]"])
    """topk and batchtopk: latents that fire at a position."""
    l1: Annotated[tuple[float, ...], AfterValidator(distinct)] = Field((), examples=["[1, 4]"])
    """The others: what firing costs."""
    epochs: Counts = Field((1,), examples=["[1, 4]"])
    """Passes over the activations."""
    tokens: Counts = Field(examples=["[100_000, 400_000]"])
    """To learn from; the documents of a smaller size are among those of a larger one."""
    seed: Annotated[tuple[Annotated[Whole, Field(ge=0)], ...], AfterValidator(distinct)] = Field(
        (0, 1, 2, 3), min_length=1, examples=["[0, 1, 2, 3]"]
    )
    """Seeds of the training: intervals and the ceiling are over them."""
    held_out: StrictInt = Field(32_768, ge=1, examples=[32_768])
    """Tokens of documents that no SAE learns from and all are measured on."""
    rate: float | None = Field(None, examples=[0.005])
    """The learning rate; by default the architecture's."""
    schedule: Schedule | None = Field(None, examples=["linear"])
    """The rate after its warm-up; by default the architecture's."""

    @property
    def penalty(self) -> str:
        """What the third axis is called."""
        return "k" if self.architecture in WITH_K else "l1"

    def grid(
        self, widths: Sequence[str], penalties: Sequence[float], seeds: Sequence[int], epochs: int
    ) -> SaeGrid:
        """These SAEs as `bitlens train-sae` would be asked for them."""
        return self._grid(
            widths=tuple(widths),
            ks=() if self.penalty == "l1" else tuple(map(int, penalties)),
            penalties=tuple(penalties) if self.architecture in PENALTIES else (),
            seeds=tuple(seeds),
            epochs=epochs,
        )

    def check(self) -> None:
        """BitlensError for SAEs that cannot be trained."""
        for epochs in self.epochs:
            self._grid(
                widths=self.width, ks=self.k, penalties=self.l1, seeds=self.seed, epochs=epochs
            )

    def _grid(self, **axes: Any) -> SaeGrid:
        return SaeGrid(
            site=self.site,
            architecture=self.architecture,
            rate=self.rate,
            schedule=self.schedule,
            **axes,
        )


@dataclass(frozen=True)
class Configuration:
    """What an SAE is, but for its seed and the model it is trained on."""

    width: str
    penalty: float
    """Or k."""
    epochs: int
    tokens: int


@dataclass(frozen=True)
class SaeStudy:
    """A grid of SAEs on a model and its twins. `study` holds the model, the texts and the twins."""

    train: Training
    study: Study

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """By the names under which a part is chosen."""
        train = self.train
        usual = (K,) if train.penalty == "k" else (PENALTIES.get(train.architecture, 0.0),)
        return {
            "width": train.width,
            train.penalty: train.k or train.l1 or usual,
            "epochs": train.epochs,
            "tokens": train.tokens,
            "seed": train.seed,
            "twin": self.study.compressions,
        }

    def part(self, only: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """The axes with the values that `width=0.5x,8x`, `seed=0,1`, ... leave; twins, whose text
        may hold commas, are named one at a time. BitlensError for what is not on them."""
        axes, chosen = self.axes, dict[str, list[Any]]()
        for text in only:
            name, equals, values = (part.strip() for part in text.partition("="))
            if name not in axes or not equals:
                raise InputError(
                    f"--only {text} names no axis of this study.",
                    f"AXIS=LIST, AXIS one of {', '.join(axes)}.",
                    nearest(name, list(axes)) or f"--only width={axes['width'][0]}",
                )
            for value in [values] if name == "twin" else values.split(","):
                chosen.setdefault(name, []).append(_on_axis(name, value.strip(), axes[name]))
        return {
            name: tuple(value for value in values if value in chosen.get(name, values))
            for name, values in axes.items()
        }


def configurations(axes: Mapping[str, Sequence[Any]]) -> list[Configuration]:
    """Every point of these axes but for seed and twin, data size by data size."""
    width, penalty, epochs, tokens, *_ = axes.values()
    return [Configuration(w, p, e, t) for t, e, p, w in product(tokens, epochs, penalty, width)]


def trains(path: Path) -> bool:
    """Is this file a study of trained SAEs?"""
    return KEY in read_settings(path)[0]


def load_sae_study(path: Path, trust_remote_code: bool = False) -> SaeStudy:
    """The study in a YAML file: under `train:` the fields of Training, beside it those of a Study
    that say which model, texts and twins. BitlensError for what is unknown, wrong or useless, and,
    without `trust_remote_code`, for one that asks for it."""
    values, where = read_settings(path)
    train = values.pop(KEY)
    for name, instead in ELSEWHERE.items():
        if name in values:
            raise InputError(
                f"{where((name,))} says nothing about SAEs that are trained.",
                f"{instead}.",
                "leave it out.",
            )
    if not isinstance(train, dict):
        raise InputError(
            f"{where((KEY,))} is {train!r}.", "settings with their values.", "site: resid.3"
        )
    training = Training.model_validate(train, context=lambda at: where((KEY, *at)))
    try:
        training.check()
    except BitlensError as error:
        found = f"{where((KEY,))}: {error.found}"
        raise InputError(found, error.expected, error.remedy) from None
    budget = {"tokens": ROOM * (training.held_out + max(training.tokens)), "controls": ()}
    study = Study.model_validate({**values, **budget}, context=where)
    require_consent(study, trust_remote_code, str(path))
    if len(study.models) != 1:
        raise InputError(
            f"{where(('models',))} names {len(study.models)} models.",
            "one model, whose SAEs are trained on it and on its twins.",
            "a file for each model, and an --out for each.",
        )
    return SaeStudy(training, study)


def _on_axis(name: str, text: str, values: Sequence[Any]) -> Any:
    for value in values:
        if text == str(value) or (isinstance(value, int | float) and _number(text) == value):
            return value
    raise InputError(
        f"--only {name}={text} is not in this study.",
        f"of {', '.join(map(str, values))}.",
        nearest(text, list(map(str, values))) or f"--only {name}={values[0]}",
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
