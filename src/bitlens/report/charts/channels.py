"""Channels of a layer, as Vega-Lite has them: what stands across, up, in which colour, and so on.

Plain dictionaries: Altair, which says the same, takes as long to load as a section to make.
"""

from typing import Any

from bitlens.report.page.parts import Spec

Channel = Spec
_KINDS = {"Q": "quantitative", "N": "nominal", "O": "ordinal"}


def channel(field: str, **about: Any) -> Channel:
    """A field and its kind, `lo:Q`, with whatever else is to be known of it."""
    place, _, kind = field.partition(":")
    return {"field": place, "type": _KINDS[kind], **about}


def having(**settings: Any) -> Spec:
    """A scale, an axis or a legend."""
    return settings


def constant(value: Any) -> Channel:
    """The same for every point: a number of pixels, `width`."""
    return {"value": value}


def equals(field: str, value: Any) -> Spec:
    """A test that a point passes whose field holds this."""
    return {"field": field, "equal": value}
