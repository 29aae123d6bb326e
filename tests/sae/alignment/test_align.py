"""Alignment of SAEs over seeds: what was planted, between chance and ceiling."""

from dataclasses import asdict, replace
from itertools import count

import pytest
import torch
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.results.records import to_json
from bitlens.sae.alignment.align import AlignedMeasure, Alignment, align
from bitlens.sae.sae import Sae, TrainedOn
from tests.support.planted_dictionaries import noisy, order, sae_of, unit

WIDTH, LATENTS = 48, 240
COMMON = unit(LATENTS, WIDTH, seed=77)
MATCHED = "matched one to one, cosine 0.7 or more"


def trained(seed: int, share: float) -> Sae:
    """An SAE that has found this share of what there is to be found, and invented the rest."""
    found = int(share * LATENTS)
    latents = unit(LATENTS, WIDTH, seed=100 + seed)
    latents[:found] = noisy(COMMON[:found], 0.2, seed=200 + seed)
    mixed = order(LATENTS, seed=300 + seed)
    encoder = noisy(latents, 0.3, seed=400 + seed)
    return sae_of(latents[mixed], encoder[mixed], label=f"seed-{seed}")


def several(share: float, seeds: range) -> list[Sae]:
    return [trained(seed, share) for seed in seeds]


def measure(found: Alignment, name: str, side: str = "decoder") -> AlignedMeasure:
    return next(m for m in found.measures if (m.side, m.measure) == (side, name))


def headline(found: Alignment) -> list[float | None]:
    return [part.value for m in found.measures for part in (m.value, m.random, m.normalised)]


@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_the_planted_share_between_chance_and_ceiling(side: str) -> None:
    """Seeds share 80 %, the precisions 60 %: at cosine 0.7 that is 0.6 / 0.8 of the way, exactly,
    and by best matches about that."""
    found = align(several(0.8, range(3)), several(0.6, range(3, 6)), several(0.8, range(6, 9)))
    matched = measure(found, MATCHED, side)
    assert matched.value.value == pytest.approx(0.6, abs=0.01)
    assert matched.ceiling.value == pytest.approx(0.8, abs=0.01)
    assert matched.random.value == pytest.approx(0, abs=0.01)
    assert matched.normalised.value == pytest.approx(0.75, abs=0.02)
    best = measure(found, "best match of the first, mean", side)
    assert best.uniform == pytest.approx(best.random.value, abs=0.02)  # type: ignore[arg-type]
    assert best.normalised.value == pytest.approx(0.75, abs=0.05)
    assert best.normalised.low < best.normalised.value < best.normalised.high  # type: ignore[operator]
    assert all(m.value.pairs == 3 for m in found.measures)


def test_sides_are_told_apart() -> None:
    """Decoders are equal, encoders have nothing to do with each other."""
    decoder = unit(100, WIDTH)
    first = sae_of(decoder, unit(100, WIDTH, seed=5))
    second = sae_of(decoder, unit(100, WIDTH, seed=6))
    found = align([first], [second])
    assert measure(found, MATCHED).value.value == 1
    assert measure(found, MATCHED, "encoder").value.value == pytest.approx(0, abs=0.05)


def test_unrelated_dictionaries_are_at_chance() -> None:
    """Nothing shared: 0 of the way, whatever the measure."""
    found = align(several(0.8, range(4)), several(0, range(4, 8)), several(0.8, range(8, 12)))
    for name in ("best match of the first, mean", "best match of the second, median", MATCHED):
        assert measure(found, name).normalised.value == pytest.approx(0, abs=0.05), name


def test_dead_latents_change_no_number() -> None:
    """Ten random dead latents more in each: with masks everything is as without them."""
    first, second, again = trained(0, 0.8), trained(1, 0.6), trained(2, 0.8)
    seeds = count(500)

    def more(sae: Sae) -> tuple[Sae, Tensor]:
        decoder, encoder = (unit(10, WIDTH, seed=next(seeds)) for _ in range(2))
        larger = sae_of(
            torch.cat([sae.w_dec, decoder]), torch.cat([sae.w_enc.T, encoder]), label=sae.label
        )
        return larger, torch.arange(LATENTS + 10) < LATENTS

    larger = [more(sae) for sae in (first, second, again)]
    alive = dict(larger)
    a, b, c = alive
    bare, masked = align([first], [second], [again]), align([a], [b], [c], alive)
    assert headline(masked) == pytest.approx(headline(bare), rel=1e-4)
    about = masked.pairs[0].first
    assert (about.compared, about.latents, about.alive_given) == (LATENTS, LATENTS + 10, True)
    assert headline(align([a], [b], [c])) != pytest.approx(headline(bare), rel=1e-3)


def test_one_pair_has_a_reason_instead_of_an_interval() -> None:
    """Latents are many, seeds are one."""
    found = align([trained(0, 0.8)], [trained(1, 0.6)], [trained(2, 0.8)])
    for m in found.measures:
        for part in (m.value, m.random, m.ceiling, m.normalised):
            assert part.low is part.high is None
            assert part.reason
    assert "1 pair" in str(measure(found, MATCHED).normalised.reason)


def test_without_a_ceiling_there_is_no_normalised_number() -> None:
    """Value and chance have their intervals all the same."""
    found = measure(align(several(0.8, range(2)), several(0.6, range(2, 4))), MATCHED)
    assert found.value.low is not None
    assert found.random.value is not None
    for part in (found.ceiling, found.normalised):
        assert part.value is None
        assert "another seed was given" in str(part.reason)


def test_saes_of_one_seed_are_not_held_against_another_seed() -> None:
    """They began alike: they are compared, and the normalised number has a reason instead."""
    first, second, again = (several(0.8, range(n, n + 2)) for n in (0, 10, 20))

    def of(saes: list[Sae], seeds: tuple[int, int]) -> list[Sae]:
        return [
            replace(sae, trained_on=TrainedOn(seed=n)) for sae, n in zip(saes, seeds, strict=True)
        ]

    alike = align(of(first, (0, 1)), of(second, (5, 1)), of(again, (2, 3)))
    apart = align(of(first, (0, 1)), of(second, (5, 6)), of(again, (2, 3)))
    for one, other in zip(alike.measures, apart.measures, strict=True):
        assert (one.value, one.ceiling) == (other.value, other.ceiling)
        assert one.normalised.value is None
        assert one.normalised.reason
    assert "began with the same weights" in str(measure(alike, MATCHED).normalised.reason)
    assert measure(apart, MATCHED).normalised.value is not None


def test_shared_saes_leave_no_interval() -> None:
    """Ceilings taken from the first ones in turn: their pairs are not independent, those of the
    values are. Two readings of one file are one SAE."""
    first, second = several(0.8, range(3)), several(0.6, range(3, 6))
    turned = [*first[1:], first[0]]
    found = measure(align(first, second, turned), MATCHED)
    assert found.value.low is not None
    for part in (found.ceiling, found.normalised):
        assert part.value is not None
        assert "more than one of the pairs" in str(part.reason)
    activations = [sae_of(unit(9, WIDTH), fingerprint="f00") for _ in range(2)]
    assert measure(align(activations, second[:2]), MATCHED).value.low is None


def test_random_directions_come_from_the_seed() -> None:
    """Another seed draws others and changes nothing else."""
    first, second = [trained(0, 0.8)], [trained(1, 0.6)]
    one, same, other = (
        measure(align(first, second, seed=seed), "best match of the first, mean")
        for seed in (0, 0, 1)
    )
    assert one == same
    assert one.random != other.random
    assert one.value == other.value


def test_everything_can_be_written() -> None:
    """As strict JSON, with the distributions of both ways."""
    found = align([trained(0, 0.8)], [trained(1, 0.6)])
    assert to_json(asdict(found))
    comparison = found.pairs[0].found["encoder"]["random"]
    assert len(comparison.first) == len(comparison.second) == 21


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 0, 0), "0 first, 0 second"),
        ((2, 1, 0), "2 first, 1 second"),
        ((2, 2, 1), "1 ceiling"),
    ],
)
def test_numbers_that_do_not_go_together(numbers: tuple[int, int, int], message: str) -> None:
    """They are named."""
    sets = [[sae_of(unit(5, 4, seed=10 * n + k)) for k in range(m)] for n, m in enumerate(numbers)]
    with pytest.raises(BitlensError, match=message):
        align(*sets)


def test_widths_that_do_not_go_together() -> None:
    """Both are named."""
    with pytest.raises(BitlensError, match="wide reads 4 dimensions, planted 5"):
        align([sae_of(unit(6, 4), label="wide")], [sae_of(unit(6, 5))])


def test_an_sae_is_not_its_own_ceiling() -> None:
    """Nor is another reading of the same files."""
    sae = trained(0, 0.8)
    with pytest.raises(BitlensError, match="seed-0 is that SAE itself"):
        align([sae], [trained(1, 0.6)], [sae])
    one, same = (sae_of(unit(9, WIDTH), fingerprint="f00") for _ in range(2))
    with pytest.raises(BitlensError, match="that SAE itself"):
        align([one], [trained(1, 0.6)], [same])
