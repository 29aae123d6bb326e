"""What does a pass over every block's one-block twin cost over running them one by one?

    python benchmarks/sensitivity.py [--blocks 24] [--vocabulary 512] [--repeats 3]

A random GPT-2, 6 documents of 128 tokens, `rtn:bits=4`, one unit a block, KL and the rest of
`behaviour` alone. The floor is as many plain forwards as there are units, with the unembedding and
nothing measured, each of a model in which one block was replaced. The pass is the sweep that
`bitlens sensitivity` runs, from tokens to values with their replicates; loading, proxies and files
are left out. A way's figure is what its units add to the pass that has the reference and the whole
twin already; what everything takes together is told beside it. Processor time, one process, taken
alternately; medians. With a small vocabulary blocks are nearly all of a forward; with a realistic
one (`--vocabulary 32000`) every fork needs the unembedding in full and is measured over all of it.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from drawn_texts import write_texts
from transformers import AutoModelForCausalLM, GPT2Config

from bitlens.compression import parse_spec
from bitlens.compression.twin import CompressedTwin
from bitlens.config.study import Study
from bitlens.engine.measurement import Measurement
from bitlens.engine.memory import bound_heap
from bitlens.engine.plan import CORPUS, TokenBatch
from bitlens.models.source import ModelSource
from bitlens.workflows.audit.selection import AskedAnalyses, select_analyses
from bitlens.workflows.sensitivity.forks import Fork, Forks, comparisons_of
from bitlens.workflows.sensitivity.units import units_of
from bitlens.workflows.session import Session

COMPRESSION = "rtn:bits=4"
DOCUMENTS, CONTEXT = 6, 128
ROOM = 1 << 30
"""Bytes of hidden states: all documents in one wave."""


def write_model(folder: Path, blocks: int, width: int, vocabulary: int) -> None:
    """A random GPT-2 with a tokenizer that has a word for every token."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=blocks,
        n_embd=width,
        n_head=width // 64,
        n_positions=CONTEXT,
        vocab_size=vocabulary,
        bos_token_id=None,
        eos_token_id=None,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    write_texts(folder, vocabulary, DOCUMENTS, CONTEXT)


class Passes:
    """What is timed of one model."""

    def __init__(self, folder: Path) -> None:
        study = Study(
            models=(ModelSource(str(folder)),),
            compressions=(COMPRESSION,),
            controls=(),
            text=str(folder / "texts.json"),
            context=CONTEXT,
            tokens=0,
        )
        self.session = Session.open(study, lambda _: None)
        builder = self.session.twin_builder(apart_from=self.session.corpus)
        asked = AskedAnalyses(names=("behaviour",))
        self.selection = select_analyses(self.session, asked, self.session.plan(), builder)
        layout = self.session.layout
        units = [unit for unit in units_of(layout, "block") if unit.block is not None]
        names = [name for name, _ in layout.matrices()]
        twin = CompressedTwin(layout, parse_spec(COMPRESSION), names)
        self.forks = Forks(layout, {COMPRESSION: twin}, units)
        self.plain = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.batches: Sequence[TokenBatch] = [
            b for b in self.selection.plan.batches if b.documents == CORPUS
        ]

    @torch.no_grad()
    def one_by_one(self) -> float:
        """Seconds of a plain forward for every block, that block replaced."""
        blocks: Any = self.plain.transformer.h
        started = time.process_time()
        for depth, block in enumerate(blocks):
            blocks[depth] = copy.deepcopy(block)
            for batch in self.batches:
                self.plain(batch.tokens, attention_mask=batch.mask, use_cache=False)
            blocks[depth] = block
        return time.process_time() - started

    def together(self, *ways: str) -> float:
        """Seconds of one pass of the reference, the whole twin, and the forks of these ways."""
        forks: list[Fork] = [f for f in self.forks.all if f.way in ("whole", *ways)]
        with tempfile.TemporaryDirectory() as partial:
            started = time.process_time()
            measurement = Measurement(
                self.session.layout,
                self.forks.models,
                comparisons_of(forks, self.selection),
                self.selection.plan,
                hidden_bytes=ROOM,
                partial=Path(partial),
                texts=self.session.texts,
            )
            list(measurement.values())
            return time.process_time() - started


def main() -> None:
    """A line a vocabulary and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # As the command does: else every block of the sweep asks the system for new pages.
    bound_heap()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "random"
        write_model(folder, options.blocks, options.width, options.vocabulary)
        passes = Passes(folder)
    passes.together()
    shares: dict[str, list[float]] = {"only": [], "all but": [], "both": []}
    for _ in range(options.repeats):
        base, floor = passes.together(), passes.one_by_one()
        for way in ("only", "all but"):
            shares[way].append((passes.together(way) - base) / floor)
        both = base / floor + shares["only"][-1] + shares["all but"][-1]
        shares["both"].append(both / 2)
        print(
            f"reference and whole twin {base:.1f} s, one by one {floor:.1f} s, of which the units' "
            f"share is {shares['only'][-1]:.3f} and {shares['all but'][-1]:.3f}",
            flush=True,
        )
    median = {way: statistics.median(of) for way, of in shares.items()}
    about = f"{options.blocks} units, vocabulary {options.vocabulary}"
    print(
        f"{about}, both ways, reference and whole twin included: {median['both']:.2f} of "
        f"{2 * options.blocks} separate forwards"
    )
    for way in ("only", "all but"):
        print(f"{about}, {way}: {median[way]:.2f} of {options.blocks} separate forwards")


if __name__ == "__main__":
    main()
