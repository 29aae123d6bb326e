"""A sensitivity run: its numbers are those of audits, and it can be stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.study import Study, audit_of
from bitlens.engine.summation import Summation
from bitlens.engine.wave_size import BATCH_TOKENS
from bitlens.errors import BitlensError
from bitlens.results.sensitivity.folder import Sensitivity, read_run
from bitlens.results.store import Store
from bitlens.workflows.audit.run import run as audit
from bitlens.workflows.sensitivity.run import Request, run

pytestmark = pytest.mark.usefixtures("few_sequences")
COMPRESSION = "rtn:bits=2"


def silent(line: str) -> None:
    pass


def study(model: Path, texts: Path, *compressions: str, **settings: Any) -> Study:
    few = {"text": str(texts), "controls": (), "tokens": 500}
    return audit_of(str(model), compressions or (COMPRESSION,), **few | settings)


def values(store: Store, metric: str) -> dict[str, float]:
    """By compression, one number of the audit."""
    cells = [cell for cell in store.manifest()["cells"] if cell["status"] == "done"]
    return {
        cell["compression"]: value.value
        for cell in cells
        for value in store.read_cell(cell["id"])[1]
        if value.metric == metric and value.value is not None
    }


@pytest.mark.slow
@pytest.mark.parametrize("division", ["block", "kind"])
def test_effects_are_those_of_audits(
    llama: Path, short_texts: Path, tmp_path: Path, division: Any
) -> None:
    """A unit alone is the compression with `include`, all but it the one with `exclude`, to the
    last digit."""
    found = run(
        study(llama, short_texts), Request(division=division), tmp_path / "s", "command", silent
    )
    unit = next(u for u in found.units if u.block == 1 and u.kind in ("block", "mlp.down_proj"))
    names = ",".join(unit.matrices)
    texts = {
        "only": f"{COMPRESSION},include=[{names}]",
        "all but": f"{COMPRESSION},exclude=[{names}]",
        "embedding": f"{COMPRESSION},include=[model.embed_tokens]",
    }
    asked = study(llama, short_texts, COMPRESSION, *texts.values(), analyses=("behaviour",))
    audited = values(audit(asked, tmp_path / "a", "audit", silent), "kl")
    whole = audited[COMPRESSION]
    assert found.of("whole", "kl")[COMPRESSION, ""].value == whole
    only, left = (audited[texts[way]] for way in ("only", "all but"))
    assert found.of("only", "kl")[COMPRESSION, unit.name].value == only
    assert found.of("all but", "kl")[COMPRESSION, unit.name].value == whole - left
    assert found.of("only", "kl")[COMPRESSION, "embedding"].value == audited[texts["embedding"]]
    assert {s.bits for s in found.sizes if s.unit == unit.name} != set()


@pytest.mark.slow
def test_every_embedding_is_compressed_by_itself(
    gpt2: Path, short_texts: Path, tmp_path: Path
) -> None:
    """That of positions is not entered with what the other was made to."""
    found = run(study(gpt2, short_texts), Request(), tmp_path / "s", "command", silent)
    assert found.about["model"]["conv1d"]
    text = f"{COMPRESSION},include=[transformer.wpe]"
    asked = study(gpt2, short_texts, text, analyses=("behaviour",))
    audited = values(audit(asked, tmp_path / "a", "audit", silent), "kl")
    assert found.of("only", "kl")[COMPRESSION, "embedding wpe"].value == audited[text]


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes(
    gpt2: Path, short_texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its first wave, the same command does the rest; and once more, nothing."""
    request = Request(measures=("kl", "heads"))
    asked = study(gpt2, short_texts)
    monkeypatch.setattr("bitlens.engine.wave_size.SECONDS", 0.0)
    monkeypatch.setitem(BATCH_TOKENS, "cpu", 128)
    run(asked, request, tmp_path / "whole", "command", silent)
    waves = Summation._wave
    passed: list[int] = []

    def stopping(self: Summation, *args: Any) -> Iterator[Any]:
        if len(passed) == 2:
            raise KeyboardInterrupt
        passed.append(1)
        yield from waves(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Summation, "_wave", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(asked, request, tmp_path / "stopped", "command", silent)
    assert len(passed) == 2
    run(asked, request, tmp_path / "stopped", "command", silent)
    heard: list[str] = []
    run(asked, request, tmp_path / "stopped", "command", heard.append)
    assert heard[-1].endswith("nothing to compute.")
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "stopped" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_what_a_unit_cannot_reach_it_does_not_change(
    gpt2: Path, short_texts: Path, tmp_path: Path
) -> None:
    """Heads before a block keep their scores: the last block moves fewer than the first, and left
    out it gives back no more than the whole moved."""
    found: Sensitivity = run(
        study(gpt2, short_texts),
        Request(measures=("heads",)),
        tmp_path / "out",
        "command",
        silent,
    )
    effects = found.of("only", "heads")
    last = max(unit.block for unit in found.units if unit.block is not None)
    first, final = (effects[COMPRESSION, f"block {n}"].value for n in (0, last))
    assert first is not None
    assert final is not None
    # What the last block computes moves no score but its own heads'.
    assert 0 < final < first


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused(
    gpt2: Path, short_texts: Path, tmp_path: Path
) -> None:
    """What is there is left as it was."""
    run(study(gpt2, short_texts), Request(), tmp_path / "out", "the first", silent)
    with pytest.raises(BitlensError, match="made by the first"):
        run(study(gpt2, short_texts, "rtn:bits=3"), Request(), tmp_path / "out", "other", silent)
    assert read_run(tmp_path / "out").about["command"] == "the first"


@pytest.mark.parametrize(
    "text",
    [
        "cast:dtype=bfloat16",
        "mixed:*=[rtn:bits=4]",
        "kv:bits=4",
        "rtn:bits=4,exclude=[0.*]",
        "prune:match=[rtn:bits=4]",
    ],
)
def test_what_no_unit_can_have_alone_is_refused(
    gpt2: Path, short_texts: Path, tmp_path: Path, text: str
) -> None:
    """A cast of the whole model, a mixture, rounded keys and values are of no unit."""
    with pytest.raises(BitlensError, match="nothing that a unit can have"):
        run(
            study(gpt2, short_texts, text),
            Request(),
            tmp_path / "out",
            "command",
            silent,
        )
