"""A compression for each pattern of matrices."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.input_statistics import Statistic
from bitlens.compression.patterns import matches
from bitlens.compression.spec import format_spec
from bitlens.compression.spec_settings import Rules, check
from bitlens.errors import BitlensError, InputError
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("mixed")
@dataclass(frozen=True, kw_only=True)
class Mixed(Compression):
    """Each matrix by the first pattern that matches it, `mixed:*.down_proj=[rtn:bits=8],*=[nf4]`;
    what no pattern matches is left alone."""

    name: ClassVar[str] = "mixed"
    question: ClassVar[str] = "What does compressing different matrices differently do?"

    rules: Rules
    """The first that matches decides. `*` comes last: every other matrix of every block but
    routers."""
    include: tuple[str, ...] = field(init=False)
    """The patterns of the rules."""

    def __post_init__(self) -> None:
        check(self)
        patterns = [pattern for pattern, _ in self.rules]
        taken = {field.name for field in fields(self)}
        for place, pattern in enumerate(patterns):
            if pattern in taken:
                raise _refused(f"{pattern} is the name of a setting", "patterns that are none")
            if pattern in patterns[:place]:
                raise _refused(f"{pattern} is given twice", "each pattern once")
            if "*" in patterns[:place]:
                raise _refused(f"{pattern} comes after *", "* last: it matches what is left")
        if not patterns:
            raise _refused("there is no pattern", "at least one")
        for pattern, part in self.rules:
            _check_part(pattern, part)
        object.__setattr__(self, "include", tuple(patterns))

    @property
    def parts(self) -> tuple[Compression, ...]:
        """The compressions of its rules, in their order."""
        return tuple(part for _, part in self.rules)

    def part_for(self, matrix: str) -> Compression:
        """The compression of the first rule that matches it. ValueError where none does."""
        return self.rules[self._place(matrix)][1]

    @property
    def statistics(self) -> frozenset[Statistic]:
        """All that any of its parts is calibrated on."""
        return frozenset().union(*(part.statistics for part in self.parts))

    @property
    def sequential(self) -> bool:
        """Where any of its calibrated compressions is."""
        return any(part.sequential for part in self.parts if part.statistics)

    def prepare(self, matrices: Callable[[], Iterable[LinearMap]]) -> list[Any]:
        """What each compression must know of the matrices that are its own."""

        def own(place: int) -> Callable[[], Iterable[LinearMap]]:
            return lambda: (matrix for matrix in matrices() if self._place(matrix.name) == place)

        return [part.prepare(own(place)) for place, part in enumerate(self.parts)]

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Compress each matrix by its own part, and say in the note which that is."""
        places = [self._place(matrix.name) for matrix in group.matrices]
        made: dict[int, CompressedMatrix] = {}
        for place, part in enumerate(self.parts):
            own = [number for number, found in enumerate(places) if found == place]
            if own:
                results = part.compress(
                    replace(
                        group,
                        matrices=[group.matrices[number] for number in own],
                        prepared=None if group.prepared is None else group.prepared[place],
                        inputs=group.inputs if part.statistics else None,
                    )
                )
                made |= dict(zip(own, (_noted(result, part) for result in results), strict=True))
        return [made[number] for number in range(len(places))]

    def _place(self, name: str) -> int:
        """The number of the first rule whose pattern matches a matrix's name; else ValueError."""
        for place, (pattern, _) in enumerate(self.rules):
            if matches(name, pattern):
                return place
        raise ValueError(f"no pattern matches {name}")


def _noted(result: CompressedMatrix, part: Compression) -> CompressedMatrix:
    """Tables of a mixed twin name it as a whole: the note says which part of it this was."""
    return replace(result, note="; ".join(filter(None, (format_spec(part), result.note))))


def _check_part(pattern: str, part: Compression) -> None:
    if part.include or part.exclude:
        raise _refused(
            f"the compression of {pattern} has patterns of its own, {format_spec(part)}",
            "patterns before the compressions only",
        )
    if (
        part.matched_to
        or part.control
        or part.compute_dtype
        or part.cache
        or part.name in ("mixed", "checkpoint")
    ):
        raise _refused(
            f"{pattern} is to be {format_spec(part)}",
            "compressions that change matrices and nothing else: no control, no other mixture, no"
            " checkpoint, no dtype to compute in, nothing to be matched first",
        )


def _refused(found: str, expected: str) -> BitlensError:
    remedy = "mixed:*.down_proj=[rtn:bits=8],*=[rtn:bits=4]"
    return InputError(f"mixed: {found}.", f"{expected}.", remedy)
