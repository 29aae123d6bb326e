"""What surely stands out is named; what its kind, its noise or luck explains is not."""

from typing import Any

import pytest

from bitlens.results.insights.lesions import blocks, features, heads

HEADS = 8


def row(metric: str, site: str, item: str, value: float, half: float | None = 0.01) -> dict:
    """An estimate, with an interval of so much to either side."""
    ends = (None, None) if half is None else (value * (1 - half), value * (1 + half))
    low, high = ends
    return {"metric": metric, "site": site, "item": item, "value": value, "low": low, "high": high}


def written(lost: dict[int, float], usual: float = 0.05, half: float | None = 0.01) -> list[dict]:
    """The errors of block 2's heads, each with an equal part of the energy."""
    errors = [
        row("head_error", "heads.2", f"head {h}, local", lost.get(h, usual), half)
        for h in range(HEADS)
    ]
    shares = [row("head_share", "heads.2", f"head {h}, local", 1 / HEADS) for h in range(HEADS)]
    behind = [row("head_error", "heads.3", f"head {h}, cumulative", 0.9) for h in range(HEADS)]
    return [*errors, *shares, *behind]


def test_a_head_is_named_beside_the_middle_of_its_block() -> None:
    """Head 5 loses all; the middle of the upper ends of the seven others is 0.0505."""
    (one,) = heads(written({5: 1.0}), [])
    assert (one.kind, one.block, one.number) == ("head", 2, 5)
    assert one.others == pytest.approx(0.0505)
    assert one.pattern is None


def test_two_lost_heads_are_both_named_the_worst_first() -> None:
    """One does not hide the other: the middle is held against, not the largest."""
    assert [one.number for one in heads(written({5: 0.8, 1: 1.0}), [])] == [1, 5]


@pytest.mark.parametrize(
    ("lost", "usual", "half"),
    [
        (0.29, 0.01, 0.01),
        (0.6, 0.21, 0.01),
        (0.35, 0.01, 0.2),
        (1.0, 0.05, None),
        (0.9, 0.9, 0.01),
    ],
    ids=["small", "like its kind", "unsure", "without an interval", "as all others"],
)
def test_what_does_not_surely_stand_out_is_not_named(
    lost: float, usual: float, half: float | None
) -> None:
    """Below 30 %, below three times the middle, or with an interval that reaches below."""
    assert heads(written({5: lost}, usual, half), []) == []


def test_what_noise_does_as_well_is_not_named() -> None:
    """Noise that damages the same head as much; and noise that does less is told."""
    rows = written({5: 0.5})
    assert heads(rows, written({5: 0.5})) == []
    (one,) = heads(rows, written({}, usual=0.3))
    assert one.noise is not None
    assert one.noise["value"] == 0.3


def test_a_head_that_hardly_writes_anything_is_not_named() -> None:
    """Less than a tenth of an equal part of its block's energy."""
    rows = [r for r in written({5: 1.0}) if not (r["metric"] == "head_share" and "5" in r["item"])]
    assert heads([*rows, row("head_share", "heads.2", "head 5, local", 0.012)], []) == []
    assert heads([*rows, row("head_share", "heads.2", "head 5, local", 0.013)], [])


def test_a_pattern_that_moved_is_told() -> None:
    """Only where it moved far more than those of the other heads of the block."""
    moved = [row("jsd", "pattern.2", f"head {h}", 0.5 if h == 5 else 0.01) for h in range(HEADS)]
    (one,) = heads([*written({5: 1.0}), *moved], [])
    assert one.pattern is not None
    alike = [row("jsd", "pattern.2", f"head {h}", 0.4) for h in range(HEADS)]
    (one,) = heads([*written({5: 1.0}), *alike], [])
    assert one.pattern is None


def parts(mlp: dict[int, float], usual: float = 0.02) -> list[dict]:
    """Local errors of four blocks."""
    return [
        row("relative_error", f"{kind}.{b}", "local", mlp.get(b, usual) if kind == "mlp" else usual)
        for kind in ("attn", "mlp", "resid")
        for b in range(4)
    ]


def matrices(lost: dict[int, float], usual: float = 0.02) -> list[dict]:
    """What became of the weights of four blocks."""
    return [
        {
            "module": f"model.layers.{b}.{m}",
            "kind": "block",
            "relative_error": lost.get(b, usual),
        }
        for b in range(4)
        for m in ("self_attn.q_proj", "mlp.up_proj")
    ]


def test_a_block_is_named_whose_weights_lost_more() -> None:
    """Its MLP is wrong by 60 %, its weights by 50 %, those of the others by 2 %."""
    (one,) = blocks(parts({2: 0.6}), matrices({2: 0.5}))
    assert (one.kind, one.block, one.part) == ("block", 2, "mlp")
    assert one.others == pytest.approx(0.0202)


def test_a_block_that_is_only_more_sensitive_is_not_named() -> None:
    """Its weights lost no more than those of the others, as noise of the same size would show."""
    assert blocks(parts({2: 0.6}), matrices({})) == []
    assert blocks(parts({}), matrices({2: 0.5})) == []
    assert blocks(parts({2: 0.19}, usual=0.001), matrices({2: 0.5})) == []


def table(r: dict[int, tuple[float, float]], usual: float = 0.99, count: int = 200) -> list[dict]:
    """A table of features with an r and half of its interval."""
    rows: list[dict[str, Any]] = []
    for latent in range(count):
        value, half = r.get(latent, (usual, 0.005))
        ends = {"r": value, "r_low": value - half, "r_high": value + half}
        rows.append({"latent": latent, "site": "resid.1", "state": "", "gain": 1.0, **ends})
    return rows


def test_a_feature_is_named_below_all_but_a_few() -> None:
    """Of 200 features two may be as bad: feature 7 has r 0.4, the third worst 0.99."""
    (one,) = features(table({7: (0.4, 0.1)}), list)
    assert (one.kind, one.block, one.number) == ("feature", 1, 7)
    assert one.others == pytest.approx(0.01)
    assert [one.number for one in features(table({7: (0.4, 0.1), 9: (0.3, 0.1)}), list)] == [9, 7]


@pytest.mark.parametrize(
    "found",
    [
        table({7: (0.85, 0.06)}),
        table({7: (0.4, 0.1)}, usual=0.7),
        table(dict.fromkeys(range(5), (0.4, 0.1))),
        table(dict.fromkeys(range(6), (0.1, 0.05)), count=1000),
        table({7: (0.7, 0.14)}),
        table({7: (0.4, 0.1)}, count=50),
    ],
    ids=["unsure", "like the others", "one of many", "a tail", "luck", "of few"],
)
def test_what_does_not_surely_stand_out_is_no_lost_feature(found: list[dict]) -> None:
    """An interval that reaches 0.9, others that are a third as bad, a tail of six, too few to tell;
    and luck: r 0.7 up to 0.84 is 0.867 up to 1.221 on Fisher's scale. For the worst of 200 to be
    sure the interval is 1.87 times as long, up to 1.528, which is an r of 0.910."""
    assert features(found, list) == []


def test_a_feature_that_noise_loses_too_is_not_named() -> None:
    """By the interval of its r under noise; noise is read only where something stands out."""
    lost = table({7: (0.6, 0.1)})
    assert features(lost, lambda: table({7: (0.7, 0.1)})) == []
    (one,) = features(lost, lambda: table({7: (0.95, 0.01)}))
    assert one.noise is not None

    def unread() -> list[dict]:
        raise AssertionError

    assert features(table({}), unread) == []
