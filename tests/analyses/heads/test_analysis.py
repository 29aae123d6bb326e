"""Heads: planted diagonals, numbers worked by hand, and scipy to agree with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from bitlens.analyses.heads.analysis import CHOOSING, KINDS, SCORING, Heads
from bitlens.engine.accumulators import ReplicateState
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import TokenizerFacts
from bitlens.results.records import DetailTable
from tests.support import tiny
from tests.support.by_hand import NOTHING, found, number, rows, state

PERIOD = 9
WITH_BOS = pytest.mark.parametrize("bos", [0, 1], ids=["no BOS", "BOS"])


def looking(kind: str, bos: int, period: int = PERIOD) -> Tensor:
    """`[queries, keys]`: the pattern of a head that does one thing where it can, and rests on the
    first position elsewhere."""
    length = 2 * period + bos
    pattern = torch.zeros(length, length)
    pattern[:, 0] = 1
    for query in range(length):
        key = {
            "induction": query - period + 1 if query >= bos + period else None,
            "previous": query - 1 if query > bos else None,
            "duplicate": query - period if query >= bos + period else None,
        }[kind]
        if key is not None:
            pattern[query] = 0
            pattern[query, key] = 1
    return pattern


def uniform(bos: int, period: int = PERIOD) -> Tensor:
    length = 2 * period + bos
    pattern = torch.ones(length, length).tril()
    return pattern / pattern.sum(dim=1, keepdim=True)


def pair(
    reference: list[Tensor], twin: list[Tensor] | None = None, sequences: int = 3
) -> ActivationPair:
    """Heads on so many sequences, each its own shard, the last of which heads are chosen on."""
    both = [
        torch.stack(heads).expand(sequences, -1, -1, -1) for heads in (reference, twin or reference)
    ]
    return rows(both[0].contiguous(), both[1].contiguous(), list(range(sequences)))


def scores(given: ActivationPair) -> dict[tuple[str, str, str], float]:
    outcomes = found(Heads().compute(state(Heads(), given), NOTHING, NOTHING))
    return {key: number(outcome) for key, outcome in outcomes.items()}


@WITH_BOS
def test_planted_heads_score_one_and_nought_beside(bos: int) -> None:
    """A head that does one thing at every place where it is asked scores exactly 1 for it, 0 at
    the keys beside, and 0 for the other two."""
    heads = [looking(kind, bos) for kind in KINDS]
    outcomes = found(Heads().compute(state(Heads(), pair(heads)), NOTHING, NOTHING))
    for h, does in enumerate(KINDS):
        for kind in KINDS:
            outcome = outcomes[kind, "", f"head {h}, reference"]
            # At rest on the first position, which is the target of no kind but by chance.
            target = number(outcome)
            if kind == does:
                assert target == pytest.approx(1, abs=1e-12)
                assert outcome.chance == 0
            else:
                assert target < 0.15, (does, kind)
            assert outcomes[f"{kind}_change", "", f"head {h}"].values[0] == 0


@WITH_BOS
def test_uniform_attention_by_hand(bos: int) -> None:
    """One in so many keys at every query: the mean of 1 / (place + 1) over the queries asked."""
    given = scores(pair([uniform(bos)]))
    places = {
        "induction": range(bos + PERIOD + 1, bos + 2 * PERIOD),
        "previous": range(bos + 1, bos + 2 * PERIOD),
        "duplicate": range(bos + PERIOD, bos + 2 * PERIOD),
    }
    for kind, asked in places.items():
        expected = np.mean([1 / (place + 1) for place in asked])
        assert given[kind, "", "head 0, reference"] == pytest.approx(expected, rel=1e-6)


@WITH_BOS
def test_keys_beside_the_target_by_hand(bos: int) -> None:
    """A head that looks two keys before the token before: its previous-token score is nought, and
    a sixth of the keys beside gets all of its attention, where there are so many."""
    length = 2 * PERIOD + bos
    pattern = torch.zeros(length, length)
    for query in range(length):
        pattern[query, max(query - 3, 0)] = 1
    outcome = found(Heads().compute(state(Heads(), pair([pattern])), NOTHING, NOTHING))
    previous = outcome["previous", "", "head 0, reference"]
    assert number(previous) == pytest.approx(
        # At the first queries it looks at the first position, which is then the one before.
        (bos == 0) / (2 * PERIOD - 1),
        abs=1e-9,
    )
    seen = looked = 0
    for query in range(bos + 1, length):
        for offset in (-4, -3, -2, 2, 3, 4):
            key = query - 1 + offset
            if bos <= key <= query:
                seen += 1
                looked += key == max(query - 3, 0)
    assert previous.chance == pytest.approx(looked / seen)


def test_sequences_of_other_lengths_count_the_same() -> None:
    """A long sequence on which a head does nothing and a short one on which it does everything
    give one half, though the long one has twice the queries."""
    short, long = looking("induction", 1), torch.zeros(37, 37)
    long[:, 0] = 1
    padded = torch.zeros(37, 37)
    padded[: 2 * PERIOD + 1, : 2 * PERIOD + 1] = short
    patterns = torch.stack([padded, long, long])[:, None]
    given = rows(patterns, patterns, [0, 1, 2], lengths=[2 * PERIOD + 1, 37, 37])
    assert scores(given)["induction", "", "head 0, reference"] == pytest.approx(0.5)


def test_heads_are_not_scored_on_what_they_are_chosen_on() -> None:
    """Whatever the patterns are on the sequences of the last shard, no score changes; and the
    choosing score is of those alone."""
    does, nothing = looking("induction", 1), uniform(1)
    patterns = torch.stack([does, does, nothing])[:, None]
    other = torch.stack([does, does, does])[:, None]
    one, two = (rows(p, p, [0, 1, 2]) for p in (patterns, other))
    assert scores(one) == scores(two)
    assert scores(one)["induction", "", "head 0, reference"] == 1.0
    table = concluded({"pattern.0": state(Heads(), one)})[1].columns
    chosen_on = dict(zip(table["kind"], table["choosing"], strict=True))
    assert chosen_on["induction"] < 0.1
    table = concluded({"pattern.0": state(Heads(), two)})[1].columns
    assert dict(zip(table["kind"], table["choosing"], strict=True))["induction"] == 1.0


def concluded(
    sites: dict[str, ReplicateState],
) -> tuple[dict[tuple[str, str, str], object], DetailTable]:
    outcomes = Heads().compute_overall(sites, tiny.Words())
    (shown,) = (o for o in outcomes if isinstance(o, DetailTable))
    return found(outcomes), shown


def blend(share: float) -> Tensor:
    """An induction head that looks so much where it should, the rest at the first position."""
    pattern = looking("induction", 1)
    resting = torch.zeros_like(pattern)
    resting[:, 0] = 1
    return share * pattern + (1 - share) * resting


WAS = [0.95, 0.85, 0.75, 0.55, 0.45, 0.25, 0.05]
IS = [0.92, 0.35, 0.75, 0.60, 0.15, 0.41, 0.00]


@pytest.fixture(scope="module")
def seven() -> tuple[dict[tuple[str, str, str], object], DetailTable]:
    """Seven heads in two blocks that keep their induction score or lose it."""
    halves = {"pattern.0": slice(0, 3), "pattern.1": slice(3, 7)}
    return concluded(
        {
            site: state(Heads(), pair([blend(x) for x in WAS[h]], [blend(x) for x in IS[h]]))
            for site, h in halves.items()
        }
    )


def test_kept_heads_by_hand(seven) -> None:
    """Of the heads that were above a threshold, those that are still: at 0.1, 6 were and 6 are;
    at 0.4, 5 were (0.95 to 0.45) and 3 of them are (0.92, 0.75, 0.60); at 0.8, 2 were and 1 is.
    The 0.41 that was 0.25 is new, and counts for nothing."""
    outcomes, _ = seven
    kept = {t: number(outcomes[f"induction_kept_{t}", "pattern", ""]) for t in range(10, 100, 10)}
    assert kept == pytest.approx(
        {10: 1, 20: 5 / 6, 30: 4 / 5, 40: 3 / 5, 50: 3 / 4, 60: 2 / 3, 70: 2 / 3, 80: 1 / 2, 90: 1}
    )
    assert number(outcomes["induction_kept_readme", "pattern", ""]) == pytest.approx(3 / 5)
    # Mean 0.55 and standard deviation 0.30: none is above 1.15.
    code = outcomes["induction_kept_code", "pattern", ""]
    assert code.values is None
    assert "1.2" in code.reason


def test_the_earlier_tools_code_by_hand() -> None:
    """Nine heads at 0 and one at 1: mean 0.1, deviation 0.3, so 0.7 makes a head and 0.35 keeps
    it. A twin's 0.4 keeps it, 0.3 does not."""
    for now, kept in ((0.4, 1.0), (0.3, 0.0)):
        quiet = [blend(0.0)] * 9
        given = pair([*quiet, blend(1.0)], [*quiet, blend(now)])
        outcomes, _ = concluded({"pattern.0": state(Heads(), given)})
        assert number(outcomes["induction_kept_code", "pattern", ""]) == kept


def test_how_the_counted_heads_changed_by_hand(seven) -> None:
    """Those above 0.4: 0.95 to 0.92, 0.85 to 0.35, 0.75 as it was, 0.55 to 0.60, 0.45 to 0.15. The
    0.25 that became 0.41 does not count. Without heads above 0.4 there is a reason."""
    outcomes, _ = seven
    mean = number(outcomes["induction_mean_change", "pattern", ""])
    assert mean == pytest.approx((-0.03 - 0.5 + 0 + 0.05 - 0.3) / 5, abs=1e-6)
    kept = outcomes["induction_score_kept", "pattern", ""]
    before = (0.95 + 0.85 + 0.75 + 0.55 + 0.45) / 5
    after = (0.92 + 0.35 + 0.75 + 0.60 + 0.15) / 5
    assert number(kept) == pytest.approx(after / before, abs=1e-6)
    assert kept.chance == pytest.approx(0.0, abs=1e-6)  # type: ignore[attr-defined]
    weak, _ = concluded({"pattern.0": state(Heads(), pair([blend(0.3)] * 2, [blend(0.2)] * 2))})
    outcome = weak["induction_mean_change", "pattern", ""]
    assert outcome.values is None  # type: ignore[attr-defined]
    assert "above 0.4" in outcome.reason  # type: ignore[attr-defined]


def test_the_order_of_heads_is_scipys_rank_correlation(seven) -> None:
    """Spearman over all heads of both blocks; ties (many heads of a real model) included."""
    outcomes, _ = seven
    assert number(outcomes["induction_rank", "pattern", ""]) == pytest.approx(
        spearmanr(WAS, IS).statistic
    )
    was, now = [0.0, 0.0, 0.3, 0.3, 0.9], [0.1, 0.0, 0.3, 0.2, 0.2]
    given = pair([blend(x) for x in was], [blend(x) for x in now])
    outcomes, _ = concluded({"pattern.0": state(Heads(), given)})
    expected = spearmanr(was, now).statistic
    assert number(outcomes["induction_rank", "pattern", ""]) == pytest.approx(expected)
    same, _ = concluded({"pattern.0": state(Heads(), pair([blend(0.5)] * 3, [blend(0.2)] * 3))})
    assert same["induction_rank", "pattern", ""].values is None  # type: ignore[attr-defined]


def test_a_head_that_is_chosen_by_luck_does_not_count() -> None:
    """Above the threshold on the sequences it is chosen on but not on others, or the other way
    round: no head of the reference."""
    does, not_ = blend(0.9), blend(0.0)
    lucky = torch.stack([not_, not_, does])[:, None]
    unlucky = torch.stack([does, does, not_])[:, None]
    for patterns in (lucky, unlucky):
        given = rows(patterns, patterns, [0, 1, 2])
        outcomes, _ = concluded({"pattern.0": state(Heads(), given)})
        outcome = outcomes["induction_kept_50", "pattern", ""]
        assert outcome.values is None  # type: ignore[attr-defined]
        assert "no head" in outcome.reason  # type: ignore[attr-defined]


def test_the_table_has_every_head_once_a_kind(seven) -> None:
    """Blocks and heads count from nought, scores are those of the metrics, and the bounds hold
    the twin's."""
    _, shown = seven
    columns = shown.columns
    assert shown.name == "heads"
    assert list(columns["kind"]) == [kind for kind in KINDS for _ in range(7)]
    assert columns["block"].tolist() == 3 * [0, 0, 0, 1, 1, 1, 1]
    assert columns["head"].tolist() == 3 * [0, 1, 2, 0, 1, 2, 3]
    induction = columns["kind"] == "induction"
    assert columns["reference"][induction] == pytest.approx(WAS, abs=1e-6)
    assert columns["choosing"][induction] == pytest.approx(WAS, abs=1e-6)
    assert columns["twin"][induction] == pytest.approx(IS, abs=1e-6)
    assert (columns["twin_low"] <= columns["twin"] + 1e-9).all()
    assert (columns["twin_high"] >= columns["twin"] - 1e-9).all()
    assert len({len(values) for values in columns.values()}) == 1


@WITH_BOS
def test_copying_by_hand(bos: int) -> None:
    """Uniform over 16 tokens on the first copy, sure of the right one with 1/2 on the second: a
    gain of ln 16 - ln 2 = ln 8. The twin is sure with 1/4: ln 4, two thirds of it. The first
    tokens of both copies, which nothing can tell, do not count, nor do the chosen sequences."""
    length = 2 * PERIOD + bos
    place = torch.arange(length - 1).repeat(3)
    shard = torch.arange(3).repeat_interleave(length - 1)
    target = torch.arange(3 * (length - 1)) % 16
    second = place >= bos + PERIOD

    def logits(sure: float) -> Tensor:
        right = torch.where(second, sure, 1 / 16)
        # Where a first token of a copy is to be told, or heads are chosen: something wild.
        wild = (place + 1 == bos) | (place + 1 == bos + PERIOD) | (shard == 2)
        right = torch.where(wild, 0.99, right)[:, None]
        rest = ((1 - right) / 15).expand(-1, 16).clone()
        return rest.scatter(1, target[:, None], right).log()

    counted = place > 0
    at = Positions(
        document=shard[counted], shard=shard[counted], shards=3,
        offset=place[counted], target=target[counted],
        key=torch.arange(int(counted.sum())), token=target[counted],
        length=torch.full((int(counted.sum()),), length),
    )  # fmt: skip
    both = (Activations(logits(sure)[counted]) for sure in (0.5, 0.25))
    of_reference, of_twin = both
    given = ActivationPair(
        site="logits",
        item="",
        reference=of_reference,
        twin=of_twin,
        positions=at,
        threshold=lambda size: size,
    )
    outcomes = found(Heads().compute(state(Heads(), given), NOTHING, NOTHING))
    assert number(outcomes["copying", "", "reference"]) == pytest.approx(np.log(8), rel=1e-6)
    assert number(outcomes["copying", "", "twin"]) == pytest.approx(np.log(4), rel=1e-6)
    kept = outcomes["copying_kept", "", ""]
    assert number(kept) == pytest.approx(2 / 3, rel=1e-6)
    assert kept.chance == 0
    # A loss of ln 2 on the second copy, of ln 4 in the twin; without the first, ln 16.
    assert number(outcomes["second_copy", "", "reference"]) == pytest.approx(np.log(2), rel=1e-6)
    assert number(outcomes["second_copy", "", "twin"]) == pytest.approx(np.log(4), rel=1e-6)
    ratio = outcomes["second_copy_ratio", "", ""]
    assert (number(ratio), ratio.chance) == pytest.approx((2, 4), rel=1e-6)
    turned = replace(given, reference=given.twin, twin=given.reference)
    assert number(
        found(Heads().compute(state(Heads(), turned), NOTHING, NOTHING))["copying_kept", "", ""]
    ) == pytest.approx(3 / 2, rel=1e-6)


@pytest.mark.parametrize(("raised", "share"), [(0.0, 0.0), (0.2, 0.067), (0.4, 0.133)])
def test_no_gain_is_nothing_to_keep(raised: float, share: float) -> None:
    """A reference that says the second copy hardly better has nothing of which a share is left: by
    hand, a loss of ln 16 on the first copy, of ln(15 + e^raised) - raised on the second."""
    place = torch.arange(1, 18)
    zero = torch.zeros_like(place)
    at = Positions(
        document=zero,
        shard=zero,
        shards=2,
        offset=place,
        target=zero,
        key=place,
        token=zero,
        length=torch.full_like(place, 18),
    )
    logits = torch.zeros(17, 16)
    logits[place >= 9, 0] = raised
    flat = Activations(logits)
    gain = np.log(16) - (np.log(15 + np.exp(raised)) - raised)
    assert gain / np.log(16) == pytest.approx(share, abs=1e-3)
    given = ActivationPair(
        site="logits", item="", reference=flat, twin=flat, positions=at, threshold=lambda size: size
    )
    outcomes = found(Heads().compute(state(Heads(), given), NOTHING, NOTHING))
    outcome = outcomes["copying_kept", "", ""]
    if share > 0.1:
        assert number(outcome) == 1
    else:
        assert outcome.values is None
        assert "hardly copies" in outcome.reason


def test_its_documents_are_repeated_tokens() -> None:
    """So many to choose heads on, which every replicate keeps, and so many to score them on."""
    reader = TokenizerFacts(np.arange(2, 90), 1, 64, 0)
    corpus, fixed = Heads().documents(reader)
    assert fixed == CHOOSING
    assert corpus.n_documents == CHOOSING + SCORING
    assert {len(row) for row in corpus.rows} == {51, 63}
    assert all(row[0] == 1 for row in corpus.rows)
