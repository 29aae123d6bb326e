"""Structure and damage of known places, through the whole sweep: the audit names the place."""

from pathlib import Path

import numpy as np
import pytest

from bitlens.analyses.attention import Attention
from bitlens.analyses.features.analysis import Features
from bitlens.analyses.features.survival import PLACES
from bitlens.analyses.heads.analysis import Heads
from bitlens.engine.measurement import Measured  # type: ignore[attr-defined]
from bitlens.engine.places import BITS
from bitlens.models.layout import Layout
from bitlens.results.records import Value
from tests.support import planted_models as planted
from tests.support import tiny

LESIONS = {
    "nothing": "nothing",
    "induction": planted.blind(*planted.INDUCTION),
    "previous": planted.blind(*planted.PREVIOUS),
    "idle": planted.blind(0, 3),
}
Values = dict[tiny.ValueKey, Value]


def audited(folder: Path, bos: int | None) -> list[Measured]:
    draw = np.random.default_rng(0)
    corpus = tiny.corpus([[draw.integers(2, planted.SIZE, 14)] for _ in range(8)])
    analyses = [Heads(), Attention()]
    own = tiny.own_documents(analyses, context=planted.SIZE, bos=bos, vocabulary=planted.SIZE)
    plan = tiny.plan(corpus, analyses, own=own)
    measured = tiny.measurement(planted.copier(), LESIONS, plan, folder, analyses)
    return list(measured.values())


@pytest.fixture(scope="module", params=[None, 0], ids=["no BOS", "BOS"])
def found(request, tmp_path_factory) -> list[Measured]:
    return audited(tmp_path_factory.mktemp("planted"), request.param)


@pytest.fixture(scope="module")
def values(found: list[Measured]) -> Values:
    return tiny.by_key(found)


def by_head(values: Values, analysis: str, twin: str, metric: str, who: str = "") -> np.ndarray:
    """`[blocks, heads]`."""
    tail = f", {who}" if who else ""
    return np.array(
        [
            [
                values[analysis, twin, f"head {h}{tail}", f"pattern.{n}", metric].value
                for h in range(planted.HEADS)
            ]
            for n in range(2)
        ]
    )


def test_planted_heads_score_one_and_no_other_does(values: Values) -> None:
    """The head that looks at the token before, and the one that looks behind the last occurrence;
    nobody looks at the last occurrence itself. Beside their targets they do not look."""
    for kind, place in {"previous": planted.PREVIOUS, "induction": planted.INDUCTION}.items():
        scores = by_head(values, "heads", "nothing", kind, "reference")
        assert scores[place] > 0.999
        scores[place] = 0
        assert scores.max() < 0.15
        key = ("heads", "nothing", f"head {place[1]}, reference", f"pattern.{place[0]}", kind)
        assert values[key].chance < 1e-4
    assert by_head(values, "heads", "nothing", "duplicate", "reference").max() < 0.15


def test_what_is_copied_is_told(values: Values) -> None:
    """The planted circuit says the second copy, and nobody could say the first."""
    copying = values["heads", "nothing", "reference", "logits", "copying"].value
    assert copying > 5
    assert values["heads", "nothing", "", "logits", "copying_kept"].value == 1


@pytest.mark.parametrize("lesion", ["induction", "previous"])
def test_a_blind_head_is_named(values: Values, lesion: str) -> None:
    """Of all heads it lost most of what it did, and it is the first whose attention moved: before
    it nothing has, beside it nothing."""
    place = planted.INDUCTION if lesion == "induction" else planted.PREVIOUS
    change = by_head(values, "heads", lesion, f"{lesion}_change")
    assert np.unravel_index(change.argmin(), change.shape) == place
    assert change[place] < -0.85
    change[place] = 0
    assert np.abs(change).max() < 0.15
    jsd = by_head(values, "attention", lesion, "jsd")
    block, head = place
    assert (jsd[:block] == 0).all()
    assert jsd[block].argmax() == head
    assert (np.delete(jsd[block], head) == 0).all()
    assert jsd[place] > 0.05
    if lesion == "induction":
        assert np.unravel_index(jsd.argmax(), jsd.shape) == place


def test_damage_travels_along_the_circuit(values: Values) -> None:
    """Without the head that writes down what stands before, the induction head finds nothing; the
    other way round the first block does not notice."""
    assert by_head(values, "heads", "previous", "induction_change")[planted.INDUCTION] < -0.85
    assert (by_head(values, "heads", "induction", "previous_change")[0] == 0).all()
    for lesion in ("induction", "previous"):
        assert values["heads", lesion, "", "logits", "copying_kept"].value < 0.5
    assert values["heads", "idle", "", "logits", "copying_kept"].value == 1


def test_how_many_heads_stay(values: Values) -> None:
    """Of one induction head none stays, or the one; there never was a duplicate head."""

    def kept(twin: str, kind: str) -> Value:
        return values["heads", twin, "", "pattern", f"{kind}_kept_50"]

    assert kept("idle", "induction").value == kept("idle", "previous").value == 1
    assert kept("induction", "induction").value == 0
    assert kept("induction", "previous").value == 1
    assert kept("previous", "induction").value == kept("previous", "previous").value == 0
    for twin in LESIONS:
        assert kept(twin, "duplicate").value is None
        assert kept(twin, "duplicate").reason
    readme, code = (
        values["heads", "induction", "", "pattern", f"induction_kept_{rule}"].value
        for rule in ("readme", "code")
    )
    assert readme == code == 0


def test_the_table_names_the_same_heads(found: list[Measured]) -> None:
    """Largest loss first, the table of a twin begins with the head that is blind in it."""
    for lesion, place in {"induction": planted.INDUCTION, "previous": planted.PREVIOUS}.items():
        columns = tiny.tables(found)[lesion, "heads"].columns
        mine = columns["kind"] == lesion
        loss = (columns["reference"] - columns["twin"])[mine]
        worst = loss.argmax()
        assert (columns["block"][mine][worst], columns["head"][mine][worst]) == place
        assert columns["choosing"][mine][worst] > 0.999


def lesioned(direction: np.ndarray, layout: Layout, folder: Path) -> list[Measured]:
    """A twin whose first MLP writes nothing along a direction."""
    sae = planted.orthonormal(64, 40, "resid.0")
    analyses = [Features((tiny.placed(sae, "resid.0"),))]
    lesion = planted.Mute(
        include=(f"{layout.block_name(0)}.*.down_proj",), direction=tuple(direction.tolist())
    )
    plan = tiny.plan(tiny.corpus([[24]] * 30, seed=2), analyses)
    return list(tiny.measurement(layout, {"twin": lesion}, plan, folder, analyses).values())


@pytest.mark.parametrize("latent", [0, 17, 39])
def test_a_muted_feature_is_named(latent: int, tmp_path: Path) -> None:
    """The first MLP writes nothing along one latent's direction: that latent is the most
    damaged of all, and no other changed at all; its places are shown first."""
    layout = tiny.layout("llama")
    direction = planted.orthonormal(64, 40, "resid.0").w_dec[latent].double().numpy()
    found = lesioned(direction, layout, tmp_path)
    tables = tiny.tables(found)
    columns = tables["twin", "features"].columns
    r = np.asarray(columns["r"])
    worst = r.argmin()
    assert columns["latent"][worst] == latent
    assert r[worst] < 0.95
    assert np.delete(r, worst).min() > 1 - 1e-6
    assert np.delete(np.asarray(columns["gain"]), worst) == pytest.approx(1, abs=1e-5)
    assert columns["state"][worst] != "survived"
    assert tables["twin", PLACES].columns["latent"][0] == latent
    values = tiny.by_key(found)
    survived = values["features", "twin", "orthonormal", "resid.0", "survived"].value
    assert survived == pytest.approx(39 / 40)
    positions = np.asarray(tables["twin", PLACES].columns["position"])
    assert (positions >> BITS).max() < 30
    assert (positions & ((1 << BITS) - 1)).max() < 24


@pytest.mark.parametrize("block", [0, 1, 2])
def test_one_blocks_bits_are_named_by_its_patterns(block: int, tmp_path: Path) -> None:
    """Only one block's queries and keys are compressed: its patterns are the first that moved,
    and every head of it did."""
    layout = tiny.eager("llama")
    plan = tiny.plan(tiny.corpus([[12]] * 6, seed=2), [Attention()])
    name = layout.block_name(block)
    twins = {"twin": f"rtn:bits=2,include=[{name}.*.q_proj,{name}.*.k_proj]"}
    values = tiny.values(tiny.measurement(layout, twins, plan, tmp_path, [Attention()]))
    for n in range(3):
        jsd = [
            values["attention", "twin", f"head {h}", f"pattern.{n}", "jsd"].value for h in range(4)
        ]
        assert max(jsd) == 0 if n < block else min(jsd) > 1e-6
        if n == block:
            assert min(jsd) > 1e-3
