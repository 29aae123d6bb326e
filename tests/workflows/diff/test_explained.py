"""How much of a difference is explained: by hand, by numpy, of white noise, of a planted one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.training.trainer import InMemory, Job, train
from bitlens.workflows.diff.dictionaries import DictionarySize
from bitlens.workflows.diff.explained import Moments, drawn_like, errors
from bitlens.workflows.diff.features import latent_sums, nearest, strongest

WIDTH, K = 16, 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def silent(width: int) -> Sae:
    """A dictionary that never fires and decodes to nought."""
    nothing = torch.zeros(width, 4)
    return Sae(
        label="none", hook="resid.0", architecture="topk", k=1, w_enc=nothing,
        b_enc=torch.full((4,), -1.0), w_dec=nothing.T.contiguous(), b_dec=torch.zeros(width),
    )  # fmt: skip


def shares(x: Tensor, difference: Tensor, other: Tensor, moved: Tensor, k: int = K) -> dict:
    """What is explained of `moved` at `other` by what `difference` at `x` taught."""
    found = errors(Moments.of(x, difference), other, moved, silent(x.shape[1]), k)
    return {name: float(1 - of.sum() / found["whole"].sum()) for name, of in found.items()}


def test_a_shift_by_hand() -> None:
    """Of (1, 0) and (3, 0) the mean (2, 0) leaves 1 + 1 of 1 + 9: 80 % are explained."""
    difference = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    found = shares(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), difference, difference, difference, 1)
    assert found["mean"] == pytest.approx(0.8)
    assert found["directions"] == pytest.approx(1.0)
    # The activations are all alike: nothing follows from them.
    assert found["linear"] == pytest.approx(0.8)


def test_white_noise_gives_what_chance_does() -> None:
    """k of d directions hold k / d; a shift and a linear map of unrelated numbers nothing."""
    x, other = normal(8000, WIDTH, seed=1), normal(4000, WIDTH, seed=2)
    found = shares(x, normal(8000, WIDTH, seed=3), other, normal(4000, WIDTH, seed=4))
    assert found["directions"] == pytest.approx(K / WIDTH, abs=0.015)
    for way in ("mean", "linear", "linear_k"):
        assert found[way] == pytest.approx(0, abs=0.005)
    assert found["dictionary"] == 0


def test_maps_and_directions_are_those_of_numpy() -> None:
    """Least squares, its best rank k, and principal components, from the rows themselves."""
    x = normal(3000, WIDTH, seed=5) @ normal(WIDTH, WIDTH, seed=6) + 3
    difference = x @ normal(WIDTH, WIDTH, seed=7) / 9 + normal(3000, WIDTH, seed=8) - 1
    found = shares(x, difference, x, difference)
    a, b = x.double().numpy(), difference.double().numpy()
    centred, mean = a - a.mean(0), b.mean(0)
    fitted = centred @ np.linalg.lstsq(centred, b - mean, rcond=None)[0]
    whole = np.square(b).sum()
    left = np.square(b - mean - fitted).sum()
    assert found["linear"] == pytest.approx(1 - left / whole, abs=1e-4)
    _, _, axes = np.linalg.svd(fitted, full_matrices=False)
    few = fitted @ axes[:K].T @ axes[:K]
    left = np.square(b - mean - few).sum()
    assert found["linear_k"] == pytest.approx(1 - left / whole, abs=1e-4)
    _, spread, _ = np.linalg.svd(b - mean, full_matrices=False)
    left = np.square(spread[K:]).sum()
    assert found["directions"] == pytest.approx(1 - left / whole, abs=1e-6)


def test_few_rows_do_not_teach_a_map_by_heart() -> None:
    """With fewer rows than dimensions, of unrelated numbers, hardly anything is made up."""
    x, other = normal(12, WIDTH, seed=1), normal(500, WIDTH, seed=2)
    found = shares(x, normal(12, WIDTH, seed=3), other, normal(500, WIDTH, seed=4))
    assert found["linear"] > -0.3


def test_random_differences_keep_lengths_and_nearly_second_moments() -> None:
    """Each as long as the one in its place, also where few are long; the same few directions hold
    as much of them; and the texts have no part in it."""
    spread = torch.linspace(2, 0.2, 64)
    lengths = normal(4000, 1, seed=3).square() + 0.1
    mixed = normal(4000, 64, seed=1) * spread * lengths + 0.2 * lengths
    moments = Moments.of(mixed, mixed)
    drawn = drawn_like(mixed, moments, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.norm(dim=1), mixed.norm(dim=1), rtol=1e-4)
    held = [
        float(m.dd.diagonal()[:8].sum() / m.dd.trace()) for m in (moments, Moments.of(mixed, drawn))
    ]
    assert held[0] == pytest.approx(held[1], abs=0.04)
    along = (drawn * mixed).sum() / mixed.square().sum()
    assert float(along) == pytest.approx(
        0.2**2 * 64 / float(spread.square().sum() + 64 * 0.04), abs=0.05
    )


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, np.ndarray, Sae]:
    """Differences along one direction wherever the token is 7, and their dictionary."""
    direction = torch.nn.functional.normalize(normal(1, WIDTH, seed=9), dim=1)
    token = torch.randint(0, 64, (4096,), generator=torch.Generator().manual_seed(1))
    rows = (token == 7).float()[:, None] * 5 * direction
    rows = rows + 0.01 * normal(4096, WIDTH, seed=2)
    config = DictionarySize(width="2x", k=1, epochs=30).config(WIDTH, len(rows), 0)
    job = Job(config=config, label="d", hook="resid.0", trained_on=TrainedOn(), model="d")
    (made,) = train(InMemory({"d": rows}), {"d": rows[:64]}, [job], quiet=True)
    return rows, token.numpy(), made.sae


def test_a_planted_difference_is_one_latent(planted: tuple[Tensor, np.ndarray, Sae]) -> None:
    """It explains nearly all of it, fires at that token alone, and points along the direction."""
    rows, token, sae = planted
    document = np.arange(len(rows)) // 64
    sums = latent_sums(sae, rows, document % 4, 4)
    shares = sums.lost.sum(0) / float(rows.double().square().sum())
    best = int(shares.argmax())
    assert shares[best] > 0.95
    assert np.delete(shares, best).max() < 0.02
    ((at, codes),) = strongest(sae, rows, document, np.array([best]), 5)
    assert (token[at] == 7).all()
    assert len(set(document[at])) == len(at) == 5
    assert (np.diff(codes) <= 0).all()
    cosine = nearest(sae.w_dec[[best]], sae, 0)
    assert (int(cosine[0][0]), float(cosine[1][0])) == (best, pytest.approx(1.0, abs=1e-5))
    moments = Moments.of(rows, rows)
    found = errors(moments, rows, rows, sae, 1)
    assert float(1 - found["dictionary"].sum() / found["whole"].sum()) > 0.97


def test_what_a_latent_explains_is_what_is_lost_without_it(
    planted: tuple[Tensor, np.ndarray, Sae],
) -> None:
    """By decoding again with that latent's codes at nought."""
    rows, _, sae = planted
    rows = rows[:300]
    sums = latent_sums(sae, rows, np.zeros(300, dtype=np.int64), 1)
    codes = sae.encode(rows)
    before = (rows - codes @ sae.w_dec - sae.b_dec).double().square().sum()
    for latent in np.flatnonzero(sums.firings)[:4]:
        without = codes.clone()
        without[:, latent] = 0
        after = (rows - without @ sae.w_dec - sae.b_dec).double().square().sum()
        assert sums.lost[0, latent] == pytest.approx(float(after - before), rel=1e-4, abs=1e-4)
