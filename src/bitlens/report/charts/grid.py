"""Grids: a row a block, a cell each of its heads or experts, darker the more of it is wrong."""

from collections.abc import Mapping, Sequence

from bitlens.report.charts.channels import Channel, channel, having

GAP = 0.06
"""Between cells, as a share of one."""
INTERVAL = {"low": "95 % interval from", "high": "95 % interval to"}


def axes(what: str, columns: Sequence[int], blocks: Sequence[int]) -> tuple[Channel, Channel]:
    """Where a cell stands: which of a block's, to the right, and of which block, down."""
    return (
        channel(
            "x:O",
            title=what,
            sort=list(columns),
            axis=having(labelAngle=0, labelOverlap=True),
            scale=having(domain=list(columns), paddingInner=GAP),
        ),
        channel(
            "block:O",
            title="block",
            axis=having(labelOverlap=True),
            scale=having(domain=list(blocks), paddingInner=GAP),
        ),
    )


def darker(title: Sequence[str], top: float, decades: int, numbers: str) -> Channel:
    """The colour of a cell by its `value`, on a logarithmic scale so many decades long that ends at
    `top`; `numbers`: the format of the legend's."""
    return channel(
        "value:Q",
        scale=having(
            type="log",
            domain=[float(f"{top * 10**-decades:.3g}"), float(f"{top:.3g}")],
            range=["#fff3e0", "#fdb863", "#e0662a", "#b3261c", "#7a0f12"],
            clamp=True,
        ),
        legend=having(
            title=list(title), orient="right", gradientLength=90, tickCount=4, format=numbers
        ),
    )


def tips(item: str, fields: Mapping[str, str], numbers: str) -> list[Channel]:
    """What is said of a cell that is pointed at: which it is, of which twin, and these numbers."""
    return [
        channel("item:N", title=item),
        channel("who:N", title="of"),
        *(channel(f"{field}:Q", title=title, format=numbers) for field, title in fields.items()),
    ]
