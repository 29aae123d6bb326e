"""What does an audit cost over the bare forwards it cannot avoid?

    python benchmarks/sweep.py [--twins 1 4] [--documents 16] [--repeats 3]

A random GPT-2-small (12 blocks, 768 wide, 50,257 tokens), 16 documents of 256 tokens, all
analyses, an SAE of 24,576 latents at block 6's output, the lens on one position in sixteen. The
floor is every product the audit cannot do without, each model once: forwards of the corpus and of
the repeated sequences with the attention the audit uses, the pass that branches need, the
unembedding at every block of the lens' positions, the encoder at every position, and the
reference up to the SAE for its fit. The audit is
`bitlens.run` from an empty folder to a complete store (not the report), loading included. Both are
timed alternately in one process, by processor time; figures are medians of the ratios.

The last line is of four analyses alone, those that a script around a library of hooks would do
(geometry, attention, lens, features), over plain forwards: each model once with logits of all
positions, the encoder at every position, and the unembedding at every block of 64 positions.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from drawn_texts import write_texts
from transformers import AutoModelForCausalLM, GPT2Config

from bitlens.analyses.heads.analysis import Heads
from bitlens.analyses.lens import FEWEST, MOST, SHARE
from bitlens.config.study import Study
from bitlens.data.corpus import make_corpus
from bitlens.data.texts import read_texts
from bitlens.engine.analysis import TokenizerFacts
from bitlens.engine.plan import CORPUS, TokenBatch, make_plan
from bitlens.engine.wave_size import BATCH_TOKENS
from bitlens.models.layout import Layout
from bitlens.models.source import ModelSource
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.sae.sae import Sae
from bitlens.workflows.audit.manifest import peak_bytes
from bitlens.workflows.audit.run import run

TWINS = ("rtn:bits=4", "rtn:bits=8", "rtn:bits=3,group=64", "prune:sparsity=0.3")
CONTEXT = 256
SCRIPTED = ("geometry", "attention", "lens", "features")
SCRIPTED_LENS, SCRIPTED_ROWS = 64, 8
"""Positions whose lens a script would look at, and documents that it would read at a time."""
LATENTS, BLOCK = 24_576, 6
LENS_POSITIONS = 64


def write_model(folder: Path, documents: int) -> None:
    """A random GPT-2-small with a tokenizer that has a word for every token."""
    torch.manual_seed(0)
    config = GPT2Config(bos_token_id=None, eos_token_id=None)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    write_texts(folder, config.vocab_size, documents, CONTEXT)


def write_sae(folder: Path, model: Path) -> None:
    """A dictionary of random directions, biased so that about 64 latents fire at a position."""
    draw = torch.Generator().manual_seed(0)
    w_dec = torch.nn.functional.normalize(torch.randn(LATENTS, 768, generator=draw), dim=1)
    states = torch.cat([s for _, s in states_at(model, BLOCK)])
    w_enc, b_dec = w_dec.T.contiguous(), states.mean(dim=0)
    level = torch.quantile(((states[:64] - b_dec) @ w_enc).flatten()[:: 1 << 4], 1 - 64 / LATENTS)
    b_enc = torch.full((LATENTS,), -float(level))
    hook = f"blocks.{BLOCK}.hook_resid_post"
    save_sae(
        Sae(
            label="sae",
            hook=hook,
            architecture="standard",
            w_enc=w_enc,
            b_enc=b_enc,
            w_dec=w_dec,
            b_dec=b_dec,
        ),
        folder,
    )


@torch.no_grad()
def states_at(folder: Path, block: int) -> list[tuple[int, torch.Tensor]]:
    """What the bare model hands from one block to the next, batch by batch."""
    model, batches = prepared(folder)
    model.transformer.h = model.transformer.h[: block + 1]
    model.transformer.ln_f = torch.nn.Identity()
    return [
        (b.number, model.base_model(b.tokens, use_cache=False).last_hidden_state.flatten(0, 1))
        for b in batches
        if b.documents == CORPUS
    ]


def study(folder: Path, twins: int, analyses: tuple[str, ...] | None) -> Study:
    """The audit that is timed: so many twins and one SAE."""
    some = {"analyses": analyses} if analyses else {}
    return Study(
        models=(ModelSource(str(folder), saes=(str(folder / "sae"),)),),
        compressions=TWINS[:twins],
        controls=(),
        text=str(folder / "texts.json"),
        context=CONTEXT,
        tokens=0,
        # Random directions explain little: they cost what an SAE costs.
        allow=("poor-fit",),
        **some,
    )


def prepared(folder: Path) -> tuple[Any, Sequence[TokenBatch]]:
    """The bare model, and all batches that an audit reads."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    corpus = make_corpus(read_texts(folder / "texts.json"), tokenizer, CONTEXT)
    reader = TokenizerFacts(np.arange(model.config.vocab_size), None, CONTEXT, 0)
    own = {"heads": Heads().documents(reader)}
    return model, make_plan(corpus, "content", 0, BATCH_TOKENS["cpu"], own=own).batches


@torch.no_grad()
def floor(folder: Path, twins: int) -> tuple[float, float]:
    """Seconds of the bare forwards of the corpus alone, and of everything that is needed."""
    model, batches = prepared(folder)
    sae = load_sae(folder / "sae")
    corpus = [b for b in batches if b.documents == CORPUS]
    rows = torch.cat([b.tokens for b in corpus])
    states = torch.randn(rows.numel(), 768)
    runs = twins + 1
    model(corpus[0].tokens, use_cache=False)
    start = time.process_time()
    for batch in corpus:
        for _ in range(runs):
            model(batch.tokens, use_cache=False)
    bare = time.process_time() - start
    for batch in batches:
        if batch.documents != CORPUS:
            for _ in range(runs):
                model(batch.tokens, use_cache=False)
    for batch in corpus:
        for _ in range(twins if batch.subset else 0):
            model.base_model(batch.tokens, use_cache=False)
    positions = min(max(rows.numel() // SHARE, FEWEST), MOST)
    for _ in range(runs):
        for part in states[:positions].split(LENS_POSITIONS):
            for _ in range(model.config.n_layer):
                model.lm_head(part)
        for part in states.split(512):
            part @ sae.w_enc
    blocks = model.transformer.h
    model.transformer.h = blocks[: BLOCK + 1]
    model.base_model(corpus[0].tokens, use_cache=False)
    return bare, time.process_time() - start


@torch.no_grad()
def scripted(folder: Path, twins: int) -> float:
    """Seconds of plain forwards with their logits, the encoder and a lens of few positions."""
    model, batches = prepared(folder)
    sae = load_sae(folder / "sae")
    rows = torch.cat([b.tokens for b in batches if b.documents == CORPUS])
    looked_at = torch.randn(SCRIPTED_LENS * model.config.n_layer, 768)
    model(rows[:2], use_cache=False)
    start = time.process_time()
    for _ in range(twins + 1):
        for few in rows.split(SCRIPTED_ROWS):
            states = model.base_model(few, use_cache=False).last_hidden_state
            model.lm_head(states)
            torch.addmm(sae.b_enc, states.flatten(0, 1), sae.w_enc).relu_()
        model.lm_head(looked_at)
    return time.process_time() - start


def audit(folder: Path, twins: int, analyses: tuple[str, ...] | None = None) -> float:
    """Seconds of a whole audit of all analyses, or of some."""
    with tempfile.TemporaryDirectory() as out:
        start = time.process_time()
        asked = study(folder, twins, analyses)
        run(asked, Path(out) / "store", "benchmark", log=lambda _: None)
        return time.process_time() - start


def memory(folder: Path, twins: int, documents: int) -> str:
    """Peak of an audit in a process of its own, beside what is allowed."""
    measured = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(folder), "--twins", str(twins)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak = int(measured.stdout.split()[-1])
    layout = Layout(AutoModelForCausalLM.from_pretrained(folder))
    weights = sum(p.numel() for p in layout.model.parameters()) * 4 + 2 * 768 * LATENTS * 4
    block = sum(p.numel() for p in layout.blocks[0].parameters()) * 4
    hidden = documents * CONTEXT * layout.width * 4 * (twins + 2)
    allowed = weights + twins * block + hidden + (1 << 30)
    return f"peak memory, V={twins}: {peak / 1e9:.2f} GB (allowed {allowed / 1e9:.2f} GB)"


def main() -> None:
    """Medians of audit over floor, for every number of twins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twins", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        audit(options.memory_of, options.twins[0])
        print(peak_bytes())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "gpt2-small-random"
        write_model(folder, options.documents)
        write_sae(folder / "sae", folder)
        for twins in options.twins:
            print(memory(folder, twins, options.documents), flush=True)
        for twins in options.twins:
            over_floor, over_bare, over_script = [], [], []
            for _ in range(options.repeats):
                bare, whole_floor = floor(folder, twins)
                seconds = audit(folder, twins)
                over_floor.append(seconds / whole_floor)
                over_bare.append(seconds / bare)
                print(f"V={twins}: floor {whole_floor:.1f} s, audit {seconds:.1f} s", flush=True)
                script, four = scripted(folder, twins), audit(folder, twins, SCRIPTED)
                over_script.append(four / script)
                print(f"V={twins}: script {script:.1f} s, its analyses {four:.1f} s", flush=True)
            print(
                f"sweep over floor, V={twins}: {statistics.median(over_floor):.2f} "
                f"(over {twins + 1} bare forwards: {statistics.median(over_bare):.2f})",
                f"{', '.join(SCRIPTED)} over plain forwards with logits, V={twins}: "
                f"{statistics.median(over_script):.2f}",
                sep="\n",
                flush=True,
            )


if __name__ == "__main__":
    main()
