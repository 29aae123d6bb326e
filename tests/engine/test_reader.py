"""What SAEs learn from is what the models compute, and never what they are measured on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitlens.compression import parse_spec
from bitlens.compression.twin import CompressedTwin
from bitlens.compression.twin_builder import chosen  # type: ignore[attr-defined]
from bitlens.data.corpus import Corpus
from bitlens.data.splits import HELD_OUT_TOKENS, nested, split
from bitlens.engine.plan import Plan, make_plan
from bitlens.engine.reader import CHUNK, ActivationReader, Streamed, in_parts
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.errors import BitlensError
from tests.support.tiny import NAMES, layout


def corpus(documents: int = 10, rows: int = 2) -> Corpus:
    """Random tokens; every document several rows of different lengths."""
    draw = np.random.default_rng(0)
    of = np.repeat(np.arange(documents), rows)
    lengths = draw.integers(5, 17, len(of))
    return Corpus(
        name="random",
        rows=tuple(draw.integers(4, 100, n).astype(np.int32) for n in lengths),
        document=of,
        starts=np.zeros(len(of), dtype=np.int64),
        document_names=tuple(str(n) for n in range(documents)),
        context=16,
        bos=False,
        bos_id=None,
    )


def reader(hidden_bytes: int = 1 << 30) -> ActivationReader:
    model = layout("llama")
    rounded = parse_spec("rtn:bits=3")
    twins = {
        REFERENCE: Reference(model),
        "rtn:bits=3": CompressedTwin(model, rounded, chosen(model, rounded), 0),
    }
    return ActivationReader(model, twins, "resid.0", hidden_bytes)


def plan(of: Corpus) -> Plan:
    return make_plan(of, "content", 0, 64)


def test_documents_are_split_whole_and_always_alike() -> None:
    """Three of ten held out, none in both parts, and the same three every time."""
    whole = corpus()
    learnt, held = split(whole, 0.3)
    assert learnt.n_documents == 7
    assert held.n_documents == 3
    assert not set(learnt.document) & set(held.document)
    assert len(learnt.rows) + len(held.rows) == len(whole.rows)
    assert held.token_hash == split(whole, 0.3)[1].token_hash
    assert split(whole, 0.99)[0].n_documents == 1
    assert split(whole, 0.001)[1].n_documents == 1


def test_what_was_learnt_from_is_not_measured_on_as_a_copy() -> None:
    """Every document three times: all three are in the same part, the parts those of one each."""
    once, times = corpus(), 3
    whole = replace(
        once,
        rows=once.rows * times,
        document=np.concatenate([once.document + 10 * n for n in range(times)]),
        starts=np.tile(once.starts, times),
        document_names=tuple(map(str, range(10 * times))),
    )
    learnt, held = split(whole, 0.3)
    assert (learnt.n_documents, held.n_documents) == (21, 9)
    contents = [{row.tobytes() for row in part.rows} for part in (learnt, held)]
    assert not contents[0] & contents[1]
    assert set(held.document % 10) == set(split(once, 0.3)[1].document)
    held, (small,) = nested(whole, 100, [400])
    assert not set(held.document % 10) & set(small.document % 10)
    with pytest.raises(BitlensError, match="1 document, and 2 copies of it"):
        split(whole.select([0, 10, 20]), 0.5)


def test_smaller_sizes_are_within_larger_ones_and_what_is_held_out_is_the_same() -> None:
    """Whole documents in one order: about so many tokens, whatever sizes are asked for."""
    whole = corpus(40)
    held, (small, large) = nested(whole, 100, [120, 400])
    assert set(small.document) < set(large.document)
    assert not set(held.document) & set(large.document)
    assert 100 <= held.n_tokens < 100 + 32
    assert 120 - 32 < small.n_tokens <= 120
    assert 400 - 32 < large.n_tokens <= 400
    again, (alone,) = nested(whole, 100, [120])
    assert (again.token_hash, alone.token_hash) == (held.token_hash, small.token_hash)


def test_too_little_text_for_the_largest_size_is_refused() -> None:
    """With what there is."""
    whole = corpus(40)
    with pytest.raises(BitlensError, match="tokens beside the 100 that are held out"):
        nested(whole, 100, [120, 4000])
    with pytest.raises(BitlensError, match="has 0 tokens beside the 10,000"):
        nested(whole, 10_000, [100])


@pytest.mark.parametrize(
    ("size", "held_out", "found"),
    [
        (200_000, 10_000, "has 120,000 tokens beside the 10,000 that are held out"),
        (30_000, 130_000, "has 0 tokens beside"),
        (30_000, 10_000, "to be learnt from has 40,000 tokens"),
    ],
)
def test_far_fewer_or_more_tokens_than_were_asked_for_are_refused(
    size: int, held_out: int, found: str
) -> None:
    """Of four documents of 40,000; 150,000 would be 120,000, as documents are whole."""
    whole = Corpus(
        name="long",
        rows=tuple(np.full(40_000, n, dtype=np.int32) for n in range(4)),
        document=np.arange(4),
        starts=np.zeros(4, dtype=np.int64),
        document_names=tuple("abcd"),
        context=40_000,
        bos=False,
        bos_id=None,
    )
    with pytest.raises(BitlensError, match=found):
        nested(whole, held_out, [size])
    assert nested(whole, 10_000, [150_000])[1][0].n_tokens == 120_000


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    """So is a text of one document."""
    with pytest.raises(BitlensError, match="between 0 and 1"):
        split(corpus(), share)
    with pytest.raises(BitlensError, match="has 1 document"):
        split(corpus(1), 0.5)


def test_what_is_measured_on_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out documents beyond it are not learnt from either."""
    monkeypatch.setattr("bitlens.data.splits.HELD_OUT_TOKENS", 50)
    learnt, held = split(corpus(), 0.5)
    assert learnt.n_documents == 5
    assert held.n_documents < 5
    assert held.n_tokens <= 50
    assert HELD_OUT_TOKENS > 50


def test_rows_are_the_models_own_hidden_states() -> None:
    """Every counted position of the reference, by the model's own forward; the twin's differ."""
    read, of = reader(), plan(corpus())
    rows = read.rows(of.batches)
    expected = []
    for batch in of.batches:
        mask = None if batch.mask is None else batch.mask
        with torch.no_grad():
            states = read.layout.model(
                batch.tokens, attention_mask=mask, output_hidden_states=True
            ).hidden_states[1]
        expected.append(states.flatten(0, 1)[batch.index])
    torch.testing.assert_close(rows[REFERENCE], torch.cat(expected), atol=1e-5, rtol=1e-4)
    assert rows["rtn:bits=3"].shape == rows[REFERENCE].shape
    assert not torch.allclose(rows["rtn:bits=3"], rows[REFERENCE], atol=1e-3)
    assert read.bytes_of(of.batches) == 2 * rows[REFERENCE].nbytes


def test_streamed_chunks_are_the_same_rows() -> None:
    """In the same order, from any chunk on, whatever the memory for hidden states."""
    of = plan(corpus())
    whole = reader().rows(of.batches)
    streamed = Streamed(reader(hidden_bytes=1), in_parts(of.batches, 60))
    assert len(streamed.sizes) > 2
    assert sum(streamed.sizes) == of.positions
    found = list(streamed.chunks(0))
    for name, rows in whole.items():
        torch.testing.assert_close(torch.cat([chunk[name] for chunk in found]), rows)
    (last,) = streamed.chunks(len(streamed.sizes) - 1)
    assert torch.equal(last[REFERENCE], found[-1][REFERENCE])
    assert len(in_parts(of.batches)) == 1
    assert of.positions < CHUNK


def test_a_twin_without_numbers_is_refused() -> None:
    """Its activations are infinite: nothing can be learnt from them."""
    read = reader()
    broken = layout("llama")
    twin = Reference(broken)
    original = twin.enter
    twin.enter = lambda *a: _infinite(original(*a))  # type: ignore[method-assign]
    with pytest.raises(BitlensError, match="not finite"):
        ActivationReader(broken, {"broken": twin}, "embed", 1 << 30).rows(plan(corpus()).batches)
    assert read.place == "resid.0"
    assert "llama" in NAMES


def _infinite(entry):  # type: ignore[no-untyped-def]
    entry.hidden.fill_(float("inf"))
    return entry
