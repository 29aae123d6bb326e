"""From the twins that are wanted to twins that can be swept."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bitlens.compression import format_spec, opened_checkpoints, parse_spec, sparsity_search
from bitlens.compression.calibration.cache import ENVIRONMENT
from bitlens.compression.checkpoint_twin import CheckpointTwin
from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.gptq import Gptq
from bitlens.compression.methods.prune import Prune
from bitlens.compression.requests import TwinRequest, requested_twins
from bitlens.compression.sparsity_search import matched
from bitlens.compression.targets import chosen
from bitlens.compression.twin import CompressedTwin, Twin
from bitlens.compression.twin_builder import BuiltTwins, OnFailure, TwinBuilder
from bitlens.config.study import Study
from bitlens.data.corpus import make_corpus
from bitlens.data.texts import read_texts
from bitlens.engine.swept_model import Reference
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import load
from bitlens.workflows.audit.run import run
from bitlens.workflows.session import Session, calibration_texts


@dataclass(eq=False, kw_only=True)
class StudyBuilder(TwinBuilder):
    """Builds the twins of a study."""

    wanted: list[TwinRequest]

    def built(self) -> BuiltTwins:
        """All of them."""
        return self.build(self.wanted)


pytestmark = pytest.mark.usefixtures("cache")

Maker = Callable[..., StudyBuilder]


@pytest.fixture
def maker(study: Callable[..., Study]) -> Maker:
    """What makes the twins of such a study."""

    def make(*compressions: str, on_failure: OnFailure = "raise", **settings: Any) -> StudyBuilder:
        wanted = study(*compressions, **settings)
        loaded = load(wanted.models[0], 1 << 34)
        layout = Layout(loaded.model)
        corpus = make_corpus(read_texts(wanted.text), loaded.tokenizer, 64, "auto", 2000, 0)
        return StudyBuilder(
            loaded=loaded,
            trust_remote_code=False,
            layout=layout,
            texts=calibration_texts(wanted, 64),
            evaluation=corpus,
            seed=0,
            memory=1 << 32,
            log=lambda line: None,
            on_failure=on_failure,
            wanted=requested_twins(wanted.compressions, wanted.controls, layout),
        )

    return make


@pytest.fixture
def quick_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of two sparsities, for tests that do not ask how close it comes."""
    monkeypatch.setattr(sparsity_search, "FIRST", (0.2, 0.4))
    monkeypatch.setattr(sparsity_search, "ROUNDS", 1)


def twins(made: StudyBuilder) -> Mapping[str, Twin]:
    return made.built().twins


def matrices(twin: CompressedTwin | Reference) -> dict[str, Tensor]:
    """By name, as `[out, in]`, of every matrix of every block."""
    layout, found = twin.layout, {}
    for depth in range(layout.depth):
        weights = layout.block(depth)
        made = isinstance(twin, CompressedTwin)
        own = twin.block_weights(depth, weights) if made else weights.computed
        found |= {m.name: m.weight for group in layout.maps(depth, own) for m in group}
    return found


def statuses(study: Study, out: Path) -> dict[str, tuple[str, str]]:
    """By compression, how its cell ended and why, in a study that goes on."""
    store = run(study, out, "study", lambda line: None, keep_going=True)
    cells = store.manifest()["cells"]
    return {c["compression"]: (c["status"], c.get("reason") or "") for c in cells}


def test_noise_has_the_energy_of_the_calibrated_error(maker: Maker) -> None:
    """Matrix by matrix, of the error that GPTQ made, which is calibrated although only its noise
    was asked for."""
    alone = twins(maker("noise:like=[gptq:bits=3]"))
    both = twins(maker("gptq:bits=3", controls=("noise",)))
    assert alone.keys() == {"noise:like=[gptq:bits=3]"}
    reference = matrices(Reference(both["gptq:bits=3"].layout))
    rounded = matrices(both["gptq:bits=3"])
    for noise in (alone, both):
        for name, noisy in matrices(noise["noise:like=[gptq:bits=3]"]).items():
            size = torch.linalg.matrix_norm(noisy - reference[name])
            assert torch.allclose(
                size, torch.linalg.matrix_norm(rounded[name] - reference[name]), rtol=1e-5
            )
            cosine = torch.cosine_similarity(
                (noisy - reference[name]).flatten(), (rounded[name] - reference[name]).flatten(), 0
            )
            assert abs(cosine) < 0.1


def refuse_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPTQ that fails in the second block, long after its shapes were tried."""
    compress = Gptq.compress

    def fails(self: Gptq, group: MatrixGroup) -> list[CompressedMatrix]:
        name = group.matrices[0].name
        if "layers.1.mlp.down_proj" in name:
            raise BitlensError(f"{name} cannot be factored.", "a basis.", "more documents.")
        return compress(self, group)

    monkeypatch.setattr(Gptq, "compress", fails)


@pytest.mark.slow
def test_what_fails_in_calibration_takes_its_noise_along(
    study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both with the reason; others, calibrated or not, go on."""
    refuse_late(monkeypatch)
    wanted = study("gptq:bits=3", "awq:bits=4,group=32", "rtn:bits=3", controls=("noise",))
    found = statuses(wanted, tmp_path / "out")
    lost = {"gptq:bits=3", "noise:like=[gptq:bits=3]"}
    assert {text for text, (status, _) in found.items() if status == "failed"} == lost
    assert len(found) == 6
    assert all("down_proj cannot be factored" in found[text][1] for text in lost)


def test_without_going_on_the_first_failure_ends_it(
    maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_late(monkeypatch)
    with pytest.raises(BitlensError, match="cannot be factored"):
        twins(maker("rtn:bits=3", "gptq:bits=3"))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"calibration": None}, "--calibration FILE"), ({"calibration": "text"}, "allow overlap")],
)
def test_documents_that_cannot_be_had_stop_only_what_needs_them(
    study: Callable[..., Study],
    tmp_path: Path,
    short_texts: Path,
    settings: dict[str, Any],
    reason: str,
) -> None:
    """None named, or those that are evaluated: round-to-nearest goes on."""
    if settings["calibration"]:
        settings = {"calibration": str(short_texts)}
    found = statuses(study("gptq:bits=3", "rtn:bits=3", **settings), tmp_path / "out")
    assert found["rtn:bits=3"] == ("done", "")
    assert found["gptq:bits=3"][0] == "failed"
    assert reason in found["gptq:bits=3"][1]


def test_what_is_made_does_not_depend_on_the_analyses(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention patterns need eager attention; calibration runs under the model's own, and gives
    the same weights bit by bit."""
    kept = []
    for implementation in ("sdpa", "eager"):
        cache = tmp_path / implementation
        monkeypatch.setenv(ENVIRONMENT, str(cache))
        made = maker("prune:sparsity=0.5,by=sparsegpt")
        assert made.loaded.attention == "sdpa"
        made.loaded.model.set_attn_implementation(implementation)
        twins(made)
        assert made.loaded.model.config._attn_implementation == implementation
        files = cache.rglob("*.safetensors")
        kept.append({name: t for file in files for name, t in load_file(file).items()})
    assert len(kept[0]) == 21
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in kept[0].items())


def test_the_embedding_is_not_calibrated(maker: Maker) -> None:
    """It is looked up in, not multiplied with; the message says what to do instead."""
    made = maker("rtn:bits=4")
    text = "gptq:bits=4,include=[*,model.embed_tokens]"
    with pytest.raises(BitlensError, match=r"model\.embed_tokens, which is looked up in") as caught:
        chosen(made.layout, parse_spec(text))
    assert caught.value.remedy.startswith("mixed:model.embed_tokens=[rtn:bits=8],*=[")
    with pytest.raises(BitlensError, match="looked up in"):
        chosen(made.layout, parse_spec(f"noise:like=[{text}]"))
    assert "model.embed_tokens" in chosen(made.layout, parse_spec(text.replace("gptq", "rtn")))


@pytest.mark.parametrize(
    "text", ["gptq:bits=4,include=[*,lm_head]", "awq:bits=4,include=[lm_head],group=32"]
)
def test_the_unembedding_is_calibrated(maker: Maker, text: str) -> None:
    """On what the final norm hands it."""
    made = maker(text)
    (twin,) = twins(made).values()
    head = twin.shell_weights()["lm_head.weight"]  # type: ignore[attr-defined]
    assert not torch.equal(head, made.loaded.model.lm_head.weight)
    twin.complete_coverage()
    (row,) = (row for row in twin.coverage() if row.module == "lm_head")
    assert row.compressed
    assert row.bits < 5


def test_a_mixture_with_a_calibrated_part_is_calibrated(maker: Maker) -> None:
    """Each matrix has what its own compression makes of it: the rounded ones what rounding makes
    of them alone, an embedding too, the calibrated ones something else; the rest says why it was
    left alone."""
    text = "mixed:embed_tokens=[rtn:bits=4],down_proj=[gptq:bits=3],q_proj=[rtn:bits=3]"
    made = twins(maker(text, "rtn:bits=3", "rtn:bits=4,include=[embed_tokens]"))
    mixed, rounded = matrices(made[text]), matrices(made["rtn:bits=3"])
    reference = matrices(Reference(made[text].layout))
    for name, weight in mixed.items():
        kind = name.rpartition(".")[2]
        assert torch.equal(weight, rounded[name]) == (kind == "q_proj")
        assert torch.equal(weight, reference[name]) == (kind not in ("q_proj", "down_proj"))
    embedding = "model.embed_tokens.weight"
    other = made["rtn:bits=4,include=[embed_tokens]"].shell_weights()[embedding]  # type: ignore[attr-defined]
    assert torch.equal(made[text].shell_weights()[embedding], other)  # type: ignore[attr-defined]
    made[text].complete_coverage()
    notes = {row.module.rpartition(".")[2]: row.note for row in made[text].coverage()}
    assert notes["o_proj"] == "left alone: no pattern matches"
    assert notes["q_proj"] == "rtn:bits=3"
    assert notes["down_proj"].startswith("gptq:bits=3")


def test_every_part_of_a_mixture_is_tried_first(maker: Maker) -> None:
    """Keys and values are of one shape; only the second part does not fit."""
    layout = maker("rtn:bits=4").layout
    shapes = dict(layout.matrices())
    name = layout.block_name(0)
    assert shapes[f"{name}.self_attn.k_proj"] == shapes[f"{name}.self_attn.v_proj"]
    with pytest.raises(BitlensError, match=r"group=48 does not divide"):
        twins(maker("mixed:k_proj=[rtn:bits=4],v_proj=[rtn:bits=4,group=48]"))


@pytest.mark.slow
def test_nothing_is_opened_or_calibrated_twice(
    maker: Maker, tmp_path: Path, quick_match: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twin, its noise and what is matched to it share one opening and one calibration."""
    opened: list[str] = []
    compressed: list[str] = []
    open_checkpoint, compress = opened_checkpoints.open_checkpoint, Gptq.compress  # type: ignore[attr-defined]

    def opens(settings: Any, *rest: Any) -> Any:
        opened.append(format_spec(settings))
        return open_checkpoint(settings, *rest)

    def compresses(self: Gptq, group: MatrixGroup) -> list[CompressedMatrix]:
        compressed.extend(matrix.name for matrix in group.matrices)
        return compress(self, group)

    monkeypatch.setattr(opened_checkpoints, "open_checkpoint", opens)
    monkeypatch.setattr(Gptq, "compress", compresses)
    twin = tmp_path / "twin"
    made = maker("gptq:bits=3")
    twins(made)["gptq:bits=3"].model().save_pretrained(twin)
    tried = len(compressed) - 21
    assert tried < 7
    compressed.clear()
    checkpoint = f"checkpoint:{twin}"
    wanted = [f"prune:match=[{checkpoint}]", checkpoint, "gptq:bits=3", "prune:match=[gptq:bits=3]"]
    made = maker(*wanted, controls=("noise",))
    assert len(twins(made)) == 8
    assert opened == [checkpoint]
    # What is kept is not made again; trying one matrix of every shape is all, and that once.
    assert len(compressed) == tried


WANDA = "prune:match=[rtn:bits=3],by=wanda"


def sparsities(cache: Path) -> set[str]:
    """Of the pruned twins that are kept."""
    records = [json.loads(path.read_text()) for path in cache.glob("twins/*/record.json")]
    return {record["compression"] for record in records}


@pytest.mark.slow
def test_a_sparsity_is_sought_once(
    maker: Maker, cache: Path, quick_match: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run finds it, and its check, where nothing it depends on has changed; where
    something has, or what was found cannot be read, it is sought again."""
    searches: list[str] = []

    def seeks(prune: Prune, *rest: Any) -> Any:
        searches.append(format_spec(prune))
        return matched(prune, *rest)

    monkeypatch.setattr(sparsity_search, "matched", seeks)
    first, again = maker(WANDA).built(), maker(WANDA).built()
    before, after = (matrices(built.twins[WANDA]) for built in (first, again))
    assert searches == [WANDA]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(first.checks) == set(again.checks)
    assert first.identity == again.identity
    others: list[tuple[str, dict[str, Any]]] = [
        (WANDA, {"calibration_tokens": 1000}),
        (WANDA, {"dtype": "bfloat16"}),
        (f"{WANDA},on=perplexity", {}),
        (WANDA.replace("=3", "=4"), {}),
    ]
    for n, (text, settings) in enumerate(others, 2):
        twins(maker(text, **settings))
        assert len(searches) == n
    for file in cache.glob("twins/*/found.json"):
        file.write_text('{"sparsity": 3}')
    twins(maker(WANDA))
    assert len(searches) == len(others) + 2


@pytest.mark.slow
def test_candidates_are_not_kept(maker: Maker, cache: Path, quick_match: None) -> None:
    """Only the twin that was found is, and what was kept before or is wanted for itself."""
    twins(maker("prune:sparsity=0.2,by=wanda"))
    built = maker(WANDA, "prune:sparsity=0.4,by=wanda").built()
    pruned = built.identity[WANDA]["matched"]
    expected = {"prune:sparsity=0.2,by=wanda", "prune:sparsity=0.4,by=wanda", pruned}
    assert sparsities(cache) == expected
    for twin in built.twins.values():
        twin.complete_coverage()


def test_candidates_of_a_search_that_fails_are_not_kept(
    maker: Maker, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither they nor a sparsity."""

    def fails(prune: Prune, target: Twin, make: Any, *rest: Any) -> Any:
        make([replace(prune, match=None, sparsity=0.3)])
        assert sparsities(cache) == {"prune:sparsity=0.3,by=wanda"}
        raise BitlensError("It will not be.", "one that is.", "another.")

    monkeypatch.setattr(sparsity_search, "matched", fails)
    with pytest.raises(BitlensError, match="It will not be"):
        twins(maker(WANDA))
    assert not sparsities(cache)
    assert not list(cache.glob("twins/*/found.json"))


def test_a_twin_that_fails_by_the_way_fails_by_itself_too(maker: Maker) -> None:
    """Asked for itself, and to be matched: each with the reason, in either order."""
    bad = "rtn:bits=4,group=48"
    for wanted in ((bad, f"prune:match=[{bad}]"), (f"prune:match=[{bad}]", bad)):
        built = maker(*wanted, "rtn:bits=4", on_failure="record").built()
        assert built.twins.keys() == {"rtn:bits=4"}
        assert built.failed.keys() == set(wanted)
        assert all("does not divide" in reason for reason in built.failed.values())


@pytest.mark.slow
def test_a_cell_knows_what_its_text_does_not_say(
    maker: Maker, tmp_path: Path, quick_match: None
) -> None:
    """Documents, the checkpoint's weights and the sparsity that was found, of noise too."""
    made = maker("rtn:bits=3")
    twins(made)["rtn:bits=3"].model().save_pretrained(tmp_path / "twin")
    checkpoint = f"checkpoint:{tmp_path / 'twin'}"
    wanted = [checkpoint, "gptq:bits=3", f"prune:match=[{checkpoint}],by=wanda", "rtn:bits=3"]
    built = maker(*wanted, controls=("noise",)).built()
    known = built.identity
    assert built.calibration is not None
    documents = {"calibration": built.calibration.token_hash}
    assert known["gptq:bits=3"] == known["noise:like=[gptq:bits=3]"] == documents
    opened = built.twins[checkpoint]
    assert isinstance(opened, CheckpointTwin)
    weights = {"checkpoint": opened.checkpoint.fingerprint}
    assert known[checkpoint] == known[f"noise:like=[{checkpoint}]"] == weights
    pruned = known[wanted[2]]
    assert pruned.keys() == {"matched", "calibration"}
    assert pruned["matched"].startswith("prune:sparsity=0.")
    assert known[f"noise:like=[{wanted[2]}]"]["matched"] == f"noise:like=[{pruned['matched']}]"
    assert known["rtn:bits=3"] == known["noise:like=[rtn:bits=3]"] == {}


def test_one_twin_of_its_own(study: Callable[..., Study]) -> None:
    """Of a model and a compression, with nothing to measure: documents are read, and compared
    with no evaluation; nothing can be matched."""
    session = Session.in_memory(study("gptq:bits=3"), lambda line: None)
    built, twin = session.build_twin()
    assert built.twins == {"gptq:bits=3": twin}
    assert built.calibration is not None
    assert built.calibration.name == "calibration.jsonl"
    assert [check.name for check in built.checks] == ["enough calibration tokens"]
    twin.complete_coverage()
    assert {row.bits for row in twin.coverage() if row.kind == "block"} == {
        3 + 16 / 64,
        3 + 16 / 128,
    }
    with pytest.raises(BitlensError, match="no text to compare on"):
        Session.in_memory(study("prune:match=[rtn:bits=4]"), lambda line: None).build_twin()


@pytest.mark.slow
def test_a_model_larger_than_memory_has_the_same_twins(
    study: Callable[..., Study], maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrated, opened, matched and with rounded inputs: from blocks on disk, estimates and
    coverage are the same bytes."""
    made = maker("rtn:bits=3")
    twins(made)["rtn:bits=3"].model().save_pretrained(tmp_path / "twin")
    wanted = ["gptq:bits=3", f"checkpoint:{tmp_path / 'twin'}", "prune:match=[rtn:bits=3]", "int8"]
    found = []
    for share in (1.0, 0.0):
        monkeypatch.setattr("bitlens.models.load.WEIGHTS_SHARE", share)
        monkeypatch.setenv(ENVIRONMENT, str(tmp_path / f"cache {share}"))
        settings: dict[str, Any] = {"tokens": 500, "calibration_tokens": 500}
        out = tmp_path / f"out {share}"
        store = run(study(*wanted, **settings), out, "audit", lambda line: None)
        manifest = store.manifest()
        assert manifest["models"][0]["from_disk"] == (share == 0)
        matched = {c["name"]: c["passed"] for c in manifest["checks"]}
        assert matched["prune:match=[rtn:bits=3]: matched"] is True
        tables = ("estimates", "coverage")
        found.append([(out / f"{name}.parquet").read_bytes() for name in tables])
    assert found[0] == found[1]


def test_what_a_checkpoint_does_otherwise_is_undecided(
    maker: Maker, llama: Path, tmp_path: Path
) -> None:
    """A check each, in its own words: settings that are not the reference's, and what is done only
    where it is deployed. One that does nothing otherwise has neither."""
    twin = shutil.copytree(llama, tmp_path / "own")
    config = json.loads((twin / "config.json").read_text())
    (twin / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    made = maker(f"checkpoint:{twin}", f"checkpoint:{llama}", allow=("identical",))
    built = made.built()
    found = {check.name: check for check in built.checks if check.name.startswith("checkpoint:")}
    own = found.pop(f"checkpoint:{twin}: settings of its own")
    assert own.passed is None
    assert "rms_norm_eps is 0.5, in the reference 1e-06" in own.detail
    assert all(name.endswith("what runs") for name in found)
