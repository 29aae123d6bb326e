"""A quantized KV cache, against the model that generates token by token from one."""

from copy import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from bitlens.compression import parse_spec
from bitlens.compression.methods.kv import Kv
from bitlens.compression.numerics.cache_rounding import CacheRounding
from bitlens.compression.targets import chosen, try_cache
from bitlens.compression.twin import CompressedTwin
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from tests.support import tiny

CASES = [
    "kv:bits=2,group=8",
    "kv:bits=3,keys=token,group=8",
    "kv:bits=2,group=4,window=3,sinks=2",
    "kv:bits=2,keys=token,group=16,window=2,sinks=1",
    "kv:keys=q4_0,values=q4_0",
    "kv:keys=q8_0,values=token,bits=2,group=16,window=4",
]


def between(numbers: list[float], bits: int) -> list[float]:
    """Whole numbers of steps above the least."""
    least, steps = min(numbers), 2**bits - 1
    step = (max(numbers) - least) / steps or 1.0
    return [least + round((number - least) / step) * step for number in numbers]


def block(numbers: list[float], kind: str) -> list[float]:
    """llama.cpp's: of q8_0 127 steps to the largest, of q4_0 eight below to seven above, the
    largest being the eighth below."""
    if kind == "q8_0":
        step = max(map(abs, numbers)) / 127
        codes = [int(n / step + (0.5 if n > 0 else -0.5)) for n in numbers]
    else:
        step = max(numbers, key=abs) / -8
        codes = [min(15, int(n / step + 8.5)) - 8 for n in numbers]
    half = float(torch.tensor(step).half())
    return [code * half for code in codes]


class ByHand(DynamicCache):
    """Keeps what it is given, and hands a token what is kept by then, number by number."""

    def __init__(self, kv: Kv) -> None:
        super().__init__()
        self.kv = kv
        self.raw: dict[int, list[Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> Any:
        """`[1, heads, 1, size]` each, to all so far as they are read."""
        super().update(key, value, layer)
        old = self.raw.get(layer)
        now = [key, value]
        raw = now if old is None else [torch.cat(pair, 2) for pair in zip(old, now, strict=True)]
        self.raw[layer] = raw
        keys, values = (x.clone() for x in raw)
        kv, length = self.kv, raw[0].shape[2]
        latest = length - kv.window
        if kv.keys == "channel":
            for start in range(kv.sinks, latest - kv.group + 1, kv.group):
                tokens = slice(start, start + kv.group)
                for head in range(keys.shape[1]):
                    for channel in range(keys.shape[3]):
                        numbers = raw[0][0, head, tokens, channel].tolist()
                        keys[0, head, tokens, channel] = torch.tensor(between(numbers, kv.bits))
        else:
            self.by_token(raw[0], keys, kv.keys, latest)
        self.by_token(raw[1], values, kv.values, latest)
        return keys, values

    def by_token(self, raw: Tensor, into: Tensor, kind: str, latest: int) -> None:
        """Tokens from the sinks to the window."""
        for token in range(self.kv.sinks, max(latest, self.kv.sinks)):
            row = raw[0, :, token]
            if kind == "token":
                size = min(self.kv.group, row.shape[-1])
                made = [between(part.tolist(), self.kv.bits) for part in row.reshape(-1, size)]
            else:
                made = [block(part.tolist(), kind) for part in row.reshape(-1, 32)]
            into[0, :, token] = torch.tensor(made).view_as(row)


def generated(layout: Layout, kv: Kv, tokens: Tensor) -> Tensor:
    """Logits of each token, generated one after another."""
    cache = ByHand(kv)
    made = [
        layout.model(input_ids=tokens[:, [n]], past_key_values=cache, use_cache=True).logits
        for n in range(tokens.shape[1])
    ]
    return torch.cat(made, 1)[0]


def swept(layout: Layout, text: str, lengths: list[int]) -> tuple[Any, Tensor]:
    batch = tiny.batch(lengths)
    twin = {"twin": tiny.twin(layout, text)}
    return batch, tiny.activations(tiny.sweep(layout, [batch], ["logits"], twin))[
        ("twin", "logits", 0)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "text"),
    [*(("llama", text) for text in CASES), *((f, CASES[2]) for f in ("gpt2", "gpt_oss", "gemma2"))],
)
def test_a_sweep_is_generation_token_by_token(family: str, text: str) -> None:
    """Every position reads what a cache holds by then, which is worked out number by number."""
    layout = tiny.eager(family)
    kv = parse_spec(text)
    assert isinstance(kv, Kv)
    batch, found = swept(layout, text, [11])
    with torch.no_grad():
        wanted = generated(layout, kv, batch.tokens)[batch.logits_index]
    plain = swept(layout, "nothing", [11])[1]
    assert (found - wanted).abs().max() <= 2e-4 * wanted.abs().max()
    assert (found - plain).abs().max() > 1e-3 * wanted.abs().max()


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_attention_function_does_not_matter(family: str) -> None:
    """Eager attention, which hands out weights that sum to 1 over positions, and the fused one."""
    text = "kv:bits=2,group=4,window=3,sinks=1"
    eager, fused = tiny.eager(family), tiny.layout(family)
    first, second = (swept(layout, text, [13, 6])[1] for layout in (eager, fused))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    twin = {"twin": tiny.twin(eager, text)}
    pattern = tiny.activations(tiny.sweep(eager, [tiny.batch([13])], ["pattern.1"], twin))[
        ("twin", "pattern.1", 0)
    ]
    assert pattern.shape[-2:] == (13, 13)
    torch.testing.assert_close(pattern.sum(-1), torch.ones_like(pattern[..., 0]))


def test_twins_beside_their_reference() -> None:
    """Where only what twins differ by is multiplied, in 16 bits, keys are rounded all the same."""
    text = "kv:bits=3,group=8"
    layout = tiny.layout("llama")
    beside = copy(layout)
    beside.paired = True
    plain, alone, paired = (
        swept(one, each, [13])[1]
        for one, each in ((layout, "nothing"), (layout, text), (beside, text))
    )
    assert (alone - paired).norm() < 0.1 * (alone - plain).norm()


def test_company_and_padding_do_not_matter() -> None:
    """A row alone and beside a longer one reads the same."""
    layout = tiny.layout("llama")
    text = "kv:bits=2,group=4"
    batch = tiny.batch([13, 6])
    twin = {"twin": tiny.twin(layout, text)}
    together = tiny.activations(tiny.sweep(layout, [batch], ["resid.2"], twin))
    alone = tiny.batch([6])
    alone = type(alone)(**{**vars(alone), "tokens": batch.tokens[1:, :6]})
    apart = tiny.activations(tiny.sweep(layout, [alone], ["resid.2"], twin))
    key = ("twin", "resid.2", 0)
    torch.testing.assert_close(together[key][1, :6], apart[key][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "phi"])
def test_keys_before_rotary_embeddings(family: str) -> None:
    """Kept before they are turned, keys whose numbers are those of a token by itself read back
    another thing than after; in many bits both are the reference's. Without rotary embeddings
    there is no before."""
    layout = tiny.layout(family)
    plain = swept(layout, "nothing", [13])[1]
    after, before = (
        swept(layout, f"kv:bits=2,keys=token,group=16,rope={when}", [13])[1]
        for when in ("after", "before")
    )
    assert (after - before).abs().max() > 1e-3 * plain.abs().max()
    fine = swept(layout, "kv:keys=q8_0,values=q8_0,rope=before", [13])[1]
    assert (fine - plain).abs().max() < 0.05 * plain.abs().max()
    gpt2 = tiny.layout("gpt2")
    same = [swept(gpt2, f"kv:keys=token,rope={when}", [13])[1] for when in ("after", "before")]
    assert torch.equal(*same)


def test_bits_by_hand() -> None:
    """Four bits and 32 for a group of 32; of q8_0 34 bytes for 32 numbers, of q4_0 18."""
    assert Kv().cache.number_bits == (5.0, 5.0)
    assert Kv(bits=2, group=64).cache.number_bits == (2.5, 2.5)
    assert Kv(keys="q8_0", values="q4_0").cache.number_bits == (8.5, 4.5)


def test_weights_are_the_references() -> None:
    """It takes no matrix; a model of its weights alone would show nothing, and is refused."""
    layout = tiny.layout("llama")
    assert chosen(layout, Kv()) == []
    twin = CompressedTwin(layout, Kv())
    with pytest.raises(BitlensError, match="in a sweep only"):
        twin.model()


@pytest.mark.parametrize("of", ["rtn:bits=3", "nvfp4:activations=token", "gptq:bits=3,group=8"])
def test_with_rounded_weights_it_is_both_by_hand(of: str) -> None:
    """A twin of both is a model whose weights were compressed first, and whose keys and values are
    then rounded; every matrix is booked at its own bits."""
    layout, kept = tiny.layout("llama"), "kv:bits=2,group=4"
    weights = tiny.twin(layout, of)
    twin = tiny.twin(layout, f"{kept},of=[{of}]")
    batch = tiny.batch([13, 6])

    def logits(of_which: Layout, model: Any) -> Tensor:
        run = tiny.sweep(of_which, [batch], ["logits"], {"twin": model})
        return tiny.activations(run)[("twin", "logits", 0)]

    both, alone = logits(layout, twin), logits(layout, weights)
    compressed = Layout(weights.model())
    torch.testing.assert_close(both, logits(compressed, tiny.twin(compressed, kept)))
    assert (both - alone).abs().max() > 1e-3 * both.abs().max()
    bits = [{row.module: row.bits for row in one.coverage()} for one in (twin, weights)]
    assert bits[0] == bits[1]
    assert chosen(layout, twin.compression) == chosen(layout, weights.compression) != []


def test_what_the_weights_cannot_be() -> None:
    """Controls, another cache, a checkpoint, another dtype, and what is matched first."""
    others = ("nothing", "kv", "checkpoint:a", "cast:dtype=float16", "prune:match=[rtn:bits=4]")
    for of in others:
        with pytest.raises(BitlensError, match="a compression of the weights"):
            parse_spec(f"kv:of=[{of}]")


def test_what_cannot_be_kept() -> None:
    """Attention that multiplies keys itself, blocks that do not divide them, settings out of
    range, patterns, and noise of the size of nothing."""
    with pytest.raises(BitlensError, match="BloomAttention"):
        try_cache(tiny.layout("bloom"), Kv().cache)
    with pytest.raises(BitlensError, match="groups of 12 channels"):
        try_cache(tiny.layout("llama"), Kv(group=12).cache)
    try_cache(tiny.layout("gpt2"), Kv(keys="q8_0").cache)
    for text in ("kv:bits=9", "kv:group=0", "kv:window=-1", "kv:include=[*]", "noise:like=[kv]"):
        with pytest.raises(BitlensError):
            parse_spec(text)


def test_groups_by_hand() -> None:
    """Two bits from 0 to 3 leave 0, 1, 2 and 3; keys of a channel go by tokens, of which the fifth
    waits for three more; values of a token go by channels."""
    cache = Kv(bits=2, group=4).cache
    assert isinstance(cache, CacheRounding)
    x = torch.tensor([[0.0, 10], [0.6, 10], [1.4, 10], [3, 40], [0.6, 5]]).view(1, 1, 5, 2)
    keys = torch.tensor([[0.0, 10], [1, 10], [1, 10], [3, 40], [0.6, 5]]).view(1, 1, 5, 2)
    torch.testing.assert_close(cache.keys(x), keys)
    row = torch.tensor([0.0, 0.6, 1.4, 3]).view(1, 1, 1, 4)
    assert cache.values(row).flatten().tolist() == [0, 1, 1, 3]
    where = cache.where(5, torch.device("cpu"))
    assert where is not None
    read_keys, read_values = where
    assert read_keys.int().tolist() == [[0] * 5] * 3 + [[1, 1, 1, 1, 0]] * 2
    assert read_values.int().tolist() == torch.ones(5, 5).int().tril().tolist()
