"""Releases are found by SAELens' names, fetched from the hub's cache and read as SAELens does."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bitlens.errors import BitlensError
from bitlens.sae.formats import releases as hub
from bitlens.sae.formats.load import conversions, load_sae, save_sae
from tests.support import dictionary_learning, gemma_scope
from tests.support.saes import activations, small_sae

RELEASE = "release:gpt2-small-res-jb:blocks.8.hook_resid_pre"
Table = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without SAELens, whether or not it is installed."""
    monkeypatch.setattr(hub, "_installed", lambda: None)
    hub.releases.cache_clear()
    yield
    hub.releases.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def snapshot(cache: Path, repository: str) -> Path:
    """The folder in which the cache keeps a repository's main branch."""
    root = cache / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    return root / "snapshots" / commit


def test_a_release_is_read_from_the_cache(cache: Path) -> None:
    """With what the table says above its settings, and its published figures."""
    folder = snapshot(cache, "jbloom/GPT2-Small-SAEs-Reformatted") / "blocks.8.hook_resid_pre"
    save_sae(small_sae(hook="blocks.8.hook_resid_pre"), folder)
    sae, plain = load_sae(RELEASE), load_sae(folder)
    assert torch.equal(sae.w_enc, plain.w_enc)
    assert sae.label == "blocks.8.hook_resid_pre"
    assert plain.trained_on.loading == {}
    assert sae.trained_on.loading == {"center_writing_weights": True}
    assert sae.published.l0 == 60
    assert sae.published.fvu == pytest.approx(0.1)
    assert sae.fingerprint != plain.fingerprint
    assert len(sae.fingerprint) == 64


def test_a_canonical_name_means_a_folder(cache: Path) -> None:
    """Gemma Scope's `canonical` is one of several sparsities."""
    folder = snapshot(cache, "google/gemma-scope-2b-pt-res")
    gemma_scope.write(folder / "layer_12/width_16k/average_l0_82")
    found = load_sae("release:gemma-scope-2b-pt-res-canonical:layer_12/width_16k/canonical")
    named = load_sae("release:gemma-scope-2b-pt-res:layer_12/width_16k/average_l0_82")
    assert torch.equal(found.w_enc, named.w_enc)
    assert found.published.l0 == 82
    assert found.hook == named.hook == "blocks.12.hook_resid_post"


def test_figures_beside_the_weights_are_fetched_where_they_are(cache: Path) -> None:
    """And nobody misses them where they are not."""
    repository = snapshot(cache, "andyrdt/saes-gpt-oss-20b")
    folder = repository / "resid_post_layer_3" / "trainer_0"
    dictionary_learning.write(folder, "BatchTopKSAE")
    name = "release:gpt-oss-20b-andyrdt:resid_post_layer_3_trainer_0"
    assert load_sae(name).published.l0 is None
    (folder / "eval_results.json").write_text(json.dumps({"l0": 64.0}))
    assert load_sae(name).published.l0 == 64


def test_only_what_is_needed_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two files by name, and the one with figures."""
    save_sae(small_sae(), tmp_path)
    asked = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(tmp_path / Path(file).name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    load_sae(RELEASE)
    files = ("cfg.json", "sae_weights.safetensors", "sparsity.safetensors")
    place = "blocks.8.hook_resid_pre"
    assert asked == [("jbloom/GPT2-Small-SAEs-Reformatted", f"{place}/{file}") for file in files]


def test_a_scale_that_the_table_keeps_is_in_the_weights_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes of x are those of the scaled x before; reconstructions come back unscaled."""
    plain = small_sae(normalisation="expected_average_only_in")
    save_sae(plain, tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, f: tmp_path / Path(f).name)
    sae = load_sae("release:gemma-2b-res-jb:blocks.12.hook_resid_post")
    scale, x = 0.21381938399317255, activations()
    codes = plain.encode(scale * x)
    torch.testing.assert_close(sae.encode(x), codes, atol=1e-5, rtol=1e-5)
    expected = plain.decode(plain.codes(scale * x)) / scale
    torch.testing.assert_close(sae.decode(sae.codes(x)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "found", "remedy"),
    [
        ("release:gpt2-small-res-bj:blocks.8.hook_resid_pre", "'gpt2-small-res-bj'", "res-jb"),
        ("release:zzz:blocks.8", "our short table", "pip install sae-lens"),
        ("release:gpt2-small-res-jb:blocks.8.hook_resid_per", "hook_resid_per", "hook_resid_pre"),
        ("release:gpt2-small-res-jb", "names no SAE", hub.EXAMPLE),
        ("release::blocks.8.hook_resid_pre", "names no SAE", hub.EXAMPLE),
        ("release:gemma-scope-2b-pt-res:", "names no SAE", hub.EXAMPLE),
    ],
)
def test_names_that_are_not_there(text: str, found: str, remedy: str) -> None:
    """What was probably meant, before anything is fetched."""
    with pytest.raises(BitlensError) as refusal:
        load_sae(text)
    assert found in refusal.value.found
    assert remedy in refusal.value.remedy


def test_what_cannot_be_fetched_is_said(cache: Path) -> None:
    """Neither reached nor in the cache."""
    with pytest.raises(BitlensError, match=r"(?s)cannot be fetched.*HF_HUB_OFFLINE"):
        load_sae(RELEASE)


def test_formats_that_are_not_read_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAELens has more of them; its whole table is used where it is installed."""
    entry = {"repo_id": "a/b", "conversion_func": "llama_scope", "saes": [{"id": "x", "path": "y"}]}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump({"theirs": entry}))
    monkeypatch.setattr(hub, "_installed", lambda: tmp_path / "table.yaml")
    hub.releases.cache_clear()
    with pytest.raises(BitlensError, match=r"(?s)not read \(llama_scope\).*save_model"):
        load_sae("release:theirs:x")
    with pytest.raises(BitlensError, match="SAELens' table"):
        load_sae("release:zzz:x")
    assert hub.find(RELEASE).repository == "jbloom/GPT2-Small-SAEs-Reformatted"


def test_a_folder_may_be_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written as a path it is one."""
    save_sae(small_sae(), tmp_path / "release:mine:x")
    monkeypatch.chdir(tmp_path)
    assert load_sae("./release:mine:x").latents == 40
    assert load_sae(Path("release:mine:x")).latents == 40


def test_our_table_is_whole() -> None:
    """Every entry has what reading it takes, in a format that is read."""
    for name, release in hub.releases().items():
        assert release.get("conversion_func", "sae_lens") in conversions()
        saes = release["saes"]
        for sae in [{"id": "layer_0/width_16k/average_l0_1"}] if saes == "any" else saes:
            entry = hub.find(f"release:{name}:{sae['id']}")
            assert entry.repository.count("/") == 1
            assert entry.folder


@pytest.mark.against
def test_our_table_says_what_saelens_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repository, folder, settings and scale of every entry."""
    directory = pytest.importorskip(
        "sae_lens.loading.pretrained_saes_directory", exc_type=ImportError
    )
    theirs = directory.get_pretrained_saes_directory()
    for name, release in hub.releases().items():
        saes = release["saes"]
        ids = theirs[name].saes_map if saes == "any" else [sae["id"] for sae in saes]
        for sae_id in ids:
            entry = hub.find(f"release:{name}:{sae_id}")
            assert (entry.repository, entry.folder) == directory.get_repo_id_and_folder_name(
                name, sae_id
            )
            assert entry.scale == directory.get_norm_scaling_factor(name, sae_id)
            settings = directory.get_config_overrides(name, sae_id)
            for ours in ("neuronpedia_id", "dataset_path"):
                settings.pop(ours, None)
            assert entry.overrides == settings
