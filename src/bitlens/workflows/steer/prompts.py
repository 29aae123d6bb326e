"""What a steering run reads: prompts, the tokens that its effect is made of, neutral text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bitlens.data.corpus import Corpus
from bitlens.data.labelled_corpus import ClassPair, LabelledCorpus, renumbered
from bitlens.engine.plan import Plan, TokenBatch
from bitlens.errors import InputError
from bitlens.workflows.session import Session

NEUTRAL, BEGINNING = 24, 64
"""Documents of the evaluation text that side effects are measured on, and tokens read of each."""
TOKENS = 20
"""Tokens that stand for a class where none are named: those in more of its texts than of the other
class."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Prompts:
    """Texts that are read to their last token."""

    corpus: Corpus
    plan: Plan
    positive: np.ndarray
    """`[documents]`: of the class that the vector points to."""

    @property
    def batches(self) -> list[TokenBatch]:
        """Their batches, with the prediction after the last token of every row."""
        found = []
        for batch in self.plan.batches:
            rows, width = batch.tokens.shape
            ends = batch.length.view(rows, width)[:, 0] - 1
            index = torch.arange(rows, device=ends.device) * width + ends
            found.append(replace(batch, logits_index=index))
        return found


def prompts_of(session: Session, labelled: LabelledCorpus, *, whole: bool) -> Prompts:
    """The texts that the vector is not made of; without `whole` their first halves, which leave
    something to be said."""
    count = len(labelled.corpus.document_names)
    corpus = renumbered(labelled.corpus, np.arange(labelled.training, count))
    if not whole:
        rows = tuple(row[: max(2 + corpus.bos, (len(row) + 1) // 2)] for row in corpus.rows)
        corpus = replace(corpus, rows=rows)
    assert corpus.groups is not None
    if not whole:
        mark = tuple(m[: len(r)] for m, r in zip(corpus.groups.mark, corpus.rows, strict=True))
        corpus = replace(corpus, groups=replace(corpus.groups, mark=mark))
    (pair,) = labelled.sets
    assert corpus.groups is not None
    positive = corpus.groups.label == pair.labels[1]
    return Prompts(corpus=corpus, plan=session.plan(corpus), positive=positive)


def neutral_of(session: Session) -> Corpus:
    """The beginnings of some documents of the evaluation text."""
    corpus = session.corpus
    first = corpus.select(np.arange(NEUTRAL))
    keep = first.starts == 0
    rows = (row[:BEGINNING] for row, kept in zip(first.rows, keep, strict=True) if kept)
    return replace(
        first,
        rows=tuple(rows),
        document=first.document[keep],
        starts=first.starts[keep],
        groups=None,
    )


def class_tokens(labelled: LabelledCorpus) -> tuple[int, ...]:
    """The tokens that most more of the positive class' texts have than of the other's, of those
    that the vector is made of. BitlensError where there are none."""
    (pair,) = labelled.sets
    shares = [_document_shares(labelled, pair, which) for which in (0, 1)]
    more = {t: share - shares[0].get(t, 0.0) for t, share in shares[1].items()}
    found = [t for t in sorted(more, key=lambda t: (-more[t], t)) if more[t] > 0][:TOKENS]
    if not found:
        raise InputError(
            f"No token is more common in texts labelled {pair.positive} than in the others.",
            "tokens whose probability says that the vector has an effect.",
            '--answers " Yes, Sure"',
        )
    return tuple(found)


def _document_shares(labelled: LabelledCorpus, pair: ClassPair, which: int) -> dict[int, float]:
    """By token, in what share of the texts of a class it is."""
    corpus, groups = labelled.corpus, labelled.corpus.groups
    assert groups is not None
    of = [
        np.unique(row)
        for row, document in zip(corpus.rows, corpus.document, strict=True)
        if document < labelled.training and groups.label[document] == pair.labels[which]
    ]
    tokens, counts = np.unique(np.concatenate(of), return_counts=True)
    return dict(zip(tokens.tolist(), (counts / len(of)).tolist(), strict=True))


def answer_tokens(session: Session, answers: Sequence[str]) -> tuple[int, ...]:
    """The first token of each answer. BitlensError for an answer without any."""
    found = []
    for answer in answers:
        ids = session.loaded.tokenizer(answer, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InputError(f"The answer {answer!r} has no token.", "text.", '--answers " I"')
        found.append(int(ids[0]))
    return tuple(dict.fromkeys(found))


def log_odds(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """`[n, vocabulary]` to `[n]`: log p - log(1 - p), p the probability of some tokens together
    (Arditi et al. 2024, arXiv 2406.11717, of first tokens of refusals)."""
    of = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    of[list(tokens)] = True
    return torch.logsumexp(logits[:, of], dim=-1) - torch.logsumexp(logits[:, ~of], dim=-1)
