"""Pairs of prompts of a task, as tokens: a clean one, a corrupt one of the same length that differs
in what decides the answer, and the tokens of the right and the wrong answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Literal

from bitlens.data.tokenisation import Bos, opening_token
from bitlens.seeds import derive

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

At = Literal["all", "marked", "last"]
"""Everywhere, where the two prompts differ, or at the last token."""
CHOOSING, SCORING = 16, 40
"""Pairs on which a circuit is chosen, and those on which everything is measured: on the same ones
a circuit would look better than it is."""
DRAWN_FROM = 4000
"""Tokens that random ones are drawn from, about."""
TRIES = 20
"""Draws for each pair that is wanted, until there are enough."""
FEWEST = 20
"""Pairs to measure on without which nothing is measured."""


@dataclass(frozen=True)
class Wording:
    """A pair of prompts in words. `right` and `wrong` are continuations, each one token long."""

    clean: str
    corrupt: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PromptPair:
    """A pair of prompts in tokens."""

    clean: tuple[int, ...]
    """With BOS where the model reads one."""
    corrupt: tuple[int, ...]
    """Of the same length."""
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    shown: str
    """The clean prompt and its answer, for a reader."""

    @property
    def marked(self) -> tuple[int, ...]:
        """Where the two prompts differ."""
        pairs = zip(self.clean, self.corrupt, strict=True)
        return tuple(n for n, (one, other) in enumerate(pairs) if one != other)


@dataclass(frozen=True, kw_only=True)
class TaskPrompts:
    """The prompts of one task for one tokenizer, or the reason why there are none."""

    task: str
    choosing: tuple[PromptPair, ...] = ()
    scoring: tuple[PromptPair, ...] = ()
    reason: str | None = None
    note: str = ""
    """What the task is with this tokenizer, where that is not as everywhere."""
    at: At = "all"
    """At which positions activations are put in place."""

    @property
    def logits(self) -> bool:
        """Whether what is measured is a difference of two logits; else one of two sums of
        probabilities, because several answers are right."""
        return all(len(p.right) == len(p.wrong) == 1 for p in (*self.choosing, *self.scoring))

    @property
    def unit(self) -> str:
        """Of what is measured."""
        return "logits" if self.logits else "share"

    @cached_property
    def digest(self) -> str:
        """Changes when a token does."""
        told = repr((self.reason, self.choosing, self.scoring, self.at))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


Kind = Callable[[Random], Wording]
"""What draws one kind of pair of a task."""


class Vocabulary:
    """What templates must know of a tokenizer: what is one token behind other text."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        bos: Bos,
        context: int,
        known: int | None = None,
    ) -> None:
        """`known`: how many tokens the model has, where its tokenizer may have more."""
        self._tokenizer, self.context = tokenizer, context
        self._known = known
        self._opening, _ = opening_token(tokenizer, bos)
        self._encoded: dict[str, tuple[int, ...]] = {}

    @property
    def begin(self) -> tuple[int, ...]:
        """What every window begins with."""
        return () if self._opening is None else (self._opening,)

    @cached_property
    def ordinary(self) -> list[int]:
        """Ids of tokens that are not special and can be read, a few thousand of many; all where
        few can."""
        special = set(self._tokenizer.all_special_ids)
        most = len(self._tokenizer)
        whole = most if self._known is None else min(most, self._known)
        ids = [n for n in range(whole) if n not in special]
        some = ids[:: max(1, len(ids) // DRAWN_FROM)]
        texts = self._tokenizer.batch_decode([[n] for n in some])
        readable = [n for n, t in zip(some, texts, strict=True) if t.strip() and _readable(t)]
        return readable if len(readable) > DRAWN_FROM // 40 else ids

    def encode(self, text: str) -> tuple[int, ...]:
        """Without anything special; every text once."""
        if text not in self._encoded:
            found = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            self._encoded[text] = tuple(found)
        return self._encoded[text]

    def decode(self, tokens: Iterable[int]) -> str:
        """As a reader sees them."""
        return str(self._tokenizer.decode(list(tokens)))

    def after(self, text: str, continuation: str) -> tuple[int, ...] | None:
        """The tokens that a continuation has behind a text; None where the text's own tokens change
        with it."""
        before, whole = self.encode(text), self.encode(text + continuation)
        return whole[len(before) :] if whole[: len(before)] == before else None

    def single(self, words: Iterable[str]) -> list[str]:
        """Those of some words that are one token behind another word and a space."""
        return [w for w in words if len(self.after("a", f" {w}") or ()) == 1]

    def pair(self, wording: Wording) -> PromptPair | None:
        """A pair in tokens; None where it is too long, the prompts have different lengths or are
        equal, an answer is not one token of its own, or the model has not all tokens."""
        clean, corrupt = self.encode(wording.clean), self.encode(wording.corrupt)
        answers = [
            [self.after(wording.clean, text) for text in texts]
            for texts in (wording.right, wording.wrong)
        ]
        if len(clean) != len(corrupt) or clean == corrupt:
            return None
        if len(self.begin) + len(clean) > self.context:
            return None
        found: list[tuple[int, ...]] = []
        for texts in answers:
            ids = tuple(of[0] for of in texts if of is not None and len(of) == 1)
            if len(ids) < len(texts):
                return None
            found.append(tuple(dict.fromkeys(ids)))
        right, wrong = found
        if set(right) & set(wrong):
            return None
        if self._known is not None and max(*clean, *corrupt, *right, *wrong) >= self._known:
            return None
        return PromptPair(
            clean=(*self.begin, *clean),
            corrupt=(*self.begin, *corrupt),
            right=right,
            wrong=wrong,
            shown=f"{wording.clean}|{wording.right[0]}",
        )


def _readable(text: str) -> bool:
    return text.isprintable() and "\ufffd" not in text


def drawn(
    task: str,
    vocabulary: Vocabulary,
    seed: int,
    kinds: Sequence[Kind],
    needed: str = "",
) -> TaskPrompts:
    """As many different pairs as are wanted, the kinds in turn and in equal number. `needed`: what
    the tokenizer lacks where there are too few."""
    draw = Random(derive(seed, "circuit task", task))

    most = (CHOOSING + SCORING) // len(kinds)

    def pairs(kind: Kind) -> list[PromptPair]:
        found: dict[PromptPair, None] = {}
        for _ in range(TRIES * most):
            if len(found) == most:
                break
            if (pair := vocabulary.pair(kind(draw))) is not None:
                found[pair] = None
        return list(found)

    each = [pairs(kind) for kind in kinds]
    turns = [pair for of in zip(*each, strict=False) for pair in of]
    return divided(task, turns, needed)


def divided(task: str, pairs: Sequence[PromptPair], needed: str = "") -> TaskPrompts:
    """Pairs as those for choosing and those for scoring."""
    share = min(CHOOSING, len(pairs) // 3)
    share -= share % 2
    choosing, scoring = pairs[:share], pairs[share : share + SCORING]
    if len(scoring) < FEWEST:
        why = needed or "too many are of different lengths or have answers of several tokens"
        return TaskPrompts(
            task=task,
            reason=f"its templates give {len(pairs)} pairs of prompts with this tokenizer, too "
            f"few to measure on: {why}",
        )
    return TaskPrompts(task=task, choosing=tuple(choosing), scoring=tuple(scoring))
