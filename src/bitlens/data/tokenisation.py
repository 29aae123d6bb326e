"""Documents as tokens, in the order of a seeded hash of their text, and the token that opens a
window of them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bitlens.data.files import Document
from bitlens.data.groups import marked_tokens, members
from bitlens.data.texts import Documents
from bitlens.errors import DataError
from bitlens.seeds import derive

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Bos = Literal["auto", "yes", "no"]
Ids = NDArray[np.int32]

WINDOWS_A_STRETCH = 8
"""Text without document marks is cut into documents of this many windows: neighbouring windows
say much the same, and treating each as a document of its own would make intervals too narrow."""
_CHARACTERS_A_CALL = 1 << 18
_SHOW_PROGRESS_ABOVE = 5_000_000
"""Characters; a few seconds of tokenising."""


class TokenisedDocument(NamedTuple):
    """A document with its own tokens, without BOS or EOS."""

    document: Document
    ids: Ids
    mark: NDArray[np.int64] | None = None
    """`[tokens]`: which of the document's marks each token belongs to; None where it has none."""


def in_order(
    texts: Documents, tokenizer: "PreTrainedTokenizerBase", room: int, seed: int
) -> tuple[int, Iterator[TokenisedDocument]]:
    """How many documents there are, and each with its tokens, in the order of a seeded hash; the
    documents of a group one after the other. `room`: tokens of the text in a window.

    Marked documents are tokenised only as far as they are asked for.
    """
    key = derive(seed, "documents").to_bytes(8, "little")

    def rank(data: bytes) -> bytes:
        return hashlib.blake2b(data, key=key, digest_size=16).digest()

    if texts.marked:
        order = _order(texts.documents, [rank(d.text.encode()) for d in texts.documents], rank)
        return len(order), _encode([texts.documents[n] for n in order], tokenizer)
    stretch = WINDOWS_A_STRETCH * room
    stretches = [
        TokenisedDocument(Document(f"{whole.document.name}, stretch {n}", ""), ids)
        for whole in _encode(texts.documents, tokenizer)
        for n, ids in enumerate(np.split(whole.ids, np.arange(stretch, len(whole.ids), stretch)), 1)
    ]
    places = _copies_last([rank(stretch.ids.tobytes()) for stretch in stretches])
    return len(places), (stretches[n] for n in places)


def _order(
    documents: Sequence[Document], ranks: Sequence[bytes], rank: Callable[[bytes], bytes]
) -> list[int]:
    """The order of documents by their ranks; a group's is made of those of its documents."""
    groups = [
        sorted(g, key=lambda n: (ranks[n], documents[n].label or "")) for g in members(documents)
    ]
    alone = [documents[group[0]].group is None for group in groups]
    of_groups = [
        ranks[group[0]] if by_itself else rank(b"".join(ranks[n] for n in group))
        for group, by_itself in zip(groups, alone, strict=True)
    ]
    return [n for place in _copies_last(of_groups) for n in groups[place]]


def _copies_last(ranks: Sequence[bytes]) -> list[int]:
    """The order by rank; what has the rank of another before it, its copy, after all others."""
    times: Counter[bytes] = Counter()
    seen = []
    for rank in ranks:
        seen.append(times[rank])
        times[rank] += 1
    return sorted(range(len(ranks)), key=lambda n: (seen[n], ranks[n]))


def _encode(
    documents: Sequence[Document], tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[TokenisedDocument]:
    """Each document with its own tokens."""
    ends = np.cumsum([len(document.text) for document in documents])
    calls = np.split(
        np.arange(len(documents)), np.flatnonzero(np.diff(ends // _CHARACTERS_A_CALL)) + 1
    )
    small = ends[-1] < _SHOW_PROGRESS_ABOVE
    with tqdm(total=int(ends[-1]), desc="tokenising", disable=small or None) as bar:
        for call in calls:
            chunk = [documents[n] for n in call]
            spans = any(_has_spans(document) for document in chunk)
            if spans and not tokenizer.is_fast:
                raise DataError(
                    "Characters are marked, but the tokenizer does not say which token holds them.",
                    "a fast tokenizer, or marks that are numbers of tokens.",
                    "the model's tokenizer.json beside its other files.",
                )
            encoded = tokenizer(
                [document.text for document in chunk],
                add_special_tokens=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                return_offsets_mapping=spans,
                verbose=False,
            )
            for n, document in enumerate(chunk):
                ids = np.array(encoded["input_ids"][n], dtype=np.int32)
                offsets = encoded["offset_mapping"][n] if spans else []
                mark = marked_tokens(document, len(ids), offsets) if document.marks else None
                yield TokenisedDocument(document, ids, mark)
                bar.update(len(document.text))


def _has_spans(document: Document) -> bool:
    return any(not isinstance(mark, int) for mark in document.marks)


def opening_token(tokenizer: "PreTrainedTokenizerBase", bos: Bos) -> tuple[int | None, str]:
    """Which token opens each window, if any, and why. DataError where the tokenizer has none and
    one is asked for, or puts another."""
    bos_id = tokenizer.bos_token_id
    if bos == "no":
        return None, "No window begins with BOS, as asked for."
    if bos == "yes":
        if bos_id is None:
            raise DataError(
                "The tokenizer has no BOS token.", "one to begin each window with.", "--bos auto"
            )
        return bos_id, f"Each window begins with BOS ({tokenizer.bos_token}), as asked for."
    put = tokenizer("a", verbose=False)["input_ids"][:1]
    if put == tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"][:1]:
        return None, "No window begins with BOS: the tokenizer puts none before a text."
    if put != [bos_id]:
        raise DataError(
            f"The tokenizer begins a text with {tokenizer.convert_ids_to_tokens(put)[0]}, which "
            f"is not its BOS token ({tokenizer.bos_token}).",
            "a tokenizer that puts its BOS token, or none, before a text.",
            "--bos yes or --bos no",
        )
    return bos_id, f"Each window begins with BOS ({tokenizer.bos_token}): the tokenizer puts it."
