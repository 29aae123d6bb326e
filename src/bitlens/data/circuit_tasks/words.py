"""Tasks of words: indirect objects, agreement, pronouns and docstrings, from templates."""

from __future__ import annotations

from collections.abc import Sized
from functools import partial
from random import Random

from bitlens.data.circuit_tasks.prompts import Kind, TaskPrompts, Vocabulary, Wording, drawn


def _words(text: str) -> list[str]:
    return text.split()


WOMEN = _words(
    "Mary Anna Lucy Emma Sarah Lily Mia Alice Jane Kate Laura Susan Helen Julia Amy Lisa Karen "
    "Linda Maria Rachel Rose Ruth Sue Molly Daisy Ella Grace Jenny Sally Bella Barbara Elizabeth"
)
MEN = _words(
    "John Tom Tim Max Ben Sam Jack Paul Mark James Peter David Michael Robert Daniel Bob Jim Bill "
    "George Henry Adam Alex Andrew Chris Eric Frank Kevin Steve Simon Joe Mike Billy Charlie"
)
PLACES = _words("store park school house garden beach office hospital station room")
THINGS = _words("drink book ball gift toy letter box cake flower hat")
NOUNS = _words(
    "key boy girl cat dog bird car book tree door friend picture song teacher student ship horse "
    "apple star house toy flower file value name function argument object line list method class "
    "option number module result type item element error field parameter string token"
)
OTHERS = _words("cabinet box house garden man class file table list module park room")
ARGUMENTS = _words(
    "name value size file files index data type path text key line lines mode code count time "
    "list state order result offset start end length item items node event source target level "
    "option user method token format model color password image message"
)
VERBS = _words("load send read write run find open close call get set make update check add")
MEETINGS = (
    "When {a} and {b} went to the {place}, {s} gave a {thing} to",
    "Then {a} and {b} went to the {place}. {s} gave a {thing} to",
    "One day, {a} and {b} were at the {place}. {s} gave the {thing} to",
    "{a} and {b} played in the {place}. {s} wanted to give a {thing} to",
)
KNOWN = (
    "{name} is a very good friend, and",
    "One day, {name} was very happy because",
    "{name} went to the {place} and then",
    "{name} was sad and did not know what",
)
NUMBERS = ("The {noun} in the {other}", "The {noun} of the {other}", "The {noun} near the {other}")


def indirect_object(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """Indirect object identification (Wang et al. 2022, arXiv 2211.00593); in the corrupt prompt
    the other of the two names is said again."""
    return _indirect_object("ioi", vocabulary, seed, three=False)


def indirect_object_of_three(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """The same; the corrupt prompt has three other names, none said twice (the paper's ABC)."""
    return _indirect_object("ioi-abc", vocabulary, seed, three=True)


def _indirect_object(task: str, vocabulary: Vocabulary, seed: int, *, three: bool) -> TaskPrompts:
    names = vocabulary.single((*WOMEN, *MEN))
    if len(names) < 5:
        return TaskPrompts(task=task, reason=_few("names", names, (*WOMEN, *MEN)))

    def kind(*, io_first: bool) -> Kind:
        def wording(draw: Random) -> Wording:
            template = draw.choice(MEETINGS)
            about = {"place": draw.choice(PLACES), "thing": draw.choice(THINGS)}
            io, s, *others = draw.sample(names, 5)
            a, b = (io, s) if io_first else (s, io)
            said = others if three else (a, b, io)
            clean = template.format(a=a, b=b, s=s, **about)
            corrupt = template.format(a=said[0], b=said[1], s=said[2], **about)
            return Wording(clean, corrupt, (f" {io}",), (f" {s}",))

        return wording

    # ABBA (the indirect object first) and BABA, as often as each other.
    return drawn(task, vocabulary, seed, [kind(io_first=True), kind(io_first=False)])


def agreement(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """Subject and verb: ` is` or ` are` behind a noun that another stands behind."""
    nouns = [n for n in vocabulary.single(NOUNS) if vocabulary.single([_many(n)])]
    others = vocabulary.single(OTHERS)
    if len(nouns) < 4 or not others or len(vocabulary.single(("is", "are"))) < 2:
        return TaskPrompts(task="agreement", reason=_few("nouns in both numbers", nouns, NOUNS))

    def wording(draw: Random, *, many: bool) -> Wording:
        template, noun = draw.choice(NUMBERS), draw.choice(nouns)
        other = draw.choice([o for o in others if o != noun])
        one, more = (template.format(noun=n, other=other) for n in (noun, _many(noun)))
        if many:
            return Wording(more, one, (" are",), (" is",))
        return Wording(one, more, (" is",), (" are",))

    kinds = [partial(wording, many=many) for many in (True, False)]
    return drawn("agreement", vocabulary, seed, kinds)


def pronoun(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """Gendered pronouns: ` she` or ` he` by the name that was said."""
    women, men = vocabulary.single(WOMEN), vocabulary.single(MEN)
    if min(len(women), len(men)) < 4 or len(vocabulary.single(("he", "she"))) < 2:
        found = [*women, *men]
        return TaskPrompts(task="pronoun", reason=_few("names", found, (*WOMEN, *MEN)))

    def wording(draw: Random, *, woman: bool) -> Wording:
        template, place = draw.choice(KNOWN), draw.choice(PLACES)
        hers, his = (template.format(name=draw.choice(n), place=place) for n in (women, men))
        if woman:
            return Wording(hers, his, (" she",), (" he",))
        return Wording(his, hers, (" he",), (" she",))

    kinds = [partial(wording, woman=woman) for woman in (True, False)]
    return drawn("pronoun", vocabulary, seed, kinds)


def docstring(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """The next argument in a docstring (Heimersheim and Janiak 2023); in the corrupt prompt it has
    changed places with another in the signature."""
    names = vocabulary.single(ARGUMENTS)
    if len(names) < 8:
        return TaskPrompts(task="docstring", reason=_few("argument names", names, ARGUMENTS))

    def wording(draw: Random) -> Wording:
        one, two, three, four, *about = draw.sample(names, 8)
        verb = draw.choice(VERBS)

        def text(third: str, fourth: str) -> str:
            return (
                f"def {verb}(self, {one}, {two}, {third}, {fourth}):\n"
                f'    """{verb} {about[0]}\n\n'
                f"    :param {one}: the {about[1]}\n"
                f"    :param {two}: the {about[2]}\n"
                "    :param"
            )

        return Wording(text(three, four), text(four, three), (f" {three}",), (f" {four}",))

    return drawn("docstring", vocabulary, seed, [wording])


def _many(noun: str) -> str:
    irregular = {"class": "classes"}
    return irregular.get(noun, f"{noun}s")


def _few(what: str, found: Sized, of: Sized) -> str:
    return f"only {len(found)} of {len(of)} {what} are single tokens of this tokenizer"
