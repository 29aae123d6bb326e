"""A twin as a folder of its own, which an audit takes for the same twin."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from bitlens.config.study import Study, audit_of
from bitlens.errors import BitlensError
from bitlens.models.files import weights_hash
from bitlens.workflows.audit.run import run
from bitlens.workflows.compress import save
from bitlens.workflows.session import Session

TOKENS = torch.arange(4, 16)[None]


def silent(line: str) -> None:
    pass


@pytest.fixture
def study(
    tiny_folder: Callable[..., Path], short_texts: Path, other_texts: Path
) -> Callable[..., Study]:
    """An audit of a tiny model of a family."""
    folders: dict[str, Path] = {}

    def make(text: str, family: str = "llama", **settings: Any) -> Study:
        if family not in folders:
            folders[family] = tiny_folder(family)
        return audit_of(
            str(folders[family]), text, controls=(), analyses=("behaviour", "geometry"),
            text=str(short_texts), calibration=str(other_texts), tokens=600, **settings,
        )  # fmt: skip

    return make


def tables(study: Study, out: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every estimate and every row of the coverage, without the twin's name."""
    store = run(study, out, "audit", silent)
    both = []
    for name in ("estimates", "coverage"):
        rows = pq.read_table(store.root / f"{name}.parquet").to_pylist()
        both.append([{k: v for k, v in row.items() if k != "compression"} for row in rows])
    return both[0], both[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("llama", "rtn:bits=4,group=8"),
        ("llama", "gptq:bits=3"),
        ("llama", "nf4"),
        ("llama", "prune:sparsity=0.5"),
        ("gpt2", "rtn:bits=4,group=8"),
        ("gpt2", "rtn:bits=4,include=[*,wte]"),
        ("qwen3_moe", "gptq:bits=3"),
        ("gpt_oss", "rtn:bits=4,group=8"),
    ],
)
def test_an_audit_of_the_folder_is_one_of_the_twin(
    study: Callable[..., Study], tmp_path: Path, family: str, text: str
) -> None:
    """Every estimate to the last digit, with bits and bytes; every matrix with its error."""
    save(study(text, family), tmp_path / "twin", silent)
    here, table = tables(study(text, family), tmp_path / "here")
    there, other = tables(study(f"checkpoint:{tmp_path / 'twin'}", family), tmp_path / "there")
    assert here == there
    assert len(here) > 100
    for one, two in zip(table, other, strict=True):
        exact = ("module", "kind", "compressed", "bits", "group", "parameters", "bytes", "changed")
        assert {k: one[k] for k in exact} == {k: two[k] for k in exact}
        assert (one["relative_error"] or 0) == pytest.approx(two["relative_error"] or 0, rel=1e-6)


@pytest.mark.slow
def test_of_a_cast_a_folder_keeps_the_weights_alone(
    study: Callable[..., Study], tmp_path: Path
) -> None:
    """Stored in 16 bits it is computed in float32 as everything is: the weights are the cast's,
    and what the cast's own arithmetic does besides is not in it."""
    save(study("cast:dtype=bfloat16"), tmp_path / "twin", silent)
    here, table = tables(study("cast:dtype=bfloat16"), tmp_path / "here")
    there, other = tables(study(f"checkpoint:{tmp_path / 'twin'}"), tmp_path / "there")
    assert [row["changed"] for row in table] == [row["changed"] for row in other]
    kl = [next(row["value"] for row in rows if row["metric"] == "kl") for rows in (there, here)]
    assert 0 < kl[0] < kl[1]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3_moe"])
def test_anything_loads_the_folder(
    study: Callable[..., Study], tmp_path: Path, family: str
) -> None:
    """As an ordinary model, with its tokenizer; its logits are the twin's."""
    wanted = study("gptq:bits=4,group=32", family)
    save(wanted, tmp_path / "twin", silent)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "twin", dtype="auto").eval()
    _, twin = Session.in_memory(wanted, silent).build_twin()
    with torch.no_grad():
        assert torch.equal(model(TOKENS).logits, twin.model().eval()(TOKENS).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "twin").tokenize("ab") == ["a", "b"]
    assert {path.suffix for path in (tmp_path / "twin").iterdir()} <= {".json", ".safetensors"}


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "bitlens.json").read_text(encoding="utf-8"))


def test_the_record_says_how_it_was_made(study: Callable[..., Study], tmp_path: Path) -> None:
    """Of what, by what, on which documents; and what every matrix took."""
    rows = save(study("gptq:bits=3,group=32", seeds=(7,)), tmp_path / "twin", silent)
    made = record(tmp_path / "twin")
    assert made["bitlens"] == version("bitlens")
    assert (made["model"], made["compression"], made["seed"]) == (
        "tiny-llama",
        "gptq:bits=3,group=32",
        7,
    )
    calibration = made["calibration"]
    assert (calibration["name"], calibration["documents"]) == ("calibration.jsonl", 24)
    assert len(calibration["sha256"]) == 64
    assert calibration["tokens"] > 1000
    assert made["matrices"] == {
        row.module: {"bits": 3.5, "group": 32, "note": ""} for row in rows if row.kind == "block"
    }
    assert made["inputs_rounded"] == []
    assert made["weights"] == weights_hash(tmp_path / "twin")
    assert str(Path.home()) not in (tmp_path / "twin" / "bitlens.json").read_text()


def test_without_calibration_the_record_names_none(
    study: Callable[..., Study], tmp_path: Path
) -> None:
    save(study("rtn:bits=4"), tmp_path / "twin", silent)
    assert record(tmp_path / "twin")["calibration"] is None


@pytest.mark.parametrize("text", ["smoothquant", "int8"])
def test_what_a_folder_cannot_hold_is_said(
    study: Callable[..., Study], tmp_path: Path, text: str
) -> None:
    """That inputs are rounded too; the record lists the matrices, the model does without."""
    said: list[str] = []
    save(study(text), tmp_path / "twin", said.append)
    assert said[-1].startswith(
        "An ordinary folder holds weights only. That the inputs of 21 matrices are rounded too "
        "stands in bitlens.json"
    )
    rounded = record(tmp_path / "twin")["inputs_rounded"]
    assert len(rounded) == 21
    assert set(rounded) == record(tmp_path / "twin")["matrices"].keys()


def test_experts_with_rounded_inputs_are_saved(study: Callable[..., Study], tmp_path: Path) -> None:
    """Their rounding cannot be put into a whole model, and need not be."""
    save(study("int8", "qwen3_moe"), tmp_path / "twin", silent)
    assert any("experts" in name for name in record(tmp_path / "twin")["inputs_rounded"])


@pytest.mark.parametrize("text", ["nothing", "cast:dtype=bfloat16", "rtn:bits=4,include=[lm_head]"])
def test_a_copy_is_not_written(study: Callable[..., Study], tmp_path: Path, text: str) -> None:
    """Nothing, a cast to what it is already, rounding of what is on the grid: none would differ."""
    folder = Path(study(text).models[0].name)
    if text != "nothing":
        save(study(text), tmp_path / "once", silent)
        folder = tmp_path / "once"
    with pytest.raises(BitlensError, match="the folder would be a copy") as caught:
        save(audit_of(str(folder), text, controls=()), tmp_path / "twin", silent)
    assert caught.value.found.startswith(f"{text} changes no weight of {folder.name}:")
    assert not (tmp_path / "twin").exists()


def test_half_the_size_is_no_copy(study: Callable[..., Study], tmp_path: Path) -> None:
    """Weights that bfloat16 holds exactly do not change, and take half as much."""
    save(study("cast:dtype=bfloat16"), tmp_path / "half", silent)
    wide = audit_of(str(tmp_path / "half"), "cast:dtype=bfloat16", controls=(), dtype="float32")
    rows = save(wide, tmp_path / "again", silent)
    assert not any(row.changed for row in rows)
    assert weights_hash(tmp_path / "half") == weights_hash(tmp_path / "again")


def test_a_folder_in_16_bits_rounds_and_says_so(
    study: Callable[..., Study], tmp_path: Path
) -> None:
    """What a compression makes of weights in 16 bits is more exact than they are: the folder holds
    it rounded, its record names the matrices, and float32 keeps it."""
    save(study("cast:dtype=bfloat16"), tmp_path / "half", silent)
    said: list[str] = []
    for dtype in ("auto", "float32"):
        settings: dict[str, Any] = {"controls": (), "dtype": dtype}
        rounding = audit_of(str(tmp_path / "half"), "rtn:bits=4,group=8", **settings)
        save(rounding, tmp_path / dtype, said.append)
    stored = [record(tmp_path / dtype)["stored"] for dtype in ("auto", "float32")]
    assert [one["dtype"] for one in stored] == ["bfloat16", "float32"]
    assert len(stored[0]["rounded to it"]) == 3 * 7
    assert not stored[1]["rounded to it"]
    (line,) = (line for line in said if "is rounded to that" in line)
    assert "stored in bfloat16" in line
    assert "21 matrices" in line
    narrow, wide = (
        AutoModelForCausalLM.from_pretrained(tmp_path / d).state_dict() for d in ("auto", "float32")
    )
    assert all(torch.equal(narrow[n], wide[n].bfloat16()) for n in narrow)


@pytest.mark.parametrize("there", ["file", "full"])
def test_what_is_there_stays(study: Callable[..., Study], tmp_path: Path, there: str) -> None:
    """A file, or a folder with something in it, is refused before anything is loaded."""
    out = tmp_path / "twin"
    if there == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    with pytest.raises(BitlensError, match="is there already"):
        save(study("rtn:bits=4"), out, silent)
    assert (out if there == "file" else out / "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["twin"]


def test_an_empty_folder_is_filled(
    study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one the command runs in, too; and folders above a new one are made."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    save(study("rtn:bits=4"), Path(), silent)
    assert (tmp_path / "here" / "bitlens.json").is_file()
    save(study("rtn:bits=4"), tmp_path / "a" / "b" / "twin", silent)
    assert (tmp_path / "a" / "b" / "twin" / "bitlens.json").is_file()


@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_left_of_a_failure(
    study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Whether the compression cannot be made or the disk is full half way."""
    text, reason = ("rtn:bits=4", "No space left") if late else ("rtn:bits=4,group=7", "divide")
    wanted = study(text)
    if late:

        def full(self: PreTrainedModel, folder: Path) -> None:
            (folder / "model.safetensors").write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(BitlensError, match=reason):
        save(wanted, tmp_path / "a" / "twin", silent)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_first(
    study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is loaded: calibration may take hours."""
    (tmp_path / "file").write_text("mine")

    def never(*arguments: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("bitlens.workflows.session.load", never)
    with pytest.raises(BitlensError, match="cannot be written: Not a directory") as caught:
        save(study("rtn:bits=4"), tmp_path / "file" / "twin", silent)
    assert caught.value.remedy == "another --save."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("prune:match=[rtn:bits=4]", "no text to compare on"),
        ("checkpoint:somewhere", "checkpoint:somewhere is a model already"),
    ],
)
def test_what_cannot_be_saved(
    study: Callable[..., Study], tmp_path: Path, text: str, found: str
) -> None:
    """A sparsity that only an audit can find; a model that is on disk already."""
    with pytest.raises(BitlensError, match=found):
        save(study(text), tmp_path / "twin", silent)
    assert not (tmp_path / "twin").exists()
