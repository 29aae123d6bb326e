"""What does a model read? Documents as windows of tokens, each document still one document."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress, groupby
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from bitlens.data.copies import units
from bitlens.data.files import Document
from bitlens.data.texts import Documents
from bitlens.errors import BitlensError
from bitlens.seeds import derive

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Bos = Literal["auto", "yes", "no"]
Ids = NDArray[np.int32]

WINDOWS_A_STRETCH = 8
"""Text without document marks is cut into documents of this many windows: neighbouring windows
say much the same, and treating each as a document of its own would make intervals too narrow."""
SPREAD = 100
"""Documents that a budget of tokens is spread over at least, where there are so many: intervals
rest on documents, and below about 100 they are too narrow (benchmarks/coverage.md)."""
SHORTEST = 2
"""Tokens of its own that a document needs for there to be anything to predict."""
_CHARACTERS_A_CALL = 1 << 18
_SHOW_PROGRESS_ABOVE = 5_000_000
"""Characters; a few seconds of tokenising."""


@dataclass(frozen=True, eq=False)
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

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[rows] tokens in each row, BOS included."""
        return np.fromiter(map(len, self.rows), np.int64, len(self.rows))

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
        """[document_names] the sampling unit of each document: copies are one draw of text, which
        is called by the first of them."""
        present, first = np.unique(self.document, return_index=True)
        ends = np.append(first[1:], len(self.rows))
        tokens = [
            np.concatenate([row[self.bos :] for row in self.rows[start:end]])
            for start, end in zip(first, ends, strict=True)
        ]
        unit = np.arange(len(self.document_names))
        unit[present] = present[units(tokens)]
        return unit

    @property
    def n_units(self) -> int:
        """Documents with at least one row here, copies counted once."""
        return len(np.unique(self.unit[self.document]))

    @property
    def copies(self) -> int:
        """Documents that are copies of others here."""
        return self.n_documents - self.n_units

    @property
    def n_tokens(self) -> int:
        """Tokens the model reads, BOS included."""
        return int(self.lengths.sum())

    @property
    def token_hash(self) -> str:
        """Which tokens are these? SHA-256 over each document's rows; the order of documents,
        their names and their ids do not matter."""
        digests = []
        for _, rows in groupby(zip(self.document, self.rows, strict=True), lambda pair: pair[0]):
            digest = hashlib.sha256()
            for _, row in rows:
                digest.update(len(row).to_bytes(8, "little") + row.astype("<i4").tobytes())
            digests.append(digest.digest())
        return hashlib.sha256(b"".join(sorted(digests))).hexdigest()

    def of_units(self, units: ArrayLike) -> Corpus:
        """The rows of some sampling units, given by number, copies included."""
        return self.select(np.flatnonzero(np.isin(self.unit, units)))

    def select(self, documents: ArrayLike) -> Corpus:
        """The rows of some documents, given by id; ids and names stay what they were."""
        keep = np.isin(self.document, documents)
        return replace(
            self,
            rows=tuple(compress(self.rows, keep)),
            document=self.document[keep],
            starts=self.starts[keep],
        )


def make_corpus(
    texts: Documents,
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    bos: Bos = "auto",
    max_tokens: int | None = None,
    seed: int = 0,
) -> Corpus:
    """How do these documents look to a model that reads `context` tokens at a time?

    A longer document becomes consecutive windows and stays one document; text without document
    marks becomes stretches of eight windows, each a document. With BOS every window begins with
    it and holds one token fewer of the text; `auto` follows the tokenizer. An EOS that the
    tokenizer would append is left out. `max_tokens`, BOS included, takes documents in an order
    drawn by `seed` and the text alone, what was there before word for word after all others; the
    last is cut at the end of a window, and the first window where it alone would be too long.
    """
    if context < SHORTEST:
        raise BitlensError(
            f"The context is {context} tokens.", f"at least {SHORTEST}.", "--context 512"
        )
    opening, opening_note = _opening(tokenizer, bos)
    least = SHORTEST + (opening is not None)
    if max_tokens is not None and max_tokens < least:
        raise BitlensError(
            f"The budget is {max_tokens} tokens.",
            f"at least {least}, for there to be one to predict; 0 reads all of the text.",
            "--tokens 100000",
        )
    room = context - (opening is not None)
    found, pieces = _in_order(texts, tokenizer, room, seed)
    taken = _take(pieces, found, room, opening, max_tokens)
    if not taken.names:
        raise BitlensError(
            f"{texts.name} has no document of at least {SHORTEST} tokens.",
            "at least one document in which a token follows another.",
            "--text with another file, or --context longer than a token or two.",
        )
    counts = [len(rows) for rows in taken.windows]
    corpus = Corpus(
        name=texts.name,
        rows=tuple(row for rows in taken.windows for row in rows),
        document=np.repeat(np.arange(len(counts)), counts),
        # Every row but a document's last is full.
        starts=np.concatenate([np.arange(count) * context for count in counts]),
        document_names=tuple(taken.names),
        context=context,
        bos=opening is not None,
        bos_id=tokenizer.bos_token_id,
    )
    notes = (*texts.notes, *_notes(texts, taken, found, corpus, max_tokens, seed), opening_note)
    return replace(corpus, notes=notes)


def check_vocabulary(corpus: Corpus, size: int) -> None:
    """Can a model whose vocabulary has this size read the corpus? An error where it cannot."""
    for row, document in zip(corpus.rows, corpus.document, strict=True):
        outside = row[(row < 0) | (row >= size)]
        if len(outside):
            raise BitlensError(
                f"Token {outside[0]} in {corpus.document_names[document]} of {corpus.name} is "
                f"not in the model's vocabulary of {size}.",
                "a tokenizer and a model that belong together.",
                "name the tokenizer that came with the model.",
            )


@dataclass
class _Taken:
    """Documents on their way into a corpus."""

    names: list[str] = field(default_factory=list)
    windows: list[list[Ids]] = field(default_factory=list)
    """One list a document."""
    short: int = 0
    """Documents dropped because there was nothing to predict."""
    cut: bool = False
    """Whether the budget ended within the last document."""
    capped: int = 0
    """Documents that could have given more windows than the budget lets one document give."""


def _take(
    pieces: Iterable[tuple[str, Ids]],
    found: int,
    room: int,
    opening: int | None,
    max_tokens: int | None,
) -> _Taken:
    """Documents one after the other until the budget is spent.

    No document gives more than its part of a budget shared by `SPREAD` documents (or by all of
    `found`, where there are fewer): a few long ones would leave nothing to resample.
    """
    taken = _Taken()
    left = np.inf if max_tokens is None else max_tokens
    windows = room + (opening is not None)
    cap = None if max_tokens is None else -(-max_tokens // (min(SPREAD, found) * windows))
    for name, ids in pieces:
        if len(ids) < SHORTEST:
            taken.short += 1
            continue
        rows = _windows(ids, room, opening)
        whole = sum(map(len, rows))
        if not taken.names and len(rows[0]) > left:
            rows = [rows[0][: int(left)], *rows[1:]]
        if cap is not None and len(rows) > cap:
            taken.capped += 1
            rows = rows[:cap]
        fitting = int(np.searchsorted(np.cumsum([len(row) for row in rows]), left, side="right"))
        if kept := rows[:fitting]:
            taken.names.append(name)
            taken.windows.append(kept)
            taken.cut = sum(map(len, kept)) < whole
        if fitting < len(rows):
            break
        left -= sum(map(len, kept))
    return taken


def _windows(ids: Ids, room: int, opening: int | None) -> list[Ids]:
    windows = np.split(ids, np.arange(room, len(ids), room))
    if opening is None:
        return windows
    return [np.insert(window, 0, opening) for window in windows]


def _in_order(
    texts: Documents, tokenizer: PreTrainedTokenizerBase, room: int, seed: int
) -> tuple[int, Iterator[tuple[str, Ids]]]:
    """How many documents there are, and each with its tokens, in the order of a seeded hash.

    Marked documents are tokenised only as far as they are asked for.
    """
    key = derive(seed, "documents").to_bytes(8, "little")

    def rank(data: bytes) -> bytes:
        return hashlib.blake2b(data, key=key, digest_size=16).digest()

    if texts.marked:
        ranks = [rank(document.text.encode()) for document in texts.documents]
        order = _copies_last(ranks)
        return len(order), _encode([texts.documents[n] for n in order], tokenizer)
    stretch = WINDOWS_A_STRETCH * room
    stretches = [
        (f"{name}, stretch {n}", ids)
        for name, whole in _encode(texts.documents, tokenizer)
        for n, ids in enumerate(np.split(whole, np.arange(stretch, len(whole), stretch)), 1)
    ]
    order = _copies_last([rank(ids.tobytes()) for _, ids in stretches])
    return len(order), (stretches[n] for n in order)


def _copies_last(ranks: Sequence[bytes]) -> list[int]:
    """The order by rank; what has the rank of another before it, its copy, after all others."""
    times: Counter[bytes] = Counter()
    seen = []
    for rank in ranks:
        seen.append(times[rank])
        times[rank] += 1
    return sorted(range(len(ranks)), key=lambda n: (seen[n], ranks[n]))


def _encode(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[str, Ids]]:
    """Each document's name and its own tokens, without BOS or EOS."""
    ends = np.cumsum([len(document.text) for document in documents])
    calls = np.split(
        np.arange(len(documents)), np.flatnonzero(np.diff(ends // _CHARACTERS_A_CALL)) + 1
    )
    small = ends[-1] < _SHOW_PROGRESS_ABOVE
    with tqdm(total=int(ends[-1]), desc="tokenising", disable=small or None) as bar:
        for call in calls:
            chunk = [documents[n] for n in call]
            encoded = tokenizer(
                [document.text for document in chunk],
                add_special_tokens=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
            for document, ids in zip(chunk, encoded["input_ids"], strict=True):
                yield document.name, np.array(ids, dtype=np.int32)
                bar.update(len(document.text))


def _opening(tokenizer: PreTrainedTokenizerBase, bos: Bos) -> tuple[int | None, str]:
    """Which token opens each window, if any, and why."""
    bos_id = tokenizer.bos_token_id
    if bos == "no":
        return None, "No window begins with BOS, as asked for."
    if bos == "yes":
        if bos_id is None:
            raise BitlensError(
                "The tokenizer has no BOS token.", "one to begin each window with.", "--bos auto"
            )
        return bos_id, f"Each window begins with BOS ({tokenizer.bos_token}), as asked for."
    put = tokenizer("a", verbose=False)["input_ids"][:1]
    if put == tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"][:1]:
        return None, "No window begins with BOS: the tokenizer puts none before a text."
    if put != [bos_id]:
        raise BitlensError(
            f"The tokenizer begins a text with {tokenizer.convert_ids_to_tokens(put)[0]}, which "
            f"is not its BOS token ({tokenizer.bos_token}).",
            "a tokenizer that puts its BOS token, or none, before a text.",
            "--bos yes or --bos no",
        )
    return bos_id, f"Each window begins with BOS ({tokenizer.bos_token}): the tokenizer puts it."


def _notes(
    texts: Documents, taken: _Taken, found: int, corpus: Corpus, max_tokens: int | None, seed: int
) -> Iterator[str]:
    if not texts.marked:
        yield (
            f"The text has no document marks: it was cut into stretches of {WINDOWS_A_STRETCH} "
            f"windows, {found:,} in all, and each counts as one document."
        )
    if taken.short:
        yield f"Documents of fewer than {SHORTEST} tokens left out: {taken.short:,}."
    if taken.cut or len(taken.names) + taken.short < found:
        yield (
            f"The budget of {max_tokens:,} tokens took {len(taken.names):,} of {found:,} documents "
            f"({corpus.n_tokens:,} tokens), the first in an order drawn with seed {seed}"
            + (", the last one cut short." if taken.cut else ".")
        )
    if taken.capped:
        yield (
            f"Documents of which only the beginning was read, so that the budget reaches more of "
            f"them: {taken.capped:,}."
        )
    if long := sum(len(rows) > 1 for rows in taken.windows):
        yield (
            f"Documents longer than the context of {corpus.context:,} tokens, cut to windows: "
            f"{long:,} of {len(taken.names):,}."
        )
