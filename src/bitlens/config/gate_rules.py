"""Rules of a gate read from a YAML file: `rules:`, and under it a list of bounds."""

from collections.abc import Sequence
from pathlib import Path
from re import fullmatch
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bitlens.config.parsing import Form, Settings, read_settings, unknown
from bitlens.errors import InputError
from bitlens.registry import nearest_file
from bitlens.results.gating.rule import ANY, Against, GateRule

KEY = "rules"
EXAMPLE = "{metric: behaviour.kl, at_most: 0.1}"
RULES = Form(
    "rules of a gate in YAML: rules, and under it a list of bounds.",
    f"rules: on one line and - {EXAMPLE} on the next; a pattern that begins with * in quotes. "
    "bitlens gate RUN --init writes a file to begin with.",
)


def _number(value: Any) -> Any:
    """YAML takes 1e-3, which has no dot, for a text."""
    written = isinstance(value, str) and fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d{1,3}", value)
    return float(value) if written else value


Bound = Annotated[float, BeforeValidator(_number), Field(strict=True, allow_inf_nan=False)]
Pattern = Annotated[str, Field(min_length=1, examples=["resid.*"])]


class GateRuleEntry(Settings):
    """A rule as it is written: the numbers it is on, by patterns, and one bound."""

    metric: Annotated[str, Field(min_length=1, examples=["behaviour.kl"])]
    """`analysis.metric`, or a pattern of it."""
    at_most: Annotated[Bound | None, Field(examples=["at_most: 0.1"])] = None
    """The whole interval has to lie at this or below."""
    at_least: Annotated[Bound | None, Field(examples=["at_least: 0.9"])] = None
    """The whole interval has to lie at this or above."""
    twin: Annotated[str | None, Field(min_length=1, examples=['"rtn:bits=4*"'])] = None
    """Compressions; left out: every twin that is no control."""
    model: Pattern = ANY
    """Models; left out: all."""
    site: Pattern = ANY
    """Sites; left out: all that have the metric."""
    item: Pattern = ANY
    """What stands within the site: an SAE, `head 3`, `cumulative`, `twin`; left out: all."""
    against: Annotated[Against | None, Field(examples=["noise"])] = None
    """What is subtracted first: the noise of the twin's size, the cast, the reference, or the same
    twin in `--baseline`; left out: nothing."""

    def rule(self, place: str) -> GateRule:
        """The rule, and where it stands. InputError for no bound, or two."""
        most = self.at_most is not None
        bound = self.at_most if most else self.at_least
        if bound is None or (most and self.at_least is not None):
            some = "no" if bound is None else "two"
            raise InputError(
                f"{place}: the rule on {self.metric} has {some} bounds.",
                "one of at_most and at_least; two bounds are two rules.",
                EXAMPLE,
            )
        return GateRule(
            metric=self.metric,
            side="at_most" if most else "at_least",
            bound=bound,
            twin=self.twin,
            model=self.model,
            site=self.site,
            item=self.item,
            against=self.against,
            place=place,
        )


def load_rules(path: str | Path) -> list[GateRule]:
    """The rules in a YAML file. BitlensError for what is unknown, wrong, or no rule at all."""
    if not Path(path).exists():
        near = nearest_file(Path(path))
        raise InputError(
            f"There is no {path}.",
            "rules of a gate in YAML.",
            near or "bitlens gate RUN --init writes rules to begin with.",
        )
    values, where = read_settings(path, RULES)
    for name in values:
        if name != KEY:
            raise unknown(where((name,)), name, [KEY])
    written = values.get(KEY)
    if not isinstance(written, list) or not written:
        raise InputError(f"{path} has no list of rules.", *RULES)
    found = []
    for number, entry in enumerate(written):

        def at(location: Sequence[str | int], number: int = number) -> str:
            return where((KEY, number, *location))

        if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
            raise InputError(f"{at(())} is {entry!r}.", "a metric and a bound.", EXAMPLE)
        # A misspelt key is told before what is missing for it.
        for name in entry:
            if name not in GateRuleEntry.model_fields:
                raise unknown(at((name,)), name, list(GateRuleEntry.model_fields))
        found.append(GateRuleEntry.model_validate(entry, context=at).rule(at(())))
    return found
