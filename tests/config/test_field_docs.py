"""The strings under fields."""

from dataclasses import dataclass

from bitlens.compression.methods.controls import Noise
from bitlens.config.field_docs import meanings


@dataclass(frozen=True)
class Parent:
    """Not a field's."""

    first: int = 0
    """Of the
    parent."""
    silent: int = 0


@dataclass(frozen=True)
class Child(Parent):
    """Overrides one and adds one."""

    silent: int = 1
    """Now it speaks."""
    second: int = 0

    def method(self) -> None:
        """Not a field's either."""


def test_meanings_are_the_strings_under_fields():
    """On one line, inherited ones too; a field without one has none."""
    assert meanings(Child) == {"first": "Of the parent.", "silent": "Now it speaks."}


def test_a_subclass_may_say_it_differently():
    """Noise takes its patterns from what it is like."""
    assert (
        meanings(Noise)["include"] == "Patterns of the matrices that are changed: those of `like`."
    )
