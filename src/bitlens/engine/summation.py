"""Summation: from the steps of a sweep to complete accumulators, depth by depth.

With one wave they are complete at once; with several they are carried from wave to wave in a file a
depth, which is also what lets a killed run go on where it was; waves are small enough that little
is lost. Sums are carried on in the same order whatever the waves, so memory changes no digit.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bitlens.engine.comparisons import Comparison, forward_runs
from bitlens.engine.keys import Accumulators
from bitlens.engine.parts import PartedSums
from bitlens.engine.plan import Plan, TokenBatch
from bitlens.engine.resume import SweepCheckpoint
from bitlens.engine.runs import REFERENCE
from bitlens.engine.step import Progress, silent
from bitlens.engine.step_router import StepRouter
from bitlens.engine.sweep import Sweep
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.engine.wave_size import Pace
from bitlens.models.layout import Layout


class Summation:
    """One sweep of a reference and its twins over the batches of a plan that are compared on.

    `hidden_bytes` bounds the hidden states of a wave; in the folder `partial` accumulators wait
    between waves, and a stopped summation of the same finds them again.
    """

    def __init__(
        self,
        layout: Layout,
        twins: Mapping[str, SweptModel],
        wanted: Sequence[Comparison],
        plan: Plan,
        hidden_bytes: int,
        partial: Path,
    ) -> None:
        self.layout = layout
        self.twins = twins
        self.partial = partial
        self.batches = batches_of(plan, wanted)
        self.checkpoint = SweepCheckpoint(partial, self.batches)
        self.sweep = Sweep(
            layout=layout,
            models={REFERENCE: Reference(layout), **twins},
            runs=forward_runs(wanted),
            requests=[request for c in wanted for request in c.site_requests],
            batches=self.batches[self.checkpoint.batches_done :],
            hidden_bytes=hidden_bytes,
        )
        self.sweep.overflowed |= self.checkpoint.overflowed
        self.sweep.failed |= self.checkpoint.failed
        self._router = StepRouter(self.sweep, wanted, plan)

    def complete(
        self, progress: Progress = silent, pace: Pace | None = None, reached: Progress = silent
    ) -> Iterator[Accumulators]:
        """The accumulators of every depth as the last wave passes it; they are given away.
        `pace`: what bounds waves besides memory; `reached` is told the depth that a wave comes
        to."""
        for wave in self._waves(pace):
            for depth, sums in self._wave(wave, progress, reached):
                if self._ends(wave):
                    sums.close()
                    yield sums.whole
                else:
                    self._keep(depth, sums, wave)

    def leave(self, progress: Progress = silent, pace: Pace | None = None) -> None:
        """All accumulators into the folder, as if another wave were to come."""
        for wave in self._waves(pace, always=True):
            for depth, sums in self._wave(wave, progress, silent):
                self._keep(depth, sums, wave)

    def _waves(self, pace: Pace | None, *, always: bool = False) -> Iterator[list[TokenBatch]]:
        """Wave after wave; what each left counts, but for the last, unless it does `always`."""
        swept = 0
        while swept < len(self.sweep.batches):
            began = time.monotonic()
            wave = self.sweep.next_wave(swept, pace.most if pace else None)
            yield wave
            swept += len(wave)
            if always or not self._ends(wave):
                done = self.checkpoint.batches_done + len(wave)
                self.checkpoint.wave_done(done, self.sweep.overflowed, self.sweep.failed)
            if pace:
                tokens = sum(batch.tokens.numel() for batch in wave)
                pace.took(tokens, time.monotonic() - began)

    def _ends(self, wave: Sequence[TokenBatch]) -> bool:
        return wave[-1] is self.batches[-1]

    def _wave(
        self, wave: Sequence[TokenBatch], progress: Progress, reached: Progress
    ) -> Iterator[tuple[int, PartedSums]]:
        """One wave through depth, and every depth's sums when all of it has passed."""
        depth, part = -2, -1
        passed = {depth}
        sums = PartedSums()
        for step in self.sweep.run(wave, progress):
            if step.depth != depth:
                if depth != -2:
                    yield depth, sums
                depth, sums = step.depth, self.checkpoint.load(step.depth)
                part = wave[0].part
                passed.add(depth)
                reached(depth)
            if step.batch.part != part:
                sums.close()
                part = step.batch.part
            self._router.route(step, sums.part)
            del step
        if depth != -2:
            yield depth, sums
        # A wave may have nothing to predict; what the waves before it had is not lost.
        for depth in range(-1, self.layout.depth + 1):
            if depth not in passed:
                yield depth, self.checkpoint.load(depth)

    def _keep(self, depth: int, sums: PartedSums, wave: Sequence[TokenBatch]) -> None:
        """The sums of a depth for the waves to come, which begin with a part or go on with one."""
        at = self.batches.index(wave[-1]) + 1
        if at == len(self.batches) or self.batches[at].part != wave[-1].part:
            sums.close()
        self.checkpoint.save(depth, sums)


def batches_of(plan: Plan, wanted: Sequence[Comparison]) -> list[TokenBatch]:
    """The batches of a plan that hold what is compared on."""
    read = {c.read for c in wanted}
    return [batch for batch in plan.batches if batch.documents in read]
