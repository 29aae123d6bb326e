"""What an accumulator is kept under, between the steps of a sweep and from wave to wave."""

from typing import NamedTuple

from bitlens.engine.accumulators import Accumulator


class MetricKey(NamedTuple):
    """What one comparison adds up at one site."""

    analysis: str
    twin: str
    item: str
    """`cumulative` or `local`."""
    site: str


class SampleKey(NamedTuple):
    """Positions of one run that are kept at one site."""

    size: str
    """How many at most, in digits."""
    run: str
    documents: str
    """The set of documents they are drawn from."""
    site: str


class LensKey(NamedTuple):
    """Positions of one run that wait at one site until they go through the unembedding."""

    analysis: str
    run: str
    site: str


Key = MetricKey | SampleKey | LensKey
Accumulators = dict[Key, Accumulator]

_KINDS: dict[str, type[MetricKey] | type[SampleKey] | type[LensKey]] = {
    "metric": MetricKey,
    "sample": SampleKey,
    "lens": LensKey,
}


def fields(key: Key) -> tuple[str, ...]:
    """A key as text: its kind and its fields."""
    return next(name for name, kind in _KINDS.items() if isinstance(key, kind)), *key


def from_fields(kind: str, *values: str) -> Key:
    """The inverse of `fields`."""
    return _KINDS[kind](*values)
