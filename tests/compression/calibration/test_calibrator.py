"""Calibrated compressions: each made once, found again by all that makes it."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens import registry
from bitlens.compression import parse_spec
from bitlens.compression.calibration.cache import ENVIRONMENT
from bitlens.compression.calibration.calibrator import Calibrator, calibration_jobs
from bitlens.compression.calibration.documents import CalibrationTexts
from bitlens.compression.compression import COMPRESSIONS, Compression
from bitlens.compression.methods.controls import Noise
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, load
from bitlens.models.source import ModelSource
from tests.support import tiny


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept yet."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def loaded(llama: Path) -> Loaded:
    """The tiny model."""
    return load(ModelSource(str(llama)), 1 << 34)


def test_a_twin_is_kept_by_all_that_makes_it(loaded: Loaded) -> None:
    """Other settings, targets, documents or seed, weights or dtype: another folder."""
    layout = Layout(loaded.model)
    documents = tiny.corpus([[20]])

    def folder(
        layout: Layout = layout,
        loaded: Loaded = loaded,
        text: str = "gptq:bits=3",
        targets: tuple[str, ...] = ("a", "b"),
        seed: int = 0,
        documents: Any = documents,
    ) -> Path:
        asked = [(parse_spec(text), targets)]
        return calibration_jobs(layout, loaded, asked, documents, seed=seed)[text].cache.folder

    others = [
        folder(text="gptq:bits=4"),
        folder(targets=("a",)),
        folder(seed=1),
        folder(documents=tiny.corpus([[21]])),
        folder(loaded=replace(loaded, fingerprint="another")),
        folder(layout=tiny.layout("llama", torch.bfloat16)),
    ]
    assert folder() == folder(targets=("b", "a"))
    assert len({folder(), *others}) == len(others) + 1


@pytest.fixture
def calibrator(loaded: Loaded, other_texts: Path) -> Calibrator:
    """Of the tiny model, with nothing to be apart from."""
    return Calibrator(
        loaded=loaded,
        layout=Layout(loaded.model),
        texts=CalibrationTexts(source=str(other_texts), context=40, bos="auto", tokens=400),
        apart_from=None,
        seed=0,
        batch_tokens=64,
        memory=1 << 30,
        log=lambda line: None,
        report=lambda check: None,
    )


def test_one_that_fails_is_handed_back_with_its_reason(calibrator: Calibrator) -> None:
    """And not said to be calibrated when it is in the cache already."""
    said = list[str]()
    calibrator.log = said.append
    names = [name for name, _ in calibrator.layout.matrices()]
    # AWQ cannot take 64 input columns in groups of 48, which a run would have tried before.
    texts = ("awq:bits=4,group=48", "gptq:bits=4")
    asked = {text: (parse_spec(text), names) for text in texts}
    failed = calibrator.calibrate(asked)
    assert failed.keys() == {"awq:bits=4,group=48"}
    assert "does not divide" in str(failed["awq:bits=4,group=48"])
    weights = calibrator.weights("gptq:bits=4")
    assert weights is not None
    assert weights.complete
    del asked["awq:bits=4,group=48"]
    assert calibrator.calibrate(asked) == {}
    assert [line for line in said if line.startswith("Calibrating")] == [said[-1]]
    assert said[-1].startswith("Calibrating awq:bits=4,group=48, gptq:bits=4 on")


PLUG_IN = """
from dataclasses import dataclass
from typing import ClassVar
from bitlens.compression.compression import CompressedMatrix, Compression

@dataclass(frozen=True)
class Mine(Compression):
    name: ClassVar[str] = "mine"
    statistics = frozenset({"mean_square"})

    def compress(self, group):
        return [CompressedMatrix(m.weight.float() * FACTOR, 8.0) for m in group.matrices]
"""


@pytest.fixture
def plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], type[Compression]]:
    """A package of somebody else's, installed in a version that multiplies by this factor."""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "plug_in_of_a_test.py"

    def install(factor: float) -> type[Compression]:
        file.write_text(PLUG_IN.replace("FACTOR", str(factor)))
        importlib.invalidate_caches()
        sys.modules.pop(file.stem, None)
        registry._package.cache_clear()
        found: type[Compression] = importlib.import_module(file.stem).Mine
        monkeypatch.setitem(COMPRESSIONS._classes, "mine", found)
        return found

    return install


def test_the_code_of_a_plug_in_is_part_of_the_key(
    plug_in: Callable[[float], type[Compression]],
) -> None:
    """Another version of its method is another method, also within noise that is like it; ours
    are told by our own code."""
    found = []
    for factor in (0.5, 0.25, 0.5):
        mine = plug_in(factor)()
        found.append(registry.foreign_code(mine))
        assert registry.foreign_code(Noise(like=mine)) == found[-1]
    assert found[0] == found[2] != found[1]
    assert len(found[0]) == 1
    assert registry.foreign_code(parse_spec("noise:like=[gptq:bits=4]")) == set()


def test_a_new_version_of_a_plug_in_does_not_read_what_the_old_one_made(
    calibrator: Calibrator, plug_in: Callable[[float], type[Compression]]
) -> None:
    """Two runs with one command, between which the package was updated: each has the matrices
    of its own version, and the old version finds its own again."""
    names = [name for name, _ in calibrator.layout.matrices()]
    matrix = next(
        m for group in calibrator.layout.maps(0, calibrator.layout.weights(0)) for m in group
    )
    folders = []
    for factor in (0.5, 0.25, 0.5):
        mine = plug_in(factor)()
        assert calibrator.calibrate({"mine": (mine, names)}) == {}
        weights = calibrator.weights("mine")
        assert weights is not None
        (made,) = weights([matrix])
        assert torch.equal(made.weight, matrix.weight * factor)
        folders.append(weights.folder)
    assert folders[0] == folders[2] != folders[1]
