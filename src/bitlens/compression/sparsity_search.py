"""Search for the sparsity at which pruning does as much harm as another twin.

Perplexity and mean KL over the same positions, for several sparsities in one sweep: first all
over, then around where the logarithm of the harm, between the two sparsities that hold the
answer, meets the wanted one.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from bitlens.compression import format_spec
from bitlens.compression.calibration.cache import cache_folder
from bitlens.compression.calibration.cache_key import made_by
from bitlens.compression.calibration.calibrator import Calibrator
from bitlens.compression.compression import Compression
from bitlens.compression.harm import HarmMeasure
from bitlens.compression.methods.controls import Noise
from bitlens.compression.methods.prune import Prune
from bitlens.compression.targets import chosen
from bitlens.compression.twin import Twin
from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError, DataError, ModelError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.results.files.writing import write
from bitlens.results.records import Check

FIRST = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CLOSER = (-0.1, 0.0, 0.1)
"""Sparsities tried in later rounds: the interpolated one, and a tenth of the gap either side."""
TOLERANCE = 0.01
"""Relative difference at which the search ends."""
ROUNDS = 6
FOUND = "found.json"
"""Where a sparsity that was found is kept."""


Build = Callable[[Sequence[Compression]], Sequence[Twin]]
"""Makes the twins of compressions whose sparsity is known."""


@dataclass(eq=False, kw_only=True)
class SparsitySearch:
    """The sparsities that prunings of one model and seed are to find: each is sought once, and
    remembered on disk."""

    loaded: Loaded
    layout: Layout
    evaluation: Corpus | None
    """The documents that harm is compared on; None where nothing is measured."""
    seed: int
    batch_tokens: int
    memory: int
    """Bytes for hidden states."""
    log: Callable[[str], None]
    report: Callable[[Check], None]
    """Is handed a check of every sparsity: how close it comes."""
    calibrator: Calibrator
    _found: dict[str, Prune] = field(default_factory=dict, init=False)

    def known(self, compression: Compression) -> Compression:
        """A compression, or noise of one, with the sparsity that was found where one was."""
        if isinstance(compression, Noise):
            return replace(compression, like=self.known(compression.like))
        return self._found.get(format_spec(compression), compression)

    def resolve(
        self,
        compression: Compression,
        build: Build,
        identify: Callable[[Compression], Mapping[str, str]],
    ) -> Compression:
        """A compression, or noise of one, with the sparsity found that it is to find, if any.

        `identify` tells what decides about a twin and does not stand in its text. BitlensError
        where there is nothing to compare on, and where no sparsity does as much harm."""
        base = compression.base
        if isinstance(base, Prune) and base.match is not None:
            text = format_spec(base)
            if text not in self._found:
                self._found[text] = self._sought(base, base.match, build, identify)
        return self.known(compression)

    def _sought(
        self,
        prune: Prune,
        to: Compression,
        build: Build,
        identify: Callable[[Compression], Mapping[str, str]],
    ) -> Prune:
        text = format_spec(prune)
        if self.evaluation is None:
            raise DataError(
                f"{text} is to be matched, and there is no text to compare on.",
                "an audit, which has one.",
                "bitlens audit, then prune:sparsity= with what it found.",
            )
        (target,) = build([to])
        calibrated = bool(prune.statistics)
        made = made_by(
            self.layout,
            self.loaded,
            self.seed,
            compression=prune,
            targets=sorted(chosen(self.layout, prune)),
            evaluation=self.evaluation.token_hash,
            calibration=self.calibrator.documents(prune).token_hash if calibrated else None,
            match=dict(identify(to)),
            # Harm is measured by a sweep, which then multiplies in 16 bits.
            paired=self.layout.paired,
        )
        folder = cache_folder(made)
        found = recall(folder, prune)
        if found is None:
            self.log(f"{text}: looking for its sparsity.")
            found = self._search(prune, target, build, self.evaluation)
            remember(folder, made, *found)
        pruning, check = found
        self.log(f"{text}: {check.detail}.")
        self.report(check)
        return pruning

    def _search(
        self, prune: Prune, target: Twin, build: Build, evaluation: Corpus
    ) -> tuple[Prune, Check]:
        """What is found; candidates made for the search alone do not stay in the cache."""
        keep = self.calibrator.known
        measure = HarmMeasure(
            self.layout,
            evaluation,
            self.seed,
            batch_tokens=self.batch_tokens,
            hidden_bytes=self.memory,
        )
        try:
            found = matched(prune, target, build, measure)
        except BitlensError:
            self.calibrator.discard(keep=keep)
            raise
        self.calibrator.discard(keep=keep | {format_spec(found[0])})
        return found


def matched(prune: Prune, twin: Twin, build: Build, measure: HarmMeasure) -> tuple[Prune, Check]:
    """A pruning at the sparsity whose harm is `twin`'s, and whether it comes close enough.

    BitlensError where the twin predicts what is not finite, and where it does no harm."""
    target, reference = measure({"twin": twin})
    wanted = target["twin"].on(prune.on, reference)
    if not math.isfinite(wanted):
        raise ModelError(
            "What the twin to be matched predicts is no longer finite.",
            "a twin to match whose predictions are finite numbers.",
            "match=[...] with more bits, or prune:sparsity=0.5 without matching.",
        )
    tried: dict[float, float] = {0.0: 0.0, 1.0: math.inf}
    best = 0.0
    for _ in range(ROUNDS):
        between = _closer(tried, wanted) if len(tried) > 2 else list(FIRST)
        twins = build([replace(prune, match=None, sparsity=s) for s in between])
        harms, _ = measure({f"{s}": one for s, one in zip(between, twins, strict=True)})
        tried |= {s: harms[f"{s}"].on(prune.on, reference) for s in between}
        best = min(tried, key=lambda s: abs(tried[s] - wanted))
        if abs(tried[best] - wanted) <= TOLERANCE * abs(wanted):
            break
    if not 0 < best < 1:
        raise ModelError(
            f"No sparsity above {min(s for s in tried if s):.2g} does as little harm as the twin "
            f"to be matched ({prune.on}: {wanted:.3g}).",
            "a twin that does some harm.",
            "prune:sparsity=0.1, or match=[...] with fewer bits.",
        )
    apart = abs(tried[best] / wanted - 1)
    words = {"kl": "mean KL", "perplexity": "log perplexity ratio"}[prune.on]
    detail = (
        f"sparsity {best:.4f}: {words} {tried[best]:.4g} against {wanted:.4g} nats, "
        f"{apart:.1%} apart, on {measure.positions:,} positions"
    )
    text = format_spec(prune)
    check = Check(f"{text}: matched", apart <= TOLERANCE, detail, twins=(text,))
    return replace(prune, match=None, sparsity=best), check


def remember(folder: Path, made_by: Mapping[str, Any], pruning: Prune, check: Check) -> None:
    """Keep what was found, with everything that it depends on."""
    found = {**made_by, "sparsity": pruning.sparsity, "check": asdict(check)}
    text = json.dumps(found, indent=1, sort_keys=True, allow_nan=False)
    write(folder / FOUND, f"{text}\n".encode())


def recall(folder: Path, prune: Prune) -> tuple[Prune, Check] | None:
    """What was found before; None where nothing was, or where it cannot be read."""
    try:
        found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
        pruning = replace(prune, match=None, sparsity=found["sparsity"])
        return pruning, Check(**found["check"])
    except (OSError, ValueError, KeyError, TypeError, BitlensError):
        return None


def _closer(tried: Mapping[float, float], wanted: float) -> list[float]:
    """Where to look next: in the gap between neighbours whose harms hold the wanted one, the
    sparsest such."""
    gaps = [
        (low, high) for low, high in pairwise(sorted(tried)) if tried[low] <= wanted < tried[high]
    ]
    low, high = gaps[-1] if gaps else (0.0, min(s for s in tried if s))
    place = 0.5
    if tried[low] > 0 and math.isfinite(tried[high]):
        place = math.log(wanted / tried[low]) / math.log(tried[high] / tried[low])
    places = {min(max(place + aside, 0.02), 0.98) for aside in CLOSER}
    return [round(low + (high - low) * place, 6) for place in sorted(places)]
