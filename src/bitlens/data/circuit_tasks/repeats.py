"""Tasks of random tokens: induction, and copying of a whole sequence."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bitlens.data.circuit_tasks.prompts import (
    CHOOSING,
    SCORING,
    PromptPair,
    TaskPrompts,
    Vocabulary,
    divided,
)
from bitlens.seeds import derive

LONG = 8
"""Tokens beside those that matter, and of a sequence that is said again."""


def induction(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """What followed a token the last time follows it again (Olsson et al. 2022, arXiv 2209.11895):
    `... A B ... C D ... A` and then B; in the corrupt prompt A and C had changed places, so that
    what is looked for stands behind the other one."""

    def pair(draw: Random, tokens: list[int]) -> PromptPair:
        *others, again, beside, right, wrong = draw.sample(tokens, LONG + 4)
        pairs = [(again, right), (beside, wrong)]
        turned = [(beside, right), (again, wrong)]
        first = draw.randrange(2)
        begin, end = sorted(draw.sample(range(LONG), 2))

        def prompt(two: list[tuple[int, int]]) -> tuple[int, ...]:
            one, other = two[first], two[1 - first]
            return (*others[:begin], *one, *others[begin:end], *other, *others[end:], again)

        return _pair(vocabulary, (prompt(pairs), prompt(turned)), (right, wrong))

    return _drawn("induction", vocabulary, seed, LONG + 4, pair)


def copying(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """A sequence is said again, and one of its tokens comes next; in the corrupt prompt the
    sequence had another token there."""

    def pair(draw: Random, tokens: list[int]) -> PromptPair:
        *sequence, right, wrong = draw.sample(tokens, LONG + 2)
        place = draw.randrange(2, LONG - 1)

        def prompt(answer: int) -> tuple[int, ...]:
            return (*sequence[:place], answer, *sequence[place:], *sequence[:place])

        return _pair(vocabulary, (prompt(right), prompt(wrong)), (right, wrong))

    return _drawn("copying", vocabulary, seed, LONG + 2, pair)


def _pair(
    vocabulary: Vocabulary,
    prompts: tuple[tuple[int, ...], tuple[int, ...]],
    answers: tuple[int, int],
) -> PromptPair:
    """A clean and a corrupt prompt, and the right and the wrong answer."""
    clean, corrupt = prompts
    right, wrong = answers
    return PromptPair(
        clean=(*vocabulary.begin, *clean),
        corrupt=(*vocabulary.begin, *corrupt),
        right=(right,),
        wrong=(wrong,),
        shown=f"{vocabulary.decode(clean)}|{vocabulary.decode([right])}",
    )


def _drawn(
    task: str,
    vocabulary: Vocabulary,
    seed: int,
    needed: int,
    pair: Callable[[Random, list[int]], PromptPair],
) -> TaskPrompts:
    tokens = vocabulary.ordinary
    longest = len(vocabulary.begin) + 2 * LONG + 5
    if len(tokens) < needed or vocabulary.context < longest:
        reason = (
            f"a vocabulary of {len(tokens)} tokens and a context of {vocabulary.context} have no "
            f"room for it: it takes {needed} different tokens and a context of {longest}"
        )
        return TaskPrompts(task=task, reason=reason)
    draw = Random(derive(seed, "circuit task", task))
    return divided(task, [pair(draw, tokens) for _ in range(CHOOSING + SCORING)])
