"""Whether an audit sets twins beside their reference, to multiply only what they differ by."""

import torch

from bitlens.engine.swept_model import Reference
from bitlens.models.layout import Layout
from bitlens.models.paired_block import unpaired
from bitlens.results.records import Check
from bitlens.workflows.session import Session


def set_beside(session: Session) -> None:
    """Let the sweeps of an audit do so where that was asked for."""
    session.layout.paired = session.source.compute == "paired"


@torch.no_grad()
def about_pairs(layout: Layout) -> Check:
    """What is multiplied how where they are."""
    tokens = torch.arange(16, device=layout.device)[None] % layout.vocabulary
    entry, reference = layout.shell.enter(tokens, None), Reference(layout)
    kinds = {id(names): depth for depth, names in enumerate(layout.block_layouts)}
    whole = {
        name
        for depth in kinds.values()
        for name in unpaired(
            reference.block(depth, layout.block(depth)), entry.hidden, entry.calls[depth]
        )
    }
    reference.release()
    same = f" (whole, in float32, all the same: {', '.join(sorted(whole))})" if whole else ""
    return Check(
        "twins beside their reference",
        passed=True,
        detail="the reference is computed in float32; of twins only what they differ by is "
        f"multiplied, in bfloat16{same}, but of those that round what they multiply",
    )
