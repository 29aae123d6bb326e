"""Tiny random models with a tokenizer, as folders and in memory, and a few short texts.

torch and transformers are imported where they are used: the process that hands out the tests to
others runs none, and they wait for it.
"""

from __future__ import annotations

import gc
import json
import os

# Before any library of the hub is imported: no test may depend on what answers there, or hangs.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before torch is: what other libraries would compile runs as the Python that it is. Nothing of ours
# is compiled, and for one small matrix of bitsandbytes a compiler takes 20 seconds.
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from bitlens.seeds import generator

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerFast

# How fast a machine draws examples says nothing about what is tested.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# That files are flushed is tested; the wait for the disk protects from a loss of power alone.
os.fsync = lambda file: None


def pytest_collection_finish() -> None:
    """Shapes are looked at, and whatever the machine, tests compute in float32 where they do not
    say otherwise.

    What is there before the first test stays to the end: a collector of garbage that looks at all
    of it again and again takes a twentieth of the suite's time.
    """
    from bitlens.models import sixteen_bits
    from tests.support.shapes import check_shapes

    check_shapes()
    sixteen_bits.INSTRUCTIONS = ()
    gc.collect()
    gc.freeze()


SHARED = "BITLENS_SHARED"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real models and texts: `shared/data` in a folder above this one, or where the environment
    says. Tests that need them skip where they are absent."""
    above = [folder / "shared" for folder in Path(__file__).resolve().parents]
    named = os.environ.get(SHARED)
    for folder in [Path(named)] if named else above:
        if (folder / "data" / "models" / "stories15M").is_dir():
            return folder / "data"
    pytest.skip(f"real models and texts are absent: set {SHARED} to the folder that holds data/")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Calibrated twins of tests are kept where they are thrown away."""
    from bitlens.compression.calibration.cache import ENVIRONMENT

    os.environ[ENVIRONMENT] = str(tmp_path_factory.mktemp("cache"))


def generic_position(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter a little, norms and biases above all: at 1 and 0 they hide mistakes."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            size = 0.2 if parameter.ndim == 1 else 0.05
            parameter.add_(size * torch.randn(parameter.shape, generator=draw))
    return model


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., nn.Module]:
    """A random model of a family, in generic position and evaluation mode."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from bitlens.models.families import FAMILIES

    tiny = {family.key: family for family in FAMILIES}

    def make(model_type: str = "llama", seed: int = 0, **settings: object) -> nn.Module:
        family = tiny[model_type]
        config = AutoConfig.for_model(family.model_type, **{**family.tiny, **settings})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config)
        return generic_position(model, seed).eval()

    return make


@pytest.fixture(scope="session")
def letters() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are single characters; it puts no BOS before a text."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    characters = ["<s>", "</s>", "<unk>", "\n", *map(chr, range(32, 127))]
    vocabulary = {character: n for n, character in enumerate(characters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="session")
def tiny_folder(
    tiny_model: Callable[..., nn.Module],
    letters: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """A folder as `save_pretrained` writes it, with a random model and a tokenizer."""

    def make(model_type: str = "llama", **settings: object) -> Path:
        folder = tmp_path_factory.mktemp("models") / f"tiny-{model_type}"
        tiny_model(model_type, **settings).save_pretrained(folder)
        letters.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def gpt2(tiny_folder: Callable[..., Path]) -> Path:
    """A tiny random GPT-2."""
    return tiny_folder("gpt2")


@pytest.fixture(scope="session")
def llama(tiny_folder: Callable[..., Path]) -> Path:
    """A tiny random Llama."""
    return tiny_folder("llama")


@pytest.fixture(scope="session")
def short_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 documents of random words, 60 to 200 characters long, as JSON lines."""
    return written(tmp_path_factory.mktemp("texts") / "texts.jsonl", "short texts")


@pytest.fixture(scope="session")
def other_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 more, of other words: to calibrate on."""
    return written(tmp_path_factory.mktemp("texts") / "calibration.jsonl", "other texts")


def written(path: Path, name: str) -> Path:
    draw = generator(0, name)
    words = ["".join(draw.choice(list("aeioustrnl"), draw.integers(1, 8))) for _ in range(60)]
    lines = [
        json.dumps({"text": " ".join(draw.choice(words, draw.integers(15, 40)))}) for _ in range(24)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def few_sequences() -> Iterator[None]:
    """Heads are chosen on 3 random sequences and scored on 9, not 9 and 24: of a model that reads
    few tokens besides, those are most of what is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitlens.analyses.heads.analysis.CHOOSING", 3)
        patch.setattr("bitlens.analyses.heads.analysis.SCORING", 9)
        yield


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without PNG and SVG files: drawing them takes longer than all the rest."""
    monkeypatch.setattr("bitlens.report.build.pictures", lambda figure: {})
