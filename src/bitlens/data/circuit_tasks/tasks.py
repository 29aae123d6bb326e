"""The tasks by name, and the prompts of those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from bitlens.data.circuit_tasks.prompts import At, TaskPrompts, Vocabulary
from bitlens.errors import InputError
from bitlens.registry import nearest, nearest_file

Make = Callable[[Vocabulary, int], TaskPrompts]
NAMES = (
    "agreement",
    "copying",
    "docstring",
    "greater-than",
    "induction",
    "ioi",
    "ioi-abc",
    "pronoun",
)
FORM = f"{', '.join(NAMES)}, or a file of your own (docs/circuits.md)"
PLACES: tuple[At, ...] = get_args(At)


@dataclass(frozen=True)
class AskedTask:
    """A task as it is asked for: `ioi`, `ioi:at=last`, `mine.jsonl:at=marked`."""

    name: str
    at: At = "all"

    @property
    def text(self) -> str:
        """As it is written."""
        return self.name + self._places

    @property
    def called(self) -> str:
        """What its numbers are called: a file by its name, without its folder."""
        return (self.name if self.name in NAMES else Path(self.name).name) + self._places

    @property
    def _places(self) -> str:
        return "" if self.at == "all" else f":at={self.at}"


def asked(text: str) -> AskedTask:
    """The task of a text. BitlensError for a name that is none and positions that are none."""
    name, colon, at = text.strip().partition(":at=")
    places = [place for place in PLACES if place == at]
    if colon and not places:
        raise InputError(
            f"The task {text} is to be patched at {at!r}.",
            f"one of {', '.join(PLACES)}.",
            f"{name}:at=last",
        )
    if name not in NAMES and not name.endswith(".jsonl"):
        raise InputError(
            f"There is no task called {name!r}.", f"{FORM}.", nearest(name.lower(), NAMES) or "ioi"
        )
    return AskedTask(name, places[0] if places else "all")


def refuse_one_name(tasks: Iterable[AskedTask]) -> None:
    """BitlensError where two files would be called the same: their numbers could not be told
    apart."""
    known: dict[str, AskedTask] = {}
    for task in tasks:
        other = known.setdefault(task.called, task)
        if other != task:
            raise InputError(
                f"{other.text} and {task.text} would both be called {task.called}.",
                "tasks of different names; a file's is its name without the folder.",
                "rename one of the files.",
            )


def refuse_absent_files(tasks: Iterable[str]) -> None:
    """BitlensError for a file of prompts that is not there, or that holds none."""
    from bitlens.data.circuit_tasks.own import read_wordings

    for name in (asked(text).name for text in tasks):
        path = Path(name)
        if name in NAMES:
            continue
        if not path.is_file():
            raise InputError(
                f"There is no file {name}.", FORM, nearest_file(path) or "another path."
            )
        read_wordings(path)


def made(task: AskedTask, vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """The prompts of a task for a tokenizer, or the reason why there are none. BitlensError for a
    file of the user's own that does not fit."""
    from bitlens.data.circuit_tasks import numbers, own, repeats, words

    makers: dict[str, Make] = {
        "agreement": words.agreement,
        "copying": repeats.copying,
        "docstring": words.docstring,
        "greater-than": numbers.greater_than,
        "induction": repeats.induction,
        "ioi": words.indirect_object,
        "ioi-abc": words.indirect_object_of_three,
        "pronoun": words.pronoun,
    }
    if task.name in makers:
        found = makers[task.name](vocabulary, seed)
    else:
        found = own.own_task(task.name, vocabulary)
    return replace(found, task=task.called, at=task.at)
