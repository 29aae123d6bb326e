"""Laws of parts: cut once, summed up by themselves, added in order."""

import torch

from bitlens.engine.accumulators import Accumulator, DocumentSums
from bitlens.engine.keys import MetricKey
from bitlens.engine.parts import PARTS, PartedSums, parts

KEY = MetricKey("behaviour", "twin", "", "logits")


def one(number: float) -> Accumulator:
    return Accumulator(sums={"kl": torch.tensor([number], dtype=torch.float64)})


def test_parts_are_of_about_as_many_tokens() -> None:
    """By hand: of 32 equal batches two each; of fewer than there are parts, one at most; a large
    one takes the place of several."""
    assert parts([10] * 32) == [n // 2 for n in range(32)]
    assert len(set(parts([10] * 5))) == 5
    assert parts([10, 30]) == [2, 10]
    assert parts([]) == []
    assert max(parts([1] * 1000)) == PARTS - 1


def test_a_part_is_added_whole() -> None:
    """By hand: 1 + (1e-16 + 1e-16) is more than 1, and (1 + 1e-16) + 1e-16 is not."""
    sums = PartedSums()
    sums.part[KEY] = one(1.0)
    sums.close()
    for _ in range(2):
        sums.part.setdefault(KEY, Accumulator()).add(one(1e-16))
    sums.close()
    assert sums.part == {}
    assert sums.whole[KEY].sums["kl"].item() == 1 + 2e-16 > 1.0
    batch_by_batch = one(1.0)
    for _ in range(2):
        batch_by_batch.add(one(1e-16))
    assert batch_by_batch.sums["kl"].item() == 1.0


def test_a_document_in_two_parts_is_added_up_in_each_first() -> None:
    """As a worker that has only its own part does."""
    sums = PartedSums()
    for numbers in ([1.0], [1e-16, 1e-16]):
        of = [
            DocumentSums(torch.tensor([3]), torch.tensor([0]), {"kl": torch.tensor([n]).double()})
            for n in numbers
        ]
        sums.part[KEY] = Accumulator(documents={"documents": of})
        sums.close()
    assert sums.whole[KEY].by_document("documents").sums["kl"].item() > 1.0
