"""How fast, and how well, are SAEs trained beside SAELens's trainer?

    python benchmarks/train.py [--model demo] [--text demo] [--site resid.1] [--repeats 2]

Needs sae-lens. Both are fed the same rows of the same activations, in memory, in the same order
and batches, one thread each, TopK with the same k (so at equal L0), the same rates, warm-up and
decay, in turn. FVU is of documents that neither learnt from. Four SAEs (four seeds) in one pass
stand beside four runs, reading the activations included where it says so. Processor time: other
work on the machine does not count.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from bitlens.config.sae_grid import SaeGrid
from bitlens.config.study import audit_of
from bitlens.data.splits import split
from bitlens.engine.runs import REFERENCE
from bitlens.sae.fit import Fit, measure_fit
from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.training.config import SaeTrainingConfig
from bitlens.sae.training.trainer import InMemory, Job, batches, train
from bitlens.workflows.train_sae.dataset import ActivationDataset, DatasetBuilder

T = TypeVar("T")
BATCH, RATES = 2048, (3e-3, 6e-3)


def timed(do: Callable[[], T]) -> tuple[T, float]:
    """What a call gives, and its processor time in seconds."""
    begun = time.process_time()
    result = do()
    return result, time.process_time() - begun


def ours(rows: Tensor, held: Tensor, configs: list[SaeTrainingConfig]) -> list[Sae]:
    """SAEs that bitlens trains on `rows`, one for each of the settings."""
    jobs = [
        Job(config=r, label=f"{n}", hook="resid.0", trained_on=TrainedOn())
        for n, r in enumerate(configs)
    ]
    # Nothing is held out while it is timed but a row: SAELens looks at nothing.
    return [t.sae for t in train(InMemory({"": rows}), {"": held[:1]}, jobs, quiet=True)]


def theirs(rows: Tensor, config: SaeTrainingConfig, *, autocast: bool) -> list[Sae]:
    """The SAE that SAELens trains on `rows`, in our form."""
    torch.manual_seed(config.seed)
    config = TopKTrainingSAEConfig(
        d_in=rows.shape[1],
        d_sae=config.latents,
        k=config.k,
        normalize_activations="expected_average_only_in",
        use_sparse_activations=False,
    )
    sae = TopKTrainingSAE(config)
    settings = SAETrainerConfig(
        total_training_samples=config.steps * BATCH,
        train_batch_size_samples=BATCH,
        lr=config.rate,
        lr_end=config.rate / 10,
        lr_warm_up_steps=int(config.warm_up * config.steps),
        lr_decay_steps=int(config.decay * config.steps),
        n_batches_for_norm_estimate=1,
        autocast=autocast,
    )

    def provided() -> Iterator[Tensor]:
        for step, chunk, order in batches(
            InMemory({"": rows}), {config.seed}, batch=BATCH, start=0, stop=config.steps
        ):
            if step == 0:
                # The first is taken for the norm.
                yield chunk[""][order[config.seed]]
            yield chunk[""][order[config.seed]]

    SAETrainer(settings, sae, provided()).fit()
    norm = sae.W_dec.detach().norm(dim=1)
    w_enc, b_enc, w_dec, b_dec = (
        tensor.detach() for tensor in (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec)
    )
    w_dec = w_dec / norm[:, None]
    return [
        Sae(
            label="theirs",
            hook="resid.0",
            architecture="topk",
            w_enc=w_enc * norm,
            b_enc=b_enc * norm,
            w_dec=w_dec,
            b_dec=b_dec,
            k=config.k,
        )
    ]


def described(fit: Fit) -> str:
    """A fit in a few words."""
    return f"FVU {fit.fvu:.4f}, L0 {fit.l0:.2f}, alive {fit.alive:.1%}"


def main() -> None:
    """Speed and fit of both, one SAE at a time and four in one pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--text", default="demo")
    parser.add_argument("--site", default="resid.1")
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("-k", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    study = audit_of(asked.model, "nothing", controls=(), text=asked.text, tokens=asked.tokens)

    def read() -> ActivationDataset:
        builder = DatasetBuilder.open(study, [REFERENCE], asked.site, print)
        learnt, held = split(builder.session.corpus, SaeGrid.held_out)
        builder = replace(builder, held=held)
        return builder.dataset(builder.spec(learnt))

    dataset, reading = timed(read)
    assert isinstance(dataset.source, InMemory)
    rows, held = dataset.source.rows[REFERENCE], dataset.held_out[REFERENCE]
    steps = asked.epochs * (len(rows) // BATCH)
    positions = steps * BATCH
    print(
        f"{len(rows):,} positions of width {rows.shape[1]}, read in {reading:.1f} s; {steps} steps"
    )
    times: dict[str, list[float]] = {}
    for repeat in range(asked.repeats):
        for rate in RATES:
            config = SaeTrainingConfig(
                architecture="topk",
                latents=asked.latents,
                k=asked.k,
                steps=steps,
                rate=rate,
                dead_after=positions // 10,
            )
            configs = [replace(config, seed=seed) for seed in range(4)]
            runs: dict[str, Callable[[], list[Sae]]] = {
                "bitlens": partial(ours, rows, held, configs[:1]),
                "SAELens": partial(theirs, rows, config, autocast=False),
                "SAELens, bf16": partial(theirs, rows, config, autocast=True),
            }
            if rate == RATES[-1]:
                runs["bitlens, four in one pass"] = partial(ours, rows, held, configs)
            for name, do in runs.items():
                saes, seconds = timed(do)
                times.setdefault(name, []).append(seconds)
                if repeat == 0:
                    fit = described(measure_fit(saes[0], held))
                    print(f"rate {rate:g}: {name}: {seconds:.1f} s; {fit}", flush=True)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    one, four = median["bitlens"], median["bitlens, four in one pass"]
    for name, seconds in median.items():
        many = 4 if "four" in name else 1
        print(f"{name}: {many * positions / seconds:,.0f} positions a second, all SAEs together")
    print(f"one SAE over SAELens: {median['SAELens'] / one:.2f} times the positions a second")
    print(f"  over SAELens in bf16: {median['SAELens, bf16'] / one:.2f}")
    print(f"four in one pass over four runs of SAELens: {4 * median['SAELens'] / four:.2f}")
    print(f"  over four in bf16: {4 * median['SAELens, bf16'] / four:.2f}")
    print(f"  over four runs of bitlens: {4 * one / four:.2f}")
    print(
        f"  the same with reading, each run its own: {4 * (one + reading) / (four + reading):.2f}"
    )


if __name__ == "__main__":
    main()
