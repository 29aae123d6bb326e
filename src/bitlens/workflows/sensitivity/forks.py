"""The forks of a sensitivity run: models that differ from the reference, or from a whole twin, in
one unit.

They leave the run they differ from where the unit stands, so that those of all units cost about
half of as many forwards.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bitlens.analyses.behaviour import Behaviour
from bitlens.analyses.features.analysis import Features
from bitlens.compression.twin import CompressedTwin
from bitlens.engine.analysis import CUMULATIVE, Analysis, SampleSize
from bitlens.engine.comparisons import Comparison
from bitlens.engine.plan import CORPUS
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.engine.swept_model import SweptModel
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from bitlens.results.sensitivity.records import Unit, Way
from bitlens.workflows.audit.selection import Selection, of_the_sweep
from bitlens.workflows.sensitivity.units import UNEMBEDDING


@dataclass(frozen=True, eq=False, kw_only=True)
class Fork:
    """One run of one compression: of a unit alone, of all but it, or of everything."""

    compression: str
    unit: Unit | None
    """None: everything is compressed."""
    way: Way
    run: ForwardRun

    @property
    def name(self) -> str:
        """Unique in a sweep."""
        return self.run.name


class Forks:
    """All forks of some twins, and the models whose blocks they take."""

    def __init__(
        self,
        layout: Layout,
        twins: Mapping[str, CompressedTwin],
        units: Sequence[Unit],
        *,
        both: bool = True,
    ) -> None:
        self._layout, self._both = layout, both
        self.models: dict[str, SweptModel] = dict(twins)
        """By name; of every twin, what it takes to compress a part of a block."""
        self.all = [
            fork for text, twin in twins.items() for fork in self._of_twin(text, twin, units)
        ]

    def _of_twin(self, text: str, twin: CompressedTwin, units: Sequence[Unit]) -> Iterator[Fork]:
        run = ForwardRun(text, text)
        yield Fork(compression=text, unit=None, way="whole", run=run)
        for unit in units:
            taken = twin.targets.intersection(unit.matrices)
            if unit.block is None:
                yield from self._of_shell(text, twin, unit)
            elif taken:
                yield self._only(text, twin, unit)
                if self._both:
                    yield self._all_but(text, twin, unit)

    def _only(self, text: str, twin: CompressedTwin, unit: Unit) -> Fork:
        assert unit.block is not None
        own = range(unit.block, unit.block + 1)
        run = ForwardRun(
            f"{text} only {unit.name}",
            self._with(text, twin, unit, unit.matrices),
            parent=REFERENCE,
            start=unit.block,
            own_blocks=own,
        )
        return Fork(compression=text, unit=unit, way="only", run=run)

    def _all_but(self, text: str, twin: CompressedTwin, unit: Unit) -> Fork:
        assert unit.block is not None
        others = [name for name in self._block(twin, unit.block) if name not in unit.matrices]
        run = ForwardRun(
            f"{text} all but {unit.name}",
            self._with(text, twin, unit, others),
            parent=text,
            start=unit.block,
            own_blocks=range(unit.block, unit.block + 1),
            base_model=text,
        )
        return Fork(compression=text, unit=unit, way="all but", run=run)

    def _of_shell(self, text: str, twin: CompressedTwin, unit: Unit) -> Iterator[Fork]:
        """An embedding belongs to no whole twin unless its patterns name it: it is compressed
        alone. One that is multiplied with nothing has nothing to be calibrated on."""
        if twin.compression.statistics or twin.compression.base.name in ("mixed", "checkpoint"):
            return
        name = f"{text} only {unit.name}"
        self.models[name] = CompressedTwin(
            self._layout, twin.compression, unit.matrices, seed=twin.seed
        )
        run = ForwardRun(name, name)
        if unit.kind == UNEMBEDDING:
            run = ForwardRun(name, name, parent=REFERENCE, start=self._layout.depth)
        yield Fork(compression=text, unit=unit, way="only", run=run)

    def _with(self, text: str, twin: CompressedTwin, unit: Unit, matrices: Sequence[str]) -> str:
        """The model that compresses these matrices of the unit's block and no others there: one
        for all blocks, because no fork takes more than one block of it."""
        assert unit.block is not None
        block = set(self._block(twin, unit.block))
        wanted = block.intersection(matrices)
        if wanted == block:
            return text
        if not wanted:
            return REFERENCE
        prefix = self._layout.block_name(unit.block) + "."
        inner = " ".join(sorted(name.removeprefix(prefix) for name in wanted))
        name = f"{text} of {inner}"
        known = self.models.get(name)
        before = known.targets if isinstance(known, CompressedTwin) else frozenset()
        self.models[name] = twin.part(before | wanted)
        return name

    def _block(self, twin: CompressedTwin, depth: int) -> list[str]:
        prefix = self._layout.block_name(depth) + "."
        return [name for name in twin.targets if name.startswith(prefix)]


def comparisons_of(forks: Sequence[Fork], selection: Selection) -> list[Comparison]:
    """What is compared: every fork as it runs, with the reference, at every site that it reaches.
    No position is kept for chance: an effect is set beside the whole's; nor any prediction or code,
    which only an audit shows."""
    found = []
    for analysis in map(_with_nothing_to_show, of_the_sweep(selection.analyses)):
        documents = analysis.name if analysis.name in selection.own else CORPUS
        requests = [r for r in selection.reads[analysis.name] if r.item == CUMULATIVE]
        for request in requests:
            for fork in forks:
                sites = tuple(s for s in request.sites if _reached(fork.run, s))
                narrow = replace(
                    request, sites=sites, beside_local=False, branches=(), sample=SampleSize()
                )
                if sites:
                    found.append(
                        Comparison(
                            analysis=analysis,
                            twin=fork.name,
                            request=narrow,
                            run=fork.name,
                            documents=documents,
                            fork=fork.run,
                        )
                    )
    return found


def _with_nothing_to_show(analysis: Analysis) -> Analysis:
    if isinstance(analysis, Features):
        return replace(analysis, positions=None)
    return replace(analysis, positions=None) if isinstance(analysis, Behaviour) else analysis


def _reached(run: ForwardRun, name: str) -> bool:
    return name == "logits" or ("." in name and site(name).depth >= run.start) or not run.start
