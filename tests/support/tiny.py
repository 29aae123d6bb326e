"""Tiny random models in generic position, what they read, and what is measured of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from bitlens.analyses import ANALYSES
from bitlens.compression import parse_spec
from bitlens.compression.calibration import cache as cached
from bitlens.compression.calibration.cache import WeightCache
from bitlens.compression.calibration.documents import calibrated
from bitlens.compression.calibration.pipeline import CalibrationJob, calibrate
from bitlens.compression.compression import CompressedMatrix, Compression, DataFree
from bitlens.compression.methods.controls import Noise
from bitlens.compression.patterns import targets
from bitlens.compression.twin import CompressedTwin, Twin
from bitlens.compression.weight_sources import Around
from bitlens.data.corpus import Corpus
from bitlens.data.groups import Groups
from bitlens.data.labelled_corpus import ClassPair, LabelledCorpus
from bitlens.engine.analysis import Analysis, AnalysisContext, TokenizerFacts
from bitlens.engine.comparisons import comparisons
from bitlens.engine.measured import Measured
from bitlens.engine.measurement import Measurement
from bitlens.engine.plan import CORPUS, SUBSET, Plan, TokenBatch, make_plan
from bitlens.engine.runs import REFERENCE, ForwardRun, SiteRequest
from bitlens.engine.step import Progress, Step, silent
from bitlens.engine.sweep import Sweep
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.errors import BitlensError
from bitlens.models.families import FAMILIES
from bitlens.models.layout import Layout, blocks_path
from bitlens.models.matrices import LinearMap
from bitlens.results.records import DetailTable, Value
from bitlens.sae.fit import Fit
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()

NAMES = tuple(family.key for family in FAMILIES)
KNOWN = {family.key: family for family in FAMILIES}
VOCABULARY = 128


def build(
    model_type: str,
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
    seed: int = 0,
    **settings: Any,
) -> nn.Module:
    """A random model with every parameter moved: norms of one and biases of nought hide half of
    all mistakes."""
    family = KNOWN.get(model_type)
    name, sizes = (family.model_type, family.tiny) if family else (model_type, {})
    config = transformers.AutoConfig.for_model(name, **{**sizes, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        with torch.no_grad():
            for parameter in model.parameters():
                size = 0.2 if parameter.ndim == 1 else 0.1
                parameter.add_(size * torch.randn(parameter.shape))
    return model.to(dtype).eval()


@cache
def layout(
    model_type: str, dtype: torch.dtype = torch.float32, attention: str | None = None
) -> Layout:
    """The layout of a model that no test changes."""
    return Layout(build(model_type, dtype, attention))


def eager(model_type: str) -> Layout:
    """The same model with the attention that hands out its patterns."""
    return layout(model_type, attention="eager")


@cache
def speaker(model_type: str = "llama") -> Layout:
    """A model that is sure of what it says: text drawn from it is text that it predicts well."""
    model = build(model_type, attention="eager", tie_word_embeddings=False)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(3)
    return Layout(model)


@torch.no_grad()
def spoken(speaker: Layout, lengths: Sequence[int], seed: int = 0) -> Corpus:
    """Documents of these lengths drawn from the model itself."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokens = torch.randint(0, VOCABULARY, (len(lengths), 1))
        while tokens.shape[1] < max(lengths):
            logits = speaker.model(tokens, use_cache=False).logits[:, -1]
            tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1)], dim=1)
    return corpus([[row[:n]] for row, n in zip(tokens.numpy(), lengths, strict=True)])


def corpus(documents: Sequence[Sequence[Any]], bos_id: int | None = None, seed: int = 0) -> Corpus:
    """Documents of windows; a window is its tokens, or a number of random ones."""
    draw = np.random.default_rng(seed)

    def window(given: Any) -> np.ndarray:
        tokens = draw.integers(1, VOCABULARY, given) if isinstance(given, int) else given
        return np.asarray(tokens, dtype=np.int32)

    windows = [[window(given) for given in document] for document in documents]
    lengths = [[len(row) for row in rows] for rows in windows]
    return Corpus(
        name="random",
        rows=tuple(row for rows in windows for row in rows),
        document=np.repeat(np.arange(len(windows)), [len(rows) for rows in windows]),
        starts=np.concatenate([np.cumsum([0, *rows[:-1]]) for rows in lengths]),
        document_names=tuple(f"document {n}" for n in range(len(windows))),
        context=max(max(rows) for rows in lengths),
        bos=False,
        bos_id=bos_id,
    )


def batch(
    lengths: Sequence[int], seed: int = 0, number: int = 0, subset: bool = True
) -> TokenBatch:
    """One batch of random rows of these lengths, padded on the right; position 0 counts not."""
    draw = torch.Generator().manual_seed(seed)
    rows, width = len(lengths), max(lengths)
    tokens = torch.randint(1, VOCABULARY, (rows, width), generator=draw)
    place = torch.arange(width).expand(rows, width)
    inside = place < torch.tensor(lengths)[:, None]
    tokens[~inside] = 0
    target = torch.full_like(tokens, -1)
    target[:, :-1] = torch.where(inside[:, 1:], tokens[:, 1:], -1)
    counts = inside & (place > 0)
    return TokenBatch(
        number=number,
        documents=CORPUS,
        tokens=tokens,
        mask=None if inside.all() else inside.long(),
        index=torch.nonzero(counts.flatten()).flatten(),
        logits_index=torch.nonzero((counts & (target >= 0)).flatten()).flatten(),
        subset=subset,
        document=torch.arange(rows).repeat_interleave(width),
        offset=place.flatten(),
        target=target.flatten(),
        key=torch.randperm(rows * width, generator=draw),
        length=torch.tensor(lengths).repeat_interleave(width),
    )


@dataclass
class Heard:
    """How a module was called in the model's own forward, and what it gave."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any

    @property
    def input(self) -> Tensor:
        return self.args[0] if self.args else self.kwargs["hidden_states"]

    @property
    def tensor(self) -> Tensor:
        return self.output[0] if isinstance(self.output, tuple) else self.output


@contextmanager
def listening(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Heard]]:
    """What plain forward hooks on a model's own modules hear, in the order they are called."""
    heard: dict[str, Heard] = {}
    handles = []
    for name, module in modules.items():

        def before(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            heard[name] = Heard(args, dict(kwargs), None)

        def after(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            # Some blocks go on to add to it in place.
            first = output[0] if isinstance(output, tuple) else output
            first = first.clone() if isinstance(first, Tensor) else first
            heard[name].output = (first, *output[1:]) if isinstance(output, tuple) else first

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def forward(model: nn.Module, batch: TokenBatch) -> Tensor:
    """The model's own forward: `[rows, positions, vocabulary]`."""
    return model(input_ids=batch.tokens, attention_mask=batch.mask, use_cache=False).logits


def logits_of(folder: Path, compute: torch.dtype) -> Callable[[Tensor], Tensor]:
    """By plain transformers: the last states of a model in this dtype, and a float32 copy's norm
    and unembedding on them."""
    narrow, wide = (
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        for dtype in (compute, torch.float32)
    )
    last = [
        model.get_submodule(blocks_path(model, model.config.num_hidden_layers))[-1]
        for model in (narrow, wide)
    ]
    states: list[Tensor] = []

    def hear(module: nn.Module, args: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    def put(module: nn.Module, args: Any, output: Any) -> Any:
        state = states.pop().float()
        return (state, *output[1:]) if isinstance(output, tuple) else state

    last[0].register_forward_hook(hear)
    last[1].register_forward_hook(put)

    @torch.no_grad()
    def logits(tokens: Tensor) -> Tensor:
        narrow(tokens, use_cache=False)
        return wide(tokens, use_cache=False).logits

    return logits


def own_states(model: nn.Module, layout: Layout, batch: TokenBatch) -> dict[str, Tensor]:
    """Every block's input and output in the forward of `model`, by the name of the site."""
    blocks = model.get_submodule(layout.blocks_path)
    with listening({str(n): block for n, block in enumerate(blocks)}) as heard:
        logits = forward(model, batch)
    states = {f"resid.{n}": heard[str(n)].tensor for n in range(layout.depth)}
    return {"embed": heard["0"].input, **states, "logits": logits}


def twin(
    layout: Layout, compression: str | Compression | None, seed: int = 0
) -> CompressedTwin | Reference:
    """A twin with its targets chosen as a run chooses them."""
    if isinstance(compression, str):
        compression = parse_spec(compression)
    if compression is None:
        return Reference(layout)
    matrices = [name for name, _ in layout.matrices()]
    names = [*matrices, *(m.name for m in layout.shell_maps())]
    taken = targets(names, matrices, compression)
    base = calibrated(compression)
    if base is None:
        return CompressedTwin(layout, compression, taken, seed)
    kept = WeightCache(cached.twins() / f"tiny-{uuid4().hex}")
    wanted = {"twin": CalibrationJob(base, frozenset(taken), kept, {})}
    documents = corpus([[20, 7], [20], [20]], seed=5)
    failed = calibrate(layout, wanted, documents, batch_tokens=64, seed=seed, memory=1 << 30)
    for error in failed.values():
        raise error
    source = Around(compression, kept, seed) if isinstance(compression, Noise) else kept
    return CompressedTwin(layout, compression, taken, seed, source)


def sweep(
    layout: Layout,
    batches: Sequence[TokenBatch],
    sites: Sequence[str],
    twins: Mapping[str, SweptModel] | None = None,
    branches: Sequence[ForwardRun] = (),
    hidden_bytes: int = 1 << 30,
    documents: str = CORPUS,
) -> Sweep:
    """The same sites of the reference, of every twin and of every branch."""
    twins = dict(twins or {})
    runs = [ForwardRun(name, name) for name in (REFERENCE, *twins)] + list(branches)
    return Sweep(
        layout=layout,
        models={REFERENCE: Reference(layout), **twins},
        runs=runs,
        requests=[SiteRequest(run.name, frozenset(sites), documents) for run in runs],
        batches=batches,
        hidden_bytes=hidden_bytes,
    )


ActivationsByStep = dict[tuple[str, str, int], Tensor]
"""By run, site and batch; logits of the counted positions, whatever parts they came in."""


def activations(swept: Sweep) -> ActivationsByStep:
    """All that a sweep hands out."""
    found: dict[tuple[str, str, int], list[Tensor]] = {}
    for step in steps(swept):
        for run, sites in step.activations.items():
            for name in sites:
                if name != "final" and run not in step.again:
                    found.setdefault((run, name, step.batch.number), []).append(sites[name])
    return {key: torch.cat(parts) for key, parts in found.items()}


def steps(swept: Sweep) -> Iterator[Step]:
    """Every step of every wave."""
    for wave in swept.waves:
        yield from swept.run(wave)


def read(layout: Layout, sites: Sequence[str], batch: TokenBatch) -> dict[str, Tensor]:
    """Sites of the reference alone."""
    found = activations(sweep(layout, [batch], sites))
    return {name: found[(REFERENCE, name, batch.number)] for name in sites}


ValueKey = tuple[str, str, str, str, str]
"""Analysis, twin, item, site, metric."""


def sae(
    width: int = 64, latents: int = 48, seed: int = 0, label: str = "random", **settings: Any
) -> Sae:
    """An autoencoder with random directions, whose latents fire at some positions each."""
    draw = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(latents, width, generator=draw), dim=1)
    bias = -0.5 * torch.rand(latents, generator=draw)
    return Sae(
        label=label,
        hook="resid.1",
        architecture="standard",
        w_enc=directions.T.contiguous(),
        b_enc=bias,
        w_dec=directions,
        b_dec=0.1 * torch.randn(width, generator=draw),
        **settings,
    )


def placed(sae: Sae, site: str = "resid.1", **fields: Any) -> PlacedSae:
    """An autoencoder in its place, with some mean code and some mean activation."""
    first, second = (torch.Generator().manual_seed(1) for _ in range(2))
    found = PlacedSae(
        sae=sae,
        site=site,
        mean_code=0.2 * torch.rand(sae.latents, generator=first),
        mean_activation=0.1 * torch.randn(sae.width, generator=second),
        fit=Fit(positions=100, fvu=0.1, l0=4.0, alive=1.0),
    )
    return replace(found, **fields)


def analysis(name: str) -> Analysis:
    """A registered analysis with its default settings, and an autoencoder or labelled texts where
    it needs them."""
    context = AnalysisContext(saes=(placed(sae()),), labelled=labelled())
    found = ANALYSES[name].create(context)
    assert isinstance(found, Analysis)
    return found


@cache
def labelled(documents: int = 80, trained: int = 48) -> LabelledCorpus:
    """Documents of two classes that mostly end with other tokens, those that are learned from
    first."""
    draw = np.random.default_rng(7)
    label = np.arange(documents) % 2
    shown = np.where(draw.random(documents) < 0.12, 1 - label, label)
    rows = [[*draw.integers(1, VOCABULARY, 4), 10 + 2 * n + draw.integers(2)] for n in shown]
    made = corpus([[row] for row in rows])
    groups = Groups(
        first=np.arange(documents),
        label=label,
        labels=("set\tno", "set\tyes"),
        mark=tuple(np.full(5, -1) for _ in rows),
    )
    pair = ClassPair(name="set", positive="yes", negative="no", labels=(0, 1))
    return LabelledCorpus(replace(made, groups=groups), trained, (pair,))


SWEPT = tuple(name for name in ANALYSES if issubclass(ANALYSES[name], Analysis))
"""The analyses that read the sweep of the texts; those of tasks make sweeps of their own."""


def everything() -> list[Analysis]:
    """Every registered analysis that reads the sweep of the texts."""
    return [analysis(name) for name in SWEPT]


OWN_CONTEXT = 12
"""Tokens of the windows of analyses that read their own documents."""


def own_documents(
    analyses: Sequence[Analysis],
    seed: int = 0,
    context: int = OWN_CONTEXT,
    bos: int | None = None,
    vocabulary: int = VOCABULARY,
) -> dict[str, tuple[Corpus, int]]:
    """The documents of analyses that read their own."""
    reader = TokenizerFacts(np.arange(2, vocabulary), bos, context, seed)
    read = {a.name: a.documents(reader) for a in analyses}
    return {name: documents for name, documents in read.items() if documents is not None}


BRANCHED = 32


def plan(
    corpus: Corpus,
    analyses: Sequence[Analysis] | None = None,
    batch_tokens: int = 96,
    seed: int = 0,
    **settings: Any,
) -> Plan:
    """A plan of a corpus and of what the analyses read besides it; branches run on `BRANCHED`
    documents where there are as many, for a tenth of these corpora is not even two."""
    own = settings.pop("own", None)
    if own is None:
        own = own_documents(everything() if analyses is None else analyses, seed)
    rule = settings.pop("rule", "content")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitlens.engine.plan.FEWEST_BRANCHED", BRANCHED)
        return make_plan(corpus, rule, seed, batch_tokens, own=own, **settings)


class Words:
    """Tokens and documents as a reader of these tests knows them."""

    def token(self, number: int) -> str:
        return f"<{number}>"

    def document(self, number: int) -> str:
        return f"document {number}"

    def before(self, document: int, offset: int, count: int) -> list[str]:
        return [f"{document}:{place}" for place in range(max(0, offset + 1 - count), offset + 1)]


def measurement(
    layout: Layout,
    compressions: Mapping[str, str | Compression | Twin],
    made: Plan,
    folder: Path,
    analyses: Sequence[Analysis] | None = None,
    hidden_bytes: int = 1 << 30,
) -> Measurement:
    """A measurement of twins by name, with every analysis unless some are named."""
    analyses = everything() if analyses is None else analyses
    twins = {
        name: given if isinstance(given, Twin) else twin(layout, given)
        for name, given in compressions.items()
    }
    own = made.sets.keys() - {CORPUS, SUBSET}
    reads = {a.name: a.reads(layout) for a in analyses}
    return Measurement(
        layout=layout,
        twins=twins,
        wanted=comparisons(analyses, list(twins), reads, own=own),
        plan=made,
        hidden_bytes=hidden_bytes,
        partial=folder,
        texts=Words(),
    )


def values(measured: Measurement, progress: Progress = silent) -> dict[ValueKey, Value]:
    """Every value of a measurement, each once."""
    return by_key(list(measured.values(progress)))


def by_key(found: Sequence[Measured]) -> dict[ValueKey, Value]:
    """Values by what they are of, each once."""
    values: dict[ValueKey, Value] = {}
    for one in found:
        for value in one.values:
            of = one.comparison
            key = (of.analysis.name, of.twin, value.item, value.site, value.metric)
            assert key not in values, f"{key} comes twice"
            values[key] = value
    return values


def tables(found: Sequence[Measured]) -> dict[tuple[str, str], DetailTable]:
    """What is shown, by twin and name, each once."""
    shown: dict[tuple[str, str], DetailTable] = {}
    for one in found:
        for table in one.shown:
            key = (one.comparison.twin, table.name)
            assert key not in shown, f"{key} comes twice"
            shown[key] = table
    return shown


@dataclass(frozen=True)
class Erase(DataFree):
    """The planted lesion: targeted matrices become nought."""

    name: ClassVar[str] = "erase"

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        return CompressedMatrix(torch.zeros_like(matrix.weight, dtype=torch.float32), 1.0)


@dataclass(frozen=True)
class Refuse(DataFree):
    """Fails at the modules named, and changes nothing before."""

    name: ClassVar[str] = "refuse"
    at: str = ""
    """Part of the names of modules that it refuses."""

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        if self.at in matrix.name:
            raise BitlensError(f"{self.at} will not do.", "another.", "nothing")
        return CompressedMatrix(matrix.weight.float() * 0.5, 8.0)
