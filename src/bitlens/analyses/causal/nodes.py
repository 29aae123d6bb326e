"""The nodes of a circuit, heads and MLPs, and the runs in which one or several of them are put in
place."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bitlens.engine.comparisons import local
from bitlens.engine.interventions import Intervention, head_columns, taken
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.models.layout import Layout
from bitlens.models.written import written_sites


@dataclass(frozen=True)
class Node:
    """A head, or an MLP, or all of a block's attention where its heads do not stand side by
    side."""

    site: str
    """`heads.3`, `mlp.3` or `attn.3`."""
    block: int
    head: int | None = None
    columns: slice | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """`3.5`, as heads are called; `mlp 3`, `attn 3`."""
        if self.head is not None:
            return f"{self.block}.{self.head}"
        return self.site.replace(".", " ")

    @property
    def item(self) -> str:
        """What it is at its site; empty where it is all of it."""
        return "" if self.head is None else f"head {self.head}"

    @property
    def has_weights(self) -> bool:
        """Whether it has weights of its own, which may be damaged."""
        return True

    def put(self, source: str, *, partner: bool = False) -> Intervention:
        """The value of another run in its place, or that of the row's partner."""
        return Intervention(
            site=self.site,
            change=taken,
            source=source,
            positions="marked",
            columns=self.columns,
            partner=partner,
        )


def nodes_of(layout: Layout) -> list[Node]:
    """Every head and MLP, block by block."""
    heads, found = int(layout.config.num_attention_heads), []
    apart = {int(site.partition(".")[2]) for site in written_sites(layout)}
    for block in range(layout.depth):
        if block in apart:
            size = head_columns(layout, block, 0).stop
            for head in range(heads):
                columns = slice(size * head, size * (head + 1))
                found.append(Node(f"heads.{block}", block, head, columns))
        else:
            found.append(Node(f"attn.{block}", block))
        found.append(Node(f"mlp.{block}", block))
    return found


def swapped(model: str, nodes: Sequence[Node]) -> list[ForwardRun]:
    """By node, a run of a model in which clean and corrupt prompts have changed its value: the
    corrupt rows are denoised, the clean ones noised."""
    return [
        _branch(swap_name(model, node), model, [node.put(model, partner=True)]) for node in nodes
    ]


def swap_name(model: str, node: Node) -> str:
    """What the run is called."""
    return f"{model} with {node.name} of its partner"


def crossed(twin: str, nodes: Sequence[Node]) -> list[ForwardRun]:
    """By node: the twin with the reference's value of it, the reference with the twin's, and, of
    one with weights, the reference with what the twin's block makes there of the reference's
    input."""
    blocks = sorted({node.block for node in nodes if node.has_weights})
    own = [local(twin, block) for block in blocks]
    found = [ForwardRun(r.name, twin, parent=REFERENCE, start=r.start, stop=r.stop) for r in own]
    for node in nodes:
        repaired, carried, made = cross_names(twin, node)
        found += [
            _branch(repaired, twin, [node.put(REFERENCE)]),
            _branch(carried, REFERENCE, [node.put(twin)]),
        ]
        if node.has_weights:
            put = node.put(local(twin, node.block).name)
            found.append(_branch(made, REFERENCE, [put]))
    return found


def cross_names(twin: str, node: Node) -> tuple[str, str, str]:
    """What the three runs are called."""
    return (
        f"{twin} with {node.name} of the reference",
        f"reference with {node.name} of {twin}",
        f"reference with {node.name} made by {twin}",
    )


def circuit(model: str, name: str, inside: Collection[Node], nodes: Sequence[Node]) -> ForwardRun:
    """A run of a model in which every node outside of a circuit has the value that it has on the
    row's partner."""
    outside = [node for node in nodes if node not in inside]
    puts = [node.put(model, partner=True) for node in outside]
    return _branch(circuit_name(model, name), model, puts)


NOTHING = "no node"
"""What the circuit without any node is called."""


def circuit_name(model: str, name: str) -> str:
    """What the run is called."""
    return f"{model} with {name} alone"


def _branch(name: str, model: str, puts: Sequence[Intervention]) -> ForwardRun:
    """From the first block for which anything is changed."""
    start = min((put.start for put in puts), default=0)
    return ForwardRun(name, model, parent=model, start=start, interventions=tuple(puts))
