"""What does a model say of its own accord? Documents sampled from it, for training SAEs on.

    python studies/sample_text.py MODEL --tokens N --out FILE.jsonl [--seed S] [--context N]

Each document begins with BOS alone and is drawn at temperature 1 until BOS, EOS or the end of the
context; MODEL is a folder, a hub id or demo. The same seed gives the same documents, and fewer
tokens the first of them, on one machine and version of torch; another machine may round otherwise
and go on with another token.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel

from bitlens.config.study import DEMO
from bitlens.demo import model_path
from bitlens.results.files.writing import write
from bitlens.seeds import derive

ROWS = 128
"""Documents drawn at a time: each step reads all weights, for however many."""


def main() -> None:
    """Draws documents until there are tokens enough, and writes them as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, required=True, help="at least so many")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, help="tokens of a document at most")
    given = parser.parse_args()
    texts, tokens = [], 0
    with tqdm(total=given.tokens, unit=" tokens", unit_scale=True, disable=None) as bar:
        for text, length in sample(given.model, given.seed, given.context):
            texts.append(text)
            tokens += length
            bar.update(length)
            if tokens >= given.tokens:
                break
    lines = "".join(f"{json.dumps({'text': text}, ensure_ascii=False)}\n" for text in texts)
    write(given.out, lines.encode())
    print(f"{len(texts):,} documents of {tokens:,} tokens in {given.out}")


@torch.inference_mode()
def sample(name: str, seed: int, context: int | None) -> Iterator[tuple[str, int]]:
    """Document after document without end, each with its number of tokens."""
    source = str(model_path()) if name == DEMO else name
    model = AutoModelForCausalLM.from_pretrained(source, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    first = bos if bos is not None else eos
    if first is None:
        raise SystemExit(f"The tokenizer of {name} has neither BOS nor EOS to begin with.")
    ends = [mark for mark in (bos, eos) if mark is not None]
    longest = context or model.config.max_position_embeddings
    for batch in range(1 << 31):
        draw = torch.Generator().manual_seed(derive(seed, "documents", batch))
        for row in rows_of(model, first, longest, ends, draw):
            marks = torch.isin(row, torch.tensor(ends)).nonzero()
            said = row[: int(marks[0])] if len(marks) else row
            if text := tokenizer.decode(said, skip_special_tokens=True).strip():
                yield text, len(said) + 1


def rows_of(
    model: PreTrainedModel, first: int, longest: int, ends: list[int], draw: torch.Generator
) -> Tensor:
    """`[ROWS, at most longest - 1]` tokens after the first, until every row has ended.

    By the inverse of the distribution function: one random number a row, where
    `torch.multinomial`, which transformers' `generate` draws with, takes one for every word of the
    vocabulary, which is half of the time of a small model.
    """
    cache, ended = DynamicCache(config=model.config), torch.zeros(ROWS, 1, dtype=torch.bool)
    rows = [torch.full((ROWS, 1), first)]
    while len(rows) < longest and not ended.all():
        logits = model(rows[-1], past_key_values=cache, use_cache=True).logits[:, -1].float()
        below = logits.softmax(dim=-1).cumsum(dim=-1)
        at = torch.rand(ROWS, 1, generator=draw) * below[:, -1:]
        token = torch.searchsorted(below, at, right=True).clamp(max=logits.shape[1] - 1)
        ended |= torch.isin(token, torch.tensor(ends))
        rows.append(token)
    return torch.cat(rows[1:], dim=1)


if __name__ == "__main__":
    main()
