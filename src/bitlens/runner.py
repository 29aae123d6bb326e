"""Running what is missing of a study: load, compress, sweep, write."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from bitlens.analyses import ANALYSES, Analysis
from bitlens.compress import coverage, format, parse
from bitlens.compress.compression import Compression
from bitlens.compress.rule import targets
from bitlens.data.corpus import Corpus, check_vocabulary, make_corpus
from bitlens.data.texts import read_texts
from bitlens.errors import BitlensError
from bitlens.estimate import contrasts, estimates
from bitlens.manifest import (
    Done,
    cell_entry,
    describe_corpus,
    describe_model,
    make_manifest,
    run_record,
    twin_record,
)
from bitlens.measure import Measurement, comparisons
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, free_memory, load, name_of
from bitlens.models.sites import resolve
from bitlens.models.source import ModelSource
from bitlens.plan import Plan, make_plan
from bitlens.records import Cell, Check, Value
from bitlens.store import CONTRASTS, COVERAGE, ESTIMATES, Store
from bitlens.study import Study, parse_bytes
from bitlens.twin import Twin

LONGEST_CONTEXT = 1024
BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
NARROW = (
    "; in simulation a 95 % interval of a mean KL covered 86 % at 20 documents, 91 % at 100 and "
    "93 % at 200: with few documents, read intervals as somewhat too narrow"
)
"""Figures of benchmarks/coverage.md."""
FREE_SHARE = 0.5
"""Of the free memory, when --memory does not say."""
WORKSPACE = 1 << 29
"""Bytes left for what a block, a tally and a few logits need while they are worked on."""


def run(
    study: Study,
    out: Path,
    command: str,
    say: Callable[[str], None] = print,
    keep_going: bool = False,
) -> Store:
    """Compute what is missing of a study and leave a complete store.

    Prints through `say` what each sweep will cost before it starts. With `keep_going` a model or
    compression that fails is recorded with its reason and the others go on; without, the error
    is raised.
    """
    _refuse_namesakes(study)
    store = Store.create(out)
    started, done = time.monotonic(), Done()
    for source in study.models:
        for seed in study.seeds:
            try:
                _Audit(study, source, seed, store, say, keep_going).run(done)
            except torch.OutOfMemoryError as error:
                if not keep_going:
                    raise _out_of_memory(source) from error
                _record_failure(study, source, seed, str(_out_of_memory(source)), done)
            except Exception as error:
                # One model that cannot be audited, for whatever reason, stops no other.
                if not keep_going:
                    raise
                reason = str(error) if isinstance(error, BitlensError) else repr(error)
                _record_failure(study, source, seed, reason, done)
    if not any(cell["status"] == "done" for cell in done.cells):
        reasons = sorted({cell["reason"] for cell in done.cells})
        raise BitlensError(
            f"Nothing could be measured: {reasons[0]}",
            "at least one twin with numbers.",
            "another compression or model.",
        )
    manifest = make_manifest(study, command, done)
    store.write_table("coverage", done.coverage, COVERAGE)
    store.write_table("estimates", estimates(store, manifest, study.interval), ESTIMATES)
    store.write_table("contrasts", contrasts(store, manifest, study.interval), CONTRASTS)
    store.write_json("run", run_record(time.monotonic() - started))
    store.write_manifest(manifest)
    store.clear_partial()
    return store


def _refuse_namesakes(study: Study) -> None:
    """Rows are told apart by their model's name."""
    names = [name_of(source) for source in study.models]
    for name in names:
        if names.count(name) > 1:
            raise BitlensError(
                f"{names.count(name)} models of this study are called {name}.",
                "models with different names (of a folder, its last part counts).",
                "a study for each, with an --out of its own.",
            )


@dataclass(frozen=True, eq=False)
class _Side:
    """A twin that is wanted."""

    text: str
    compression: Compression
    control: bool
    like: str | None


class _Audit:
    """One model and one seed of a study."""

    def __init__(
        self,
        study: Study,
        source: ModelSource,
        seed: int,
        store: Store,
        say: Callable[[str], None],
        keep_going: bool,
    ) -> None:
        self.study, self.source, self.seed = study, source, seed
        self.store, self.say, self.keep_going = store, say, keep_going
        self.memory = (
            parse_bytes(study.memory) if study.memory else int(FREE_SHARE * free_memory(source))
        )
        self.analyses = [ANALYSES[name]() for name in study.analyses]
        self.seconds_per_token: float | None = None

    def run(self, done: Done) -> None:
        loaded = load(self.source, self.memory)
        if any(analysis.patterns for analysis in self.analyses):
            # Only eager attention hands out its weights, and both streams must use the same.
            loaded.model.set_attn_implementation("eager")
        layout = Layout(loaded.model)
        corpus = self._corpus(loaded, layout)
        sites = self._sites(layout)
        sides = self._sides(layout)
        twins, failed = self._twins(layout, sides)
        cells = {
            (side.text, a.name): self._cell(loaded, corpus, sites, side.text, a)
            for side in sides
            for a in self.analyses
        }
        missing = [
            key for key, cell in cells.items() if key[0] in twins and not self.store.has(cell)
        ]
        device = next(p.device for p in layout.shell.module.parameters())
        plan = make_plan(
            corpus,
            self.study.positions,
            self.seed,
            BATCH_TOKENS.get(device.type, BATCH_TOKENS["cpu"]),
            sorted({size for a in self.analyses for size in a.samples}),
            self.study.interval,
            device,
        )
        checks = [*self._checks(layout, corpus, loaded)]
        if not missing:
            self.say(f"{loaded.name}: every cell is there already; nothing to compute.")
        else:
            failed |= self._sweep(layout, sides, twins, cells, missing, plan, sites)
        self._measure_coverage(layout, twins, failed)
        for side in sides:
            if side.text not in failed:
                try:
                    checks.append(self._require_change(side, twins[side.text]))
                except BitlensError as error:
                    if not self.keep_going:
                        raise
                    failed[side.text] = str(error)
        self._report(done, loaded, layout, corpus, plan, sides, twins, failed, cells, checks)

    def _corpus(self, loaded: Loaded, layout: Layout) -> Corpus:
        longest = getattr(layout.config, "max_position_embeddings", None) or LONGEST_CONTEXT
        context = self.study.context or min(longest, LONGEST_CONTEXT)
        if context > longest:
            raise BitlensError(
                f"The context is {context} tokens, but {loaded.name} reads {longest}.",
                f"at most {longest}.",
                f"--context {longest}",
            )
        corpus = make_corpus(
            read_texts(self.study.text),
            loaded.tokenizer,
            context,
            self.study.bos,
            self.study.tokens or None,
            self.seed,
        )
        check_vocabulary(corpus, layout.vocabulary)
        return corpus

    def _sites(self, layout: Layout) -> dict[str, list[str]]:
        """Where each analysis looks, narrowed to what the user named."""
        everywhere = {a.name: a.sites(layout) for a in self.analyses}
        if not self.study.sites:
            return everywhere
        named = {name for pattern in self.study.sites for name in resolve(pattern, layout)}
        self.say(f"Sites: {', '.join(self.study.sites)} = {', '.join(sorted(named))}.")
        narrowed = {
            name: [s for s in sites if s in named] if name != "behaviour" else sites
            for name, sites in everywhere.items()
        }
        for name, sites in narrowed.items():
            if not sites:
                raise BitlensError(
                    f"None of the sites {', '.join(self.study.sites)} is one where {name} looks.",
                    f"some of {', '.join(everywhere[name][:6])}, ...",
                    "other --sites, or leave the analysis out of --analyses.",
                )
        return narrowed

    def _sides(self, layout: Layout) -> list[_Side]:
        """The compressions asked for, then their controls."""
        asked = [parse(text) for text in self.study.compressions]
        sides = [_Side(format(c), c, c.control, _like(c)) for c in asked]
        extra: list[Compression] = []
        if "nothing" in self.study.controls:
            extra.append(parse("nothing"))
        if "cast" in self.study.controls:
            half = "float16" if layout.dtype == torch.bfloat16 else "bfloat16"
            extra.append(parse(f"cast:dtype={half}"))
        if "noise" in self.study.controls:
            extra += [
                parse(f"noise:like=[{format(c)}]")
                for c in asked
                if not c.control and c.compute_dtype is None
            ]
        known = {side.text for side in sides}
        for compression in extra:
            if format(compression) not in known:
                known.add(format(compression))
                sides.append(_Side(format(compression), compression, True, _like(compression)))
        return sides

    def _twins(
        self, layout: Layout, sides: Sequence[_Side]
    ) -> tuple[dict[str, Twin], dict[str, str]]:
        """Twins by text, after a trial of every shape so that nothing fails late."""
        twins: dict[str, Twin] = {}
        failed: dict[str, str] = {}
        default = [name for name, _ in layout.matrices()]
        names = [example.name for example in layout.examples()]
        for side in sides:
            try:
                chosen = targets(names, default, side.compression)
                _try_shapes(layout, set(chosen), side.compression)
                twins[side.text] = Twin(layout, side.compression, chosen, self.seed)
            except BitlensError as error:
                if not self.keep_going:
                    raise
                failed[side.text] = str(error)
        return twins, failed

    def _cell(
        self,
        loaded: Loaded,
        corpus: Corpus,
        sites: dict[str, list[str]],
        text: str,
        analysis: Analysis,
    ) -> Cell:
        settings = {
            "weights": loaded.fingerprint,
            "tokens": corpus.token_hash,
            "positions": self.study.positions,
            "dtype": str(next(loaded.model.parameters()).dtype),
            "attention": loaded.model.config._attn_implementation,
            "device": next(
                p.device.type for p in loaded.model.parameters() if p.device.type != "meta"
            ),
            "versions": [version(name) for name in ("torch", "transformers")],
            "sites": sites[analysis.name],
            "interval": self.study.interval,
            "analysis": asdict(analysis),
            "bitlens": version("bitlens"),
        }
        return Cell(loaded.name, text, analysis.name, self.seed, settings)

    def _sweep(
        self,
        layout: Layout,
        sides: Sequence[_Side],
        twins: dict[str, Twin],
        cells: dict[tuple[str, str], Cell],
        missing: Sequence[tuple[str, str]],
        plan: Plan,
        sites: dict[str, list[str]],
    ) -> dict[str, str]:
        """Everything missing in one sweep; returns the twins that failed, with reasons."""
        wanted = [
            c
            for c in comparisons(self.analyses, list(twins), sites)
            if (c.twin, c.analysis.name) in missing
        ]
        needed = {text: twins[text] for text, _ in missing}
        identity = Cell("", "", "", self.seed, {"cells": sorted(cells[k].id for k in missing)})
        with _progress(layout) as advance:
            measurement = Measurement(
                layout,
                needed,
                wanted,
                plan,
                self._hidden_bytes(layout, len(needed)),
                self.store.partial / identity.id,
                advance,
            )
            # After a kill, only the batches that are left.
            tokens = sum(b.tokens.numel() for b in measurement.sweep.batches)
            advance.expect(measurement.sweep.forwards(), tokens)
            self._say_cost(
                layout, measurement, [s for s in sides if s.text in needed], plan, tokens
            )
            values = _collect(measurement)
        failed = dict(measurement.sweep.failed)
        for key in missing:
            if key[0] not in failed:
                self.store.write_cell(cells[key], values.get(key, []))
        if failed and not self.keep_going:
            # Only now: what the others have is kept for the next try.
            first = next(iter(failed))
            raise BitlensError(
                f"{first} failed: {failed[first]}", "weights it can hold.", "other settings."
            )
        return failed

    def _hidden_bytes(self, layout: Layout, twins: int) -> int:
        """What is left for hidden states after weights, one block a twin and room to work."""
        block = max(sum(p.numel() for p in b.parameters()) for b in layout.blocks)
        taken = block * layout.dtype.itemsize * (twins + 1) + WORKSPACE
        if self.study.memory:
            taken += sum(
                p.numel() * p.element_size()
                for p in layout.model.parameters()
                if p.device.type != "meta"
            )
        return max(0, self.memory - taken)

    def _say_cost(
        self,
        layout: Layout,
        measurement: Measurement,
        sides: Sequence[_Side],
        plan: Plan,
        tokens: int,
    ) -> None:
        sweep = measurement.sweep
        parameters = sum(p.numel() for p in layout.model.parameters())
        controls = sum(side.control for side in sides)
        read = sum(b.tokens.numel() if b.mask is None else int(b.mask.sum()) for b in sweep.batches)
        work = 2 * parameters * tokens * sweep.forwards()
        peak = max((sum(sweep.hidden_bytes(b) for b in w) for w in sweep.waves), default=0)
        self.say(
            f"{len(sides)} twin{'s' * (len(sides) > 1)} ({controls} of them controls) on "
            f"{plan.all.documents} documents, {read:,} tokens: {sweep.forwards():.1f} forwards' "
            f"worth of work ({work / 1e12:,.1f} TFLOP{self._about(tokens * sweep.forwards())}), "
            f"{len(sweep.waves)} wave{'s' * (len(sweep.waves) > 1)}, hidden states up to "
            f"{peak / 1e9:.2f} GB."
        )

    def _about(self, tokens: float) -> str:
        """How long that many tokens take, judged by the one window already read."""
        if self.seconds_per_token is None:
            return ""
        seconds = 1.3 * tokens * self.seconds_per_token
        return f", about {seconds:.0f} s" if seconds < 120 else f", about {seconds / 60:.0f} min"

    def _measure_coverage(
        self, layout: Layout, twins: dict[str, Twin], failed: dict[str, str]
    ) -> None:
        """Twins whose cells were all there already have not met their weights yet."""
        for text, twin in twins.items():
            if text not in failed:
                twin.complete_coverage()

    def _require_change(self, side: _Side, twin: Twin) -> Check:
        rows = twin.coverage()
        allowed = side.control or "identical" in self.study.allow
        coverage.require_change(rows, allowed)
        total = coverage.total(rows)
        if side.compression.name == "nothing":
            return Check(f"{side.text}: weights are equal", total.changed == 0, "as they should be")
        return Check(
            f"{side.text}: weights differ",
            total.changed > 0 or (None if side.control else False),
            f"{total.changed:.1%} of all parameters changed; "
            f"{sum(r.compressed for r in rows)} of {len(rows)} modules compressed",
        )

    def _checks(self, layout: Layout, corpus: Corpus, loaded: Loaded) -> Iterator[Check]:
        yield Check(
            "the residual stream adds up",
            True,
            "in every kind of block, output = input + attention + MLP, and only attention looks "
            "at other positions (checked on load)",
        )
        if loaded.offloaded:
            yield Check("the sweep equals the model's forward", None, "not tried from disk")
        else:
            check, self.seconds_per_token = _check_forward(layout, corpus)
            yield check
        yield Check(
            "identical tokens",
            True,
            f"all models read the same token ids (sha256 {corpus.token_hash[:12]}), with the same "
            f"{loaded.model.config._attn_implementation} attention",
        )
        documents = corpus.n_documents
        yield Check(
            "enough documents",
            True if documents >= 200 else None if documents > 1 else False,
            f"{documents} document{'s' * (documents != 1)}, which are the sampling units"
            + ("" if documents >= 200 else NARROW),
        )

    def _report(
        self,
        done: Done,
        loaded: Loaded,
        layout: Layout,
        corpus: Corpus,
        plan: Plan,
        sides: Sequence[_Side],
        twins: dict[str, Twin],
        failed: dict[str, str],
        cells: dict[tuple[str, str], Cell],
        checks: Sequence[Check],
    ) -> None:
        """Into the manifest: what was run, on what, and how each cell ended."""
        if loaded.name not in [m["name"] for m in done.models]:
            done.models.append(describe_model(loaded, layout, self.source))
            done.checks += [
                replace(c, name=f"{loaded.name}: {c.name}") if len(self.study.models) > 1 else c
                for c in checks
            ]
            for side in sides:
                twin = twins.get(side.text)
                record = twin_record(
                    side.text,
                    side.compression,
                    side.control,
                    side.like,
                    twin,
                    layout.dtype,
                    failed.get(side.text),
                )
                done.twins.append({"model": loaded.name, **asdict(record)})
                if twin is not None and side.text not in failed:
                    done.coverage += [
                        {"model": loaded.name, "compression": side.text, **asdict(row)}
                        for row in twin.coverage()
                    ]
        done.corpora.append(
            describe_corpus(corpus, plan, loaded.name, self.seed, self.study.positions)
        )
        for (text, _), cell in cells.items():
            reason = failed.get(text)
            done.cells.append(cell_entry(cell, "failed" if reason else "done", reason))


def _collect(measurement: Measurement) -> dict[tuple[str, str], list[Value]]:
    """Values by twin and analysis."""
    values: dict[tuple[str, str], list[Value]] = {}
    for comparison, found in measurement.values():
        values.setdefault((comparison.twin, comparison.analysis.name), []).extend(found)
    return values


class _progress:
    """A bar over the tokens that blocks have to process, all streams and blocks together."""

    def __init__(self, layout: Layout) -> None:
        self._depth = layout.depth
        self._scale = 1
        self._bar = tqdm(desc="sweep", unit=" forwards", disable=None, total=0.0)

    def __enter__(self) -> "_progress":
        return self

    def __call__(self, tokens: int) -> None:
        self._bar.update(tokens / self._scale)

    def expect(self, forwards: float, tokens: int) -> None:
        self._bar.total, self._scale = forwards, tokens * self._depth

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def _like(compression: Compression) -> str | None:
    like = getattr(compression, "like", None)
    return format(like) if like is not None else None


def _try_shapes(layout: Layout, chosen: set[str], compression: Compression) -> None:
    """Compress one matrix of every kind: what does not fit fails before the sweep."""
    tried: set[tuple[object, ...]] = set()
    for example in layout.examples():
        kind = (tuple(example.weight.shape), example.head_size, example.fused)
        if example.name in chosen and kind not in tried:
            tried.add(kind)
            rows, columns = example.weight.shape[-2:]
            weight = torch.linspace(-0.1, 0.1, rows * columns).reshape(rows, columns)
            trial = replace(example, weight=weight)
            compression.compress([trial], 0, compression.survey(partial(list, [trial])))


@torch.no_grad()
def _check_forward(layout: Layout, corpus: Corpus) -> tuple[Check, float]:
    """The first window through the model's own forward and through the blocks one by one, and
    the seconds that the latter took for a token."""
    device = next(p.device for p in layout.shell.module.parameters())
    tokens = torch.from_numpy(corpus.rows[0][:512]).long().to(device)[None]
    expected = layout.model(input_ids=tokens, use_cache=False).logits[0]
    started = time.perf_counter()
    found = layout.forward(tokens)
    seconds = time.perf_counter() - started
    equal = torch.equal(found, expected)
    largest = float((found - expected).abs().max())
    check = Check(
        "the sweep equals the model's forward",
        equal or largest <= 16 * torch.finfo(expected.dtype).eps * float(expected.abs().max()),
        "bit for bit" if equal else f"largest difference of a logit {largest:.2g}",
    )
    return check, seconds / tokens.numel()


def _out_of_memory(source: ModelSource) -> BitlensError:
    return BitlensError(
        f"{source.name} ran out of memory.",
        "room for the weights, one block for every twin and the hidden states of a wave.",
        "less --memory (more waves, blocks from disk), fewer compressions or a shorter --context.",
    )


def _record_failure(study: Study, source: ModelSource, seed: int, reason: str, done: Done) -> None:
    """A model that could not be audited at all."""
    name = name_of(source)
    for text in study.compressions:
        for analysis in study.analyses:
            cell = Cell(name, text, analysis, seed)
            done.cells.append(cell_entry(cell, "failed", reason))
