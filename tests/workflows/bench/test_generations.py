"""What all models write: the same batches, resumed where they were stopped."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.study import audit_of
from bitlens.errors import CapacityError, InputError
from bitlens.models.generation import Generated, generate
from bitlens.results.records import REFERENCE
from bitlens.workflows.bench import generations
from bitlens.workflows.bench.generations import ROWS, GenerationRequest, Writer
from bitlens.workflows.session import Session

SETTINGS = {"until": ["\n"], "max_gen_toks": 4, "do_sample": False}
TWIN, KV = "rtn:bits=3", "kv"


@pytest.fixture(scope="module")
def session() -> Session:
    """The embedded model, and twins of it."""
    return Session.in_memory(audit_of("demo", [TWIN, KV], controls=()), lambda _: None)


@pytest.fixture(scope="module")
def twins(session: Session) -> dict[str, Any]:
    """By name."""
    return dict(session.twin_builder(apart_from=None).build(session.requests()).twins)


def requests(n: int = ROWS + 2, **settings: object) -> list[GenerationRequest]:
    """Contexts of different lengths."""
    asked = {**SETTINGS, **settings}
    return [GenerationRequest.of(f"x{n} = " + "1 + " * n, asked) for n in range(n)]


def counted(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """How many rows each batch had that was written; after so many batches the run is killed."""
    sizes: list[int] = []
    real: Callable[..., list[Generated]] = generate

    def write(model: Any, tokenizer: Any, contexts: Any, writing: Any) -> list[Generated]:
        if len(sizes) == most:
            raise KeyboardInterrupt
        sizes.append(len(contexts))
        return real(model, tokenizer, contexts, writing)

    monkeypatch.setattr(generations, "generate", write)
    return sizes


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_text(
    session: Session, twins: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches each of the reference and a twin; killed in the third, torn in the second: what
    was there whole is not written again, and all of it is as in one run."""
    own = {TWIN: twins[TWIN]}
    writer = Writer(session, requests(), 64)
    whole = writer.write(own, {}, tmp_path / "whole")
    with monkeypatch.context() as patched:
        assert counted(patched, 2) == []
        with pytest.raises(KeyboardInterrupt):
            writer.write(own, {}, tmp_path / "killed")
    first, second = sorted((tmp_path / "killed").iterdir(), key=lambda path: path.stat().st_size)
    first.write_bytes(first.read_bytes()[:-3])
    assert len(json.loads(second.read_bytes())) == ROWS
    with monkeypatch.context() as patched:
        sizes = counted(patched, 9)
        again = Writer(session, requests(), 64).write(own, {}, tmp_path / "killed")
    assert sizes == [2, ROWS, 2]
    assert again.texts == whole.texts
    assert whole.texts[REFERENCE] != whole.texts[TWIN]
    assert set(whole.texts[TWIN]) == set(requests())
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {path.name for path in (tmp_path / "killed").iterdir()} == names


@pytest.mark.slow
def test_another_twin_of_the_same_name_is_written_anew(
    session: Session, twins: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides about it besides its name is part of what a batch is known by."""
    own, sizes = {TWIN: twins[TWIN]}, counted(monkeypatch, 9)
    writer = Writer(session, requests(2), 64)
    for calibration in ("a", "b", "b"):
        writer.write(own, {TWIN: {"calibration": calibration}}, tmp_path)
    assert sizes == [2, 2, 2]


def test_one_that_is_asked_elsewhere_writes_fewer_texts_together(
    session: Session, twins: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five at once by the reference; three and two by the twin."""
    sizes = counted(monkeypatch, 9)
    Writer(session, requests(5), 64).write({TWIN: twins[TWIN]}, {}, tmp_path, elsewhere=[TWIN])
    assert sizes == [5, 3, 2]


def test_a_twin_that_is_only_swept_stops_no_other(
    session: Session, twins: dict[str, Any], tmp_path: Path
) -> None:
    """Rounded keys and values are in no whole model: why it writes nothing is kept."""
    found = Writer(session, requests(1), 64).write(twins, {}, tmp_path)
    assert set(found.texts) == {REFERENCE, TWIN}
    assert found.failed[KV].startswith("Keys and values are rounded in a sweep only.")


def test_a_budget_beyond_the_model_is_halved_and_told(session: Session) -> None:
    """A model of 64 tokens cannot write 1,024: 32 are left for the question."""
    writer = Writer(session, requests(1, max_gen_toks=1024), 64)
    assert writer.batches[0].writing.most == 32
    assert writer.notes == [
        "The model reads 64 tokens at a time: the budget of an answer is 32 tokens and not 1,024."
    ]
    assert not Writer(session, requests(1), 64).notes


@pytest.mark.parametrize("drawn", [{"do_sample": True}, {"temperature": 0.7}], ids=str)
def test_text_that_is_drawn_is_refused(session: Session, drawn: dict[str, Any]) -> None:
    """Its difference would be the draw's."""
    with pytest.raises(InputError, match="draws its text at random"):
        Writer(session, requests(1, **drawn), 64)


def test_a_model_that_is_read_from_disk_is_refused(session: Session, tmp_path: Path) -> None:
    """Every token needs all of it."""
    loaded = dataclasses.replace(session.loaded, offloaded=True)
    writer = Writer(dataclasses.replace(session, loaded=loaded), requests(1), 64)
    with pytest.raises(CapacityError, match="a whole twin beside it takes"):
        writer.write({}, {}, tmp_path)
