"""What a model reads: documents as windows of tokens, each document still one document."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress, groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitlens.data.budget import SHORTEST, Budget, take
from bitlens.data.categories import Categories, categories_of
from bitlens.data.copies import units
from bitlens.data.groups import Groups, groups_of
from bitlens.data.texts import Documents
from bitlens.data.tokenisation import WINDOWS_A_STRETCH, Bos, Ids, in_order, opening_token
from bitlens.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus:
    """Documents as rows of tokens.

    Documents stand in the order of a seeded hash of their text, not in the source's, so that
    document ids, and every sample drawn by them, are the same however the source is sorted.
    """

    name: str
    rows: tuple[Ids, ...]
    """A window each, of at most `context` tokens; a document's rows stand together, in order."""
    document: NDArray[np.int64]
    """[rows] which document a row belongs to: an index into `document_names`."""
    starts: NDArray[np.int64]
    """[rows] tokens of the same document in the rows before, each window's BOS included: start
    and position within the row together name a place in a document once."""
    document_names: tuple[str, ...]
    context: int
    bos: bool
    """Whether each row begins with BOS."""
    bos_id: int | None
    """The tokenizer's BOS token, whether or not rows begin with it; None where it has none."""
    notes: tuple[str, ...] = ()
    """What the reader of a result should know, one sentence each."""
    groups: Groups | None = None
    """Which documents belong together, with their labels and marks; None: each is by itself."""
    categories: Categories | None = None
    """Of what kind each document, or position, is; None: nobody asked."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[rows] tokens in each row, BOS included."""
        return np.fromiter(map(len, self.rows), np.int64, len(self.rows))

    def rows_at(self, document: NDArray[np.int64], offset: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n] which row holds each place in a document."""
        longest = 1 + max(self.starts.max(initial=0), offset.max(initial=0))
        own = self.document * longest + self.starts
        row: NDArray[np.int64] = np.searchsorted(own, document * longest + offset, side="right") - 1
        return row

    @property
    def ends(self) -> NDArray[np.bool_]:
        """[rows] whether a row is the last that is read of its document."""
        return np.append(self.document[1:] != self.document[:-1], True)

    @property
    def n_documents(self) -> int:
        """Documents with at least one row here."""
        return len(np.unique(self.document))

    @cached_property
    def unit(self) -> NDArray[np.int64]:
        """[document_names] the sampling unit of each document: a group is one, and so are copies
        among documents in none, which are one draw of text; called by the first of them."""
        present, first = np.unique(self.document, return_index=True)
        ends = np.append(first[1:], len(self.rows))
        unit = self.together.copy()
        alone = (
            np.ones(len(present), bool) if self.groups is None else self.groups.first[present] < 0
        )
        tokens = [
            np.concatenate([row[self.bos :] for row in self.rows[start:end]])
            for start, end in zip(first[alone], ends[alone], strict=True)
        ]
        unit[present[alone]] = present[alone][units(tokens)]
        return unit

    @property
    def together(self) -> NDArray[np.int64]:
        """[document_names] the first document of the group that each is in, or itself."""
        return np.arange(len(self.document_names)) if self.groups is None else self.groups.together

    @property
    def n_units(self) -> int:
        """Documents with at least one row here, copies counted once."""
        return len(np.unique(self.unit[self.document]))

    @property
    def copies(self) -> int:
        """Documents that are copies of others here."""
        return len(np.unique(self.together[self.document])) - self.n_units

    @property
    def n_tokens(self) -> int:
        """Tokens the model reads, BOS included."""
        return int(self.lengths.sum())

    @property
    def token_hash(self) -> str:
        """Which tokens are these? SHA-256 over each document's rows, and over what is grouped,
        labelled and marked; the order of documents, their names and their ids do not matter."""
        found: dict[int, list[bytes]] = {}
        together = self.together
        for document, rows in groupby(range(len(self.rows)), lambda n: int(self.document[n])):
            digest = hashlib.sha256()
            for n in rows:
                row = self.rows[n]
                digest.update(len(row).to_bytes(8, "little") + row.astype("<i4").tobytes())
                if self.groups is not None:
                    digest.update(self.groups.mark[n].astype("<i4").tobytes())
            if self.groups is not None:
                digest.update(self.groups.label_of(document).encode())
            found.setdefault(int(together[document]), []).append(digest.digest())
        digests = [
            of[0] if self.groups is None else hashlib.sha256(b"".join(sorted(of))).digest()
            for of in found.values()
        ]
        return hashlib.sha256(b"".join(sorted(digests))).hexdigest()

    def of_units(self, units: ArrayLike) -> "Corpus":
        """The rows of some sampling units, given by number, copies included."""
        return self.select(np.flatnonzero(np.isin(self.unit, units)))

    def first_units(self, number: int) -> "Corpus":
        """The rows of so many sampling units, the first in the order of the documents."""
        return self.of_units(np.unique(self.unit[self.document])[:number])

    def select(self, documents: ArrayLike) -> "Corpus":
        """The rows of some documents, given by id; ids and names stay what they were."""
        keep = np.isin(self.document, documents)
        return replace(
            self,
            rows=tuple(compress(self.rows, keep)),
            document=self.document[keep],
            starts=self.starts[keep],
            groups=None if self.groups is None else self.groups.select(keep),
        )


def make_corpus(
    texts: Documents,
    tokenizer: "PreTrainedTokenizerBase",
    context: int,
    bos: Bos = "auto",
    max_tokens: int | None = None,
    seed: int = 0,
    categories: str | None = None,
) -> Corpus:
    """The documents as a model sees them that reads `context` tokens at a time.

    A longer document becomes consecutive windows and stays one document; text without document
    marks becomes stretches of eight windows, each a document. With BOS every window begins with
    it and holds one token fewer of the text; `auto` follows the tokenizer. An EOS that the
    tokenizer would append is left out. `max_tokens`, BOS included, takes documents in an order
    drawn by `seed` and the text alone, what was there before word for word after all others; the
    last is cut at the end of a window, and the first window where it alone would be too long.
    Groups are taken whole. `categories`: the field that names that of each document, or `depth`.
    BitlensError where nothing can be predicted, no group fits, or categories cannot be told apart.
    """
    opening, opening_note = opening_token(tokenizer, bos)
    _check_sizes(context, max_tokens, opening)
    room = context - (opening is not None)
    found, documents = in_order(texts, tokenizer, room, seed)
    taken = take(documents, found, room=room, opening=opening, max_tokens=max_tokens)
    _require_any(texts, taken)
    counts = [len(rows) for rows in taken.windows]
    corpus = Corpus(
        name=texts.name,
        rows=tuple(row for rows in taken.windows for row in rows),
        document=np.repeat(np.arange(len(counts)), counts),
        # Every row but a document's last is full.
        starts=np.concatenate([np.arange(count) * context for count in counts]),
        document_names=tuple(document.name for document in taken.documents),
        context=context,
        bos=opening is not None,
        bos_id=tokenizer.bos_token_id,
        groups=groups_of(taken.documents, [mark for rows in taken.mark for mark in rows]),
        categories=categories_of(taken.documents, categories, source=texts.name, context=context),
    )
    notes = (
        *texts.notes,
        *_notes(texts, taken, corpus, found=found, max_tokens=max_tokens, seed=seed),
        opening_note,
    )
    return replace(corpus, notes=notes)


def _require_any(texts: Documents, taken: Budget) -> None:
    """Is there something to predict? An error where there is not."""
    if not taken.documents:
        raise DataError(
            f"{texts.name} has no document of at least {SHORTEST} tokens.",
            "at least one document in which a token follows another.",
            "--text with another file, or --context longer than a token or two.",
        )


def check_vocabulary(corpus: Corpus, size: int) -> None:
    """Can a model whose vocabulary has this size read the corpus? DataError for the first token
    that it has not."""
    for row, document in zip(corpus.rows, corpus.document, strict=True):
        outside = row[(row < 0) | (row >= size)]
        if len(outside):
            raise DataError(
                f"Token {outside[0]} in {corpus.document_names[document]} of {corpus.name} is "
                f"not in the model's vocabulary of {size}.",
                "a tokenizer and a model that belong together.",
                "name the tokenizer that came with the model.",
            )


def _check_sizes(context: int, max_tokens: int | None, opening: int | None) -> None:
    """Is there room for a token that predicts another? An error where there is not."""
    if context < SHORTEST:
        raise DataError(
            f"The context is {context} tokens.", f"at least {SHORTEST}.", "--context 512"
        )
    least = SHORTEST + (opening is not None)
    if max_tokens is not None and max_tokens < least:
        raise DataError(
            f"The budget is {max_tokens} tokens.",
            f"at least {least}, for there to be one to predict; 0 reads all of the text.",
            "--tokens 100000",
        )


def _notes(
    texts: Documents,
    taken: Budget,
    corpus: Corpus,
    *,
    found: int,
    max_tokens: int | None,
    seed: int,
) -> Iterator[str]:
    if not texts.marked:
        yield (
            f"The text has no document marks: it was cut into stretches of {WINDOWS_A_STRETCH} "
            f"windows, {found:,} in all, and each counts as one document."
        )
    if taken.short:
        yield f"Documents of fewer than {SHORTEST} tokens left out: {taken.short:,}."
    if taken.cut or len(taken.documents) + taken.short < found:
        yield (
            f"The budget of {max_tokens:,} tokens took {len(taken.documents):,} of {found:,} "
            f"documents ({corpus.n_tokens:,} tokens), the first in an order drawn with seed {seed}"
            + (", the last one cut short." if taken.cut else ".")
        )
    if taken.capped:
        yield (
            f"Documents of which only the beginning was read, so that the budget reaches more of "
            f"them: {taken.capped:,}."
        )
    if corpus.groups is not None:
        yield (
            f"Documents in groups: {int((corpus.groups.first >= 0).sum()):,}, in "
            f"{len(np.unique(corpus.groups.first[corpus.groups.first >= 0])):,} groups, each of "
            "which is read whole and counts as one document."
        )
    if long := sum(len(rows) > 1 for rows in taken.windows):
        yield (
            f"Documents longer than the context of {corpus.context:,} tokens, cut to windows: "
            f"{long:,} of {len(taken.documents):,}."
        )
