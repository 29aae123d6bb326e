"""Lens: numbers worked by hand, and the model's own norm and unembedding to agree with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import rankdata

from bitlens.analyses.lens import BEFORE, FEWEST, MOST, PATHS, SAMPLE, Lens
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.plan import CORPUS
from bitlens.results.records import Value
from tests.support import tiny
from tests.support.by_hand import NOTHING, found, number, state


def path(
    reference: list[list[list[float]]], twin: list[list[list[float]]], target: list[int]
) -> ActivationPair:
    """Logits `[positions, blocks, vocabulary]`, each position its own document."""
    place = torch.arange(len(target))
    at = Positions(
        document=place,
        shard=place,
        shards=len(target),
        offset=place,
        target=torch.tensor(target),
        key=place,
        token=place,
        length=place + 2,
    )
    both = (Activations(torch.tensor(values)) for values in (reference, twin))
    of_reference, of_twin = both
    return ActivationPair(
        site="resid",
        item="",
        reference=of_reference,
        twin=of_twin,
        positions=at,
        threshold=lambda size: size,
    )


def numbers(given: ActivationPair) -> dict[tuple[str, str, str], float]:
    outcomes = found(Lens().compute(state(Lens(), given), NOTHING, NOTHING))
    return {k: number(o) for k, o in outcomes.items() if o.values is not None}


def saying(*tokens: int) -> list[list[float]]:
    """Logits of blocks that put these tokens first, of six."""
    return [[3.0 * (v == token) - 0.1 * v for v in range(6)] for token in tokens]


def test_depths_by_hand() -> None:
    """Four blocks. At the first position the reference is right from the third on, half of the
    depth later than at once; the twin never: 1. At the second both are right at once. The two
    lenses part at the second block of the first position (1/4 of the depth), and never at the
    second (1): mean 5/8."""
    given = numbers(
        path(
            [saying(1, 2, 4, 4), saying(3, 3, 3, 3)],
            [saying(1, 5, 5, 2), saying(3, 3, 3, 3)],
            [4, 3],
        )
    )
    assert given["first_correct", "", "reference"] == pytest.approx((0.5 + 0) / 2)
    assert given["first_correct", "", "twin"] == pytest.approx((1 + 0) / 2)
    assert given["first_correct_shift", "", ""] == pytest.approx(0.25)
    assert given["divergence", "", ""] == pytest.approx((0.25 + 1) / 2)
    same = [given["lens_same_top", f"resid.{n}", ""] for n in range(4)]
    assert same == [1.0, 0.5, 0.5, 0.5]
    # The first block whose KL is above the mean of all: the second.
    assert given["divergence_seed", "", ""] == 1


def test_the_most_probable_five_by_hand() -> None:
    """Of 0 1 2 3 4 and 0 1 2 3 5, four are the same, in whatever order."""
    reference = [[[9.0, 8, 7, 6, 5, 0, 0]]]
    twin = [[[5.0, 6, 7, 8, 0, 9, 0]]]
    assert numbers(path(reference, twin, [0]))["lens_top5", "resid.0", ""] == pytest.approx(0.8)


def test_ranks_by_hand() -> None:
    """The reference finally says 2, which its first block has second and its second block third:
    geometric mean over two positions sqrt(2 * 4) where the other has it fourth. The twin's own
    final token is another."""
    reference = [
        [[5.0, 1, 4, 0], [5.0, 4, 3, 0], [0.0, 0, 9, 0]],
        [[5.0, 4, 2, 3], [0.0, 0, 5, 0], [0.0, 0, 9, 0]],
    ]
    twin = [[[0.0, 5, 0, 0]] * 3, [[0.0, 5, 6, 0], [0.0, 5, 0, 0], [0.0, 5, 0, 0]]]
    given = numbers(path([[[*row, -9, -9] for row in p] for p in reference],
                         [[[*row, -9, -9] for row in p] for p in twin], [0, 0]))  # fmt: skip
    ranks = [given["final_rank", f"resid.{n}", "reference"] for n in range(3)]
    assert ranks == pytest.approx([np.sqrt(2 * 4), np.sqrt(3 * 1), 1])
    ranks = [given["final_rank", f"resid.{n}", "twin"] for n in range(3)]
    assert ranks == pytest.approx([np.sqrt(1 * 2), 1, 1])


def test_how_many_positions_it_looks_at() -> None:
    """One in thirty-two, but so many at least and at most."""
    assert SAMPLE.of(10) == SAMPLE.of(32 * FEWEST) == FEWEST == 128
    assert SAMPLE.of(32 * 500 + 7) == 500
    assert SAMPLE.of(10**7) == MOST == 1024


LENGTHS = [[9], [7, 4], [5], [8]]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def measured(request, tmp_path_factory):
    """A twin through the real sweep, and the blocks' outputs of both models on every row."""
    layout = tiny.layout(request.param)
    corpus = tiny.corpus(LENGTHS, seed=4)
    plan = tiny.plan(corpus, [Lens()], batch_tokens=20)
    folder = tmp_path_factory.mktemp("lens")
    run = tiny.measurement(layout, {"twin": "rtn:bits=3"}, plan, folder, [Lens()])
    all_found = list(run.values())
    models = {"reference": layout.model, "twin": tiny.twin(layout, "rtn:bits=3").model()}
    return layout, corpus, plan, tiny.by_key(all_found), tiny.tables(all_found), models


def own_lens(layout, model, tokens: np.ndarray) -> np.ndarray:
    """`[blocks, positions, vocabulary]` by the model's own norm and unembedding, float64."""
    base = model.get_decoder() if hasattr(model, "get_decoder") else model.transformer
    norm = base.norm if hasattr(base, "norm") else base.ln_f
    blocks = model.get_submodule(layout.blocks_path)
    ids = torch.from_numpy(tokens).long()[None]
    with tiny.listening({str(n): b for n, b in enumerate(blocks)}) as heard, torch.no_grad():
        model(ids, use_cache=False)
        logits = [
            model.get_output_embeddings()(norm(heard[str(n)].tensor))[0]
            for n in range(layout.depth)
        ]
    return torch.stack(logits).double().numpy()


def test_agrees_with_the_models_own_norm_and_unembedding(measured) -> None:
    """Every number again from hooks on the whole models' own forwards."""
    layout, corpus, _, values, _, models = measured
    every: dict[str, list[np.ndarray]] = {}
    depth = layout.depth
    for row in corpus.rows:
        p, q = (own_lens(layout, model, row) for model in models.values())
        for n in range(1, len(row) - 1):
            lp, lq = log_softmax(p[:, n], axis=-1), log_softmax(q[:, n], axis=-1)
            top = lp.argmax(-1), lq.argmax(-1)
            target = row[n + 1]
            add = {
                "lens_kl": rel_entr(np.exp(lp), np.exp(lq)).sum(-1),
                "lens_same_top": top[0] == top[1],
                "lens_top5": [
                    len(set(np.argsort(a)[-5:]) & set(np.argsort(b)[-5:])) / 5
                    for a, b in zip(lp, lq, strict=True)
                ],
            }
            apart = np.flatnonzero(top[0] != top[1])
            add["divergence"] = apart[0] / depth if len(apart) else 1
            for who, lens, first in (("reference", lp, top[0]), ("twin", lq, top[1])):
                add[f"target {who}"] = softmax(lens, axis=-1)[:, target]
                ranks = rankdata(-lens, axis=-1, method="min")
                add[f"final_rank {who}"] = np.log(ranks[:, first[-1]])
                right = np.flatnonzero(first == target)
                add[f"first_correct {who}"] = right[0] / depth if len(right) else 1
            for name, value in add.items():
                every.setdefault(name, []).append(np.asarray(value, dtype=float))
    mean = {name: np.mean(numbers, axis=0) for name, numbers in every.items()}

    def value(metric: str, site: str = "resid", item: str = "") -> float:  # type: ignore[no-redef]
        found: Value = values["lens", "twin", item, site, metric]
        assert found.value is not None
        return found.value

    for n in range(depth):
        site = f"resid.{n}"
        for name in ("lens_kl", "lens_same_top", "lens_top5"):
            assert value(name, site) == pytest.approx(mean[name][n], rel=1e-4, abs=1e-7), name
        for who in ("reference", "twin"):
            assert value("target", site, who) == pytest.approx(mean[f"target {who}"][n], rel=1e-4)
            rank = np.exp(mean[f"final_rank {who}"][n])
            assert value("final_rank", site, who) == pytest.approx(rank, rel=1e-6)
        change = mean["target twin"][n] - mean["target reference"][n]
        assert value("target_change", site) == pytest.approx(change, rel=1e-3, abs=1e-7)
    assert value("divergence") == pytest.approx(mean["divergence"])
    for who in ("reference", "twin"):
        assert value("first_correct", item=who) == pytest.approx(mean[f"first_correct {who}"])
    above = mean["lens_kl"] > mean["lens_kl"].mean()
    assert value("divergence_seed") == np.flatnonzero(above)[0]


def test_the_last_block_is_what_the_model_says(measured, tmp_path: Path) -> None:
    """Its KL is that of behaviour on the same positions."""
    layout, _, plan, values, _, _ = measured
    analyses = [tiny.analysis("behaviour")]
    run = tiny.measurement(layout, {"twin": "rtn:bits=3"}, plan, tmp_path, analyses)
    kl = tiny.values(run)["behaviour", "twin", "", "logits", "kl"]
    last = values["lens", "twin", "", f"resid.{layout.depth - 1}", "lens_kl"]
    assert last.value == pytest.approx(kl.value, rel=1e-5)
    assert last.replicates == pytest.approx(kl.replicates, rel=1e-5)


def test_paths_of_a_few_positions(measured) -> None:
    """Half of those shown are where the twin ends farthest away; each has a row a block, its text
    and what both lenses put first."""
    layout, corpus, plan, _, tables, models = measured
    columns = tables["twin", "trajectories"].columns
    depth = layout.depth
    assert len(columns["place"]) == PATHS * depth
    assert columns["place"] == [n for n in range(PATHS) for _ in range(depth)]
    assert columns["block"] == list(range(depth)) * PATHS
    rows = {
        (int(d), int(start)): row
        for row, d, start in zip(corpus.rows, corpus.document, corpus.starts, strict=True)
    }
    final = {}
    for (document, start), row in rows.items():
        p, q = (own_lens(layout, model, row) for model in models.values())
        for n in range(1, len(row) - 1):
            lp, lq = log_softmax(p[:, n], axis=-1), log_softmax(q[:, n], axis=-1)
            kl = rel_entr(np.exp(lp), np.exp(lq)).sum(-1)
            final[f"document {document}", start + n] = (lp, lq, kl, row[n + 1])
    shown = []
    for place in range(PATHS):
        mine = [i for i, at in enumerate(columns["place"]) if at == place]
        key = columns["document"][mine[0]], columns["offset"][mine[0]]
        shown.append(key)
        lp, lq, kl, target = final[key]
        before = columns["before"][mine[0]]
        number = int(key[0].split()[1])
        assert before[-1] == f"{number}:{key[1]}"
        assert len(before) <= BEFORE
        for block, i in enumerate(mine):
            assert columns["target"][i] == f"<{target}>"
            assert columns["kl"][i] == pytest.approx(kl[block], rel=1e-3, abs=1e-6)
            assert columns["top_reference"][i] == f"<{lp[block].argmax()}>"
            assert columns["top_twin"][i] == f"<{lq[block].argmax()}>"
            assert columns["target_twin"][i] == pytest.approx(np.exp(lq[block][target]), rel=1e-3)
    assert len(set(shown)) == PATHS
    farthest = sorted(final, key=lambda key: -final[key][2][-1])[: PATHS // 2]
    assert shown[: PATHS // 2] == farthest
    assert plan.sets[CORPUS].threshold(SAMPLE.of(10), predicting=True) > 0


def test_one_blocks_bits_are_named_by_the_lens(tmp_path: Path) -> None:
    """Only the second of three blocks is compressed: the lens is intact at the first, and no
    longer at the second."""
    layout = tiny.layout("llama")
    plan = tiny.plan(tiny.corpus(LENGTHS, seed=4), [Lens()])
    twins = {"twin": f"rtn:bits=2,include=[{layout.block_name(1)}.*]"}
    values = tiny.values(tiny.measurement(layout, twins, plan, tmp_path, [Lens()]))
    kl = [values["lens", "twin", "", f"resid.{n}", "lens_kl"].value for n in range(3)]
    assert kl[0] == 0
    assert kl[1] > 0.01
    assert values["lens", "twin", "", "resid", "divergence_seed"].value >= 1


@pytest.mark.parametrize("text", ["rtn:bits=3,include=[lm_head]", "cast:dtype=bfloat16"])
def test_a_twin_is_read_by_its_own_norm_and_unembedding(text: str, tmp_path: Path) -> None:
    """At the last block the lens says what the model says, also where only the end is damaged."""
    layout, analyses = tiny.layout("llama"), [Lens(), tiny.analysis("behaviour")]
    plan = tiny.plan(tiny.corpus([[9], [7, 4], [5], [8]], seed=4), analyses, batch_tokens=20)
    values = tiny.values(tiny.measurement(layout, {"twin": text}, plan, tmp_path, analyses))
    kl = values["behaviour", "twin", "", "logits", "kl"]
    assert kl.value is not None
    assert kl.value > 0
    last = values["lens", "twin", "", "resid.2", "lens_kl"]
    assert last.value == pytest.approx(kl.value, rel=1e-3)
