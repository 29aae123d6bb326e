"""Layer: what draws the points of one kind, as Vega-Lite has it.

The same steps as in Altair, whose charts copy everything they hold at every one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bitlens.report.charts.channels import Channel, channel
from bitlens.report.page.parts import Spec


@dataclass(frozen=True)
class Layer:
    """Filters, a mark and its channels; each step gives another layer."""

    filters: tuple[Any, ...] = ()
    mark: Mapping[str, Any] = field(default_factory=dict)
    channels: Mapping[str, Any] = field(default_factory=dict)

    def transform_filter(self, test: str | Spec) -> "Layer":
        """Only of points that pass this too."""
        return replace(self, filters=(*self.filters, {"filter": test}))

    def mark_rule(self, **look: Any) -> "Layer":
        """Drawn as straight lines."""
        return self._drawn("rule", look)

    def mark_line(self, **look: Any) -> "Layer":
        """Drawn as one line through the points."""
        return self._drawn("line", look)

    def mark_area(self, **look: Any) -> "Layer":
        """Drawn as a band."""
        return self._drawn("area", look)

    def mark_point(self, **look: Any) -> "Layer":
        """Drawn as marks."""
        return self._drawn("point", look)

    def mark_text(self, **look: Any) -> "Layer":
        """Drawn as words."""
        return self._drawn("text", look)

    def mark_bar(self, **look: Any) -> "Layer":
        """Drawn as bars."""
        return self._drawn("bar", look)

    def mark_rect(self, **look: Any) -> "Layer":
        """Drawn as cells."""
        return self._drawn("rect", look)

    def encode(self, **channels: Any) -> "Layer":
        """What each channel shows: a channel, or a field and its kind, `lo:Q`."""
        found = {name: _channel(name, of) for name, of in channels.items()}
        return replace(self, channels={**self.channels, **found})

    def spec(self) -> Spec:
        """The layer's specification."""
        found: Spec = {"mark": dict(self.mark), "encoding": dict(self.channels)}
        return {**found, "transform": list(self.filters)} if self.filters else found

    def _drawn(self, kind: str, look: Mapping[str, Any]) -> "Layer":
        return replace(self, mark={"type": kind, **dict(sorted(look.items()))})


def _channel(name: str, of: Channel | Sequence[Channel] | str) -> Any:
    if not isinstance(of, str):
        return of
    # The far end of what is drawn is of the same kind as the near one.
    return {"field": of.partition(":")[0]} if name in ("x2", "y2") else channel(of)
