"""A twin with modules of its own: the same numbers as the weights it holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from bitlens.compression import coverage, parse_spec
from bitlens.compression.checkpoint_twin import CheckpointTwin
from bitlens.compression.checkpoints import open_checkpoint
from bitlens.compression.methods.checkpoint import Checkpoint as Settings
from bitlens.compression.twin import CompressedTwin
from bitlens.compression.weight_sources import Around
from bitlens.config.study import audit_of
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.engine.swept_model import Reference
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, load
from bitlens.models.source import ModelSource
from bitlens.results.store import Store
from bitlens.workflows.audit.run import run
from tests.support import tiny

FAMILIES = ["llama", "gpt2", "qwen3_moe"]
each_family = pytest.mark.parametrize("family", FAMILIES)


class Case:
    """A reference, its layout, and a folder with a twin's weights in it."""

    def __init__(self, folder: Path, to: Path, text: str, attention: str = "sdpa") -> None:
        self.folder, self.text = folder, text
        self.loaded: Loaded = load(ModelSource(str(folder)), 1 << 34)
        self.loaded.model.set_attn_implementation(attention)
        self.layout = Layout(self.loaded.model)
        self.twin = tiny.twin(self.layout, text)
        self.path = to
        self.twin.model().save_pretrained(to)

    def opened(self, path: Path | None = None) -> CheckpointTwin:
        settings = Settings(path=str(path or self.path))
        return CheckpointTwin(self.layout, settings, open_checkpoint(settings, self.loaded))


@pytest.fixture
def case(tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Case]:
    """A tiny model of a family and what a compression makes of it, as an ordinary folder."""

    def make(family: str = "llama", text: str = "rtn:bits=3", **settings: Any) -> Case:
        return Case(tiny_folder(family), tmp_path / "twin", text, **settings)

    return make


def audit(model: Path, to: str, texts: Path, out: Path, **settings: Any) -> Store:
    fields: dict[str, Any] = {"controls": (), "text": str(texts), "tokens": 1500, "context": 48}
    study = audit_of(str(model), to, **{**fields, **settings})
    return run(study, out, "audit", lambda line: None)


def estimates(store: Store) -> list[dict[str, Any]]:
    """Every estimate, without its twin's name and bits: an ordinary folder says nothing of them."""
    rows = pq.read_table(store.root / "estimates.parquet").to_pylist()
    return [{k: row[k] for k in row if k not in ("compression", "bits")} for row in rows]


@pytest.mark.slow
@pytest.mark.usefixtures("few_sequences")
@pytest.mark.parametrize(
    ("family", "text"),
    [("llama", "rtn:bits=3"), ("gpt2", "prune:sparsity=0.4"), ("qwen3_moe", "rtn:bits=4")],
)
def test_every_analysis_sees_the_weights_in_the_folder(
    case: Callable[..., Case], short_texts: Path, tmp_path: Path, family: str, text: str
) -> None:
    """Attention patterns, heads and local errors of blocks among them: number by number what an
    audit of the compression gives that made the folder."""
    made = case(family, text)
    there = audit(made.folder, f"checkpoint:{made.path}", short_texts, tmp_path / "there")
    here = estimates(audit(made.folder, text, short_texts, tmp_path / "here"))
    assert {row["analysis"] for row in here} >= {"attention", "heads", "geometry", "lens"}
    assert any(row["item"] == "local" for row in here)
    assert estimates(there) == here
    (check,) = (c for c in there.manifest()["checks"] if c["name"].endswith(": what runs"))
    assert check["passed"]
    assert "run as dequantized weights" in check["detail"]


@each_family
def test_states_and_forks_are_those_of_the_weights(case: Callable[..., Case], family: str) -> None:
    """Bit by bit: its own way through depth, its block on the reference's input, and the rest of
    the way in the reference's blocks."""
    made = case(family)
    sites = ["embed", *(f"resid.{n}" for n in range(made.layout.depth)), "logits"]
    found = []
    for twin in (made.twin, made.opened()):
        branches = [
            ForwardRun("local", "twin", parent=REFERENCE, start=1, stop=2, subset=True),
            ForwardRun("only", "twin", parent=REFERENCE, start=1, own_blocks=range(1, 2)),
            ForwardRun("mended", REFERENCE, parent="twin", start=2),
        ]
        batches = [tiny.batch([12, 7])]
        found.append(
            tiny.activations(tiny.sweep(made.layout, batches, sites, {"twin": twin}, branches))
        )
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
    assert not torch.equal(found[1][("twin", "resid.1", 0)], found[1][(REFERENCE, "resid.1", 0)])


def test_both_attend_alike(case: Callable[..., Case]) -> None:
    """Where the reference was made to hand out its patterns, the checkpoint does too."""
    made = case(attention="eager")
    twin = made.opened()
    assert twin.checkpoint.model.config._attn_implementation == "eager"
    batch = tiny.batch([12, 7])
    found = tiny.activations(tiny.sweep(made.layout, [batch], ["pattern.1"], {"twin": twin}))
    (own,) = (value for key, value in found.items() if key[0] == "twin" and key[1] == "pattern.1")
    assert torch.allclose(own.sum(-1)[0], torch.ones(()), atol=1e-5)


def matrices(twin: CompressedTwin | Reference, layout: Layout) -> dict[str, Tensor]:
    found = {}
    for depth in range(layout.depth):
        weights = layout.block(depth)
        made = isinstance(twin, CompressedTwin)
        own = twin.block_weights(depth, weights) if made else weights.computed
        found |= {m.name: m.weight for group in layout.maps(depth, own) for m in group}
    return found


@each_family
def test_noise_is_as_large_as_what_the_folder_changed(
    case: Callable[..., Case], family: str
) -> None:
    """Matrix by matrix and expert by expert, however the family stores them."""
    made = case(family)
    names = [name for name, _ in made.layout.matrices()]
    noise = parse_spec(f"noise:like=[checkpoint:{made.path}]")
    source = Around(noise, made.opened().matched, 0)  # type: ignore[arg-type]
    noisy = matrices(CompressedTwin(made.layout, noise, names, 0, source), made.layout)
    before = matrices(Reference(made.layout), made.layout)
    for name, after in matrices(made.twin, made.layout).items():
        expected = torch.linalg.matrix_norm(after - before[name])
        assert torch.allclose(
            torch.linalg.matrix_norm(noisy[name] - before[name]), expected, rtol=1e-5
        )


@each_family
def test_the_table_is_measured(case: Callable[..., Case], family: str) -> None:
    """Error and changed share of every matrix are those of the compression that made it; bits
    are those of the folder, which says nothing of a compression."""
    made = case(family)
    made.twin.complete_coverage()
    for own, other in zip(made.twin.coverage(), made.opened().coverage(), strict=True):
        assert (own.module, own.kind, own.parameters) == (
            other.module,
            other.kind,
            other.parameters,
        )
        assert (own.changed, own.compressed) == (other.changed, other.compressed)
        assert (own.relative_error is None) == (other.relative_error is None)
        assert (own.relative_error or 0) == pytest.approx(other.relative_error or 0, rel=1e-6)
        assert (other.format, other.bits) == ("float32", 32.0)


def test_half_precision_is_what_the_table_says(case: Callable[..., Case]) -> None:
    """Sixteen bits everywhere, and every matrix measured; norms that were exact stay so."""
    made = case(text="cast:dtype=bfloat16")
    twin = made.opened()
    assert {p.dtype for p in twin.model().parameters()} == {torch.bfloat16}
    rows = twin.coverage()
    assert {row.bits for row in rows} == {16.0}
    assert {row.format for row in rows} == {"bfloat16"}
    assert all(row.compressed and row.changed > 0.5 for row in rows if row.kind == "block")


def test_half_precision_is_computed_as_the_reference_is(case: Callable[..., Case]) -> None:
    """An ordinary folder in 16 bits holds weights, no arithmetic: bit for bit what transformers
    computes of it in float32, and in 16 bits where the reference is computed in them."""
    made = case(text="cast:dtype=bfloat16")
    batch = tiny.batch([12, 7])
    for compute in (torch.float32, torch.bfloat16):
        layout = Layout(made.layout.model, compute)
        twin = CheckpointTwin(layout, made.opened().compression, made.opened().checkpoint)
        assert twin.dtype is None
        sites = [f"resid.{n}" for n in range(layout.depth)]
        found = tiny.activations(tiny.sweep(layout, [batch], sites, {"twin": twin}))
        plain = AutoModelForCausalLM.from_pretrained(made.path, dtype=compute).eval()
        own = tiny.own_states(plain, layout, batch)
        assert all(torch.equal(found[("twin", site, 0)], own[site]) for site in sites)


def test_an_unembedding_of_its_own_is_counted(case: Callable[..., Case], tmp_path: Path) -> None:
    """The reference's is its embedding; a folder that has two is larger, and what differs shows."""
    made = case("gpt2", "nothing")
    config = AutoConfig.from_pretrained(made.path, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_pretrained(made.path)
    apart = AutoModelForCausalLM.from_config(config)
    apart.load_state_dict(model.state_dict())
    with torch.no_grad():
        apart.lm_head.weight[:32].mul_(2)
    apart.save_pretrained(tmp_path / "apart")
    (whole,) = (row for row in made.opened().coverage() if row.kind == "unembedding")
    assert whole.note.startswith("tied to")
    assert whole.parameters == 0
    twin = made.opened(tmp_path / "apart")
    (row,) = (row for row in twin.coverage() if row.kind == "unembedding")
    assert (row.changed, row.parameters) == (0.25, 128 * 64)
    assert coverage.total(twin.coverage()).changed > 0


def test_twins_of_one_folder_share_nothing(case: Callable[..., Case]) -> None:
    """Run in two ways they may compute in two dtypes."""
    made = case()
    settings = Settings(path=str(made.path), run="weights")
    other = CheckpointTwin(made.layout, settings, open_checkpoint(settings, made.loaded))
    assert other.entry_key != made.opened().entry_key != Reference(made.layout).entry_key


def test_an_identical_folder_is_refused(llama: Path, short_texts: Path, tmp_path: Path) -> None:
    """Nothing was compressed; where that is meant, it is measured to be nothing."""
    settings = {"analyses": ("behaviour",)}
    with pytest.raises(BitlensError, match=r"nothing was compressed") as caught:
        audit(llama, f"checkpoint:{llama}", short_texts, tmp_path / "a", **settings)
    assert "loaded in full precision" in caught.value.expected
    same = audit(
        llama, f"checkpoint:{llama}", short_texts, tmp_path / "b", allow=("identical",), **settings
    )
    (kl,) = (r for r in estimates(same) if r["metric"] == "kl" and r["site"] == "logits")
    assert kl["value"] == 0


@pytest.mark.parametrize(
    ("family", "settings", "found"),
    [
        ("gpt2", {}, "tiny-gpt2 is a gpt2, tiny-llama a llama"),
        ("llama", {"vocab_size": 160}, "knows 160 tokens, tiny-llama 128"),
        ("llama", {"intermediate_size": 96}, r"gate_proj\.weight is of shape \[96, 64\]"),
    ],
)
def test_another_model_is_refused_by_name(
    tiny_folder: Callable[..., Path],
    llama: Path,
    short_texts: Path,
    tmp_path: Path,
    family: str,
    settings: dict[str, int],
    found: str,
) -> None:
    """Architecture, vocabulary, shape: before anything is compressed or measured."""
    other = tiny_folder(family, **settings)
    with pytest.raises(BitlensError, match=found):
        audit(llama, f"checkpoint:{other}", short_texts, tmp_path / "out")


@pytest.mark.slow
def test_changed_weights_are_other_cells(
    case: Callable[..., Case], short_texts: Path, tmp_path: Path
) -> None:
    """The same path with other weights in it is another twin; its noise is, too."""
    made = case()
    texts = [f"checkpoint:{made.path}", f"noise:like=[checkpoint:{made.path}]"]
    ids = []
    for text in ("rtn:bits=3", "rtn:bits=4"):
        tiny.twin(made.layout, text).model().save_pretrained(made.path)
        store = audit(
            made.folder, texts[0], short_texts, tmp_path / "out",
            analyses=("behaviour",), controls=("noise",),
        )  # fmt: skip
        ids.append({cell["id"] for cell in store.manifest()["cells"]})
    assert len(ids[0]) == 2
    assert not ids[0] & ids[1]
