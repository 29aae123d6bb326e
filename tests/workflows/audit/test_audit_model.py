"""Which settings make another cell? Every one of a study and of a model, each with its answer."""

import json
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bitlens.config.study import Study
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.results.records import Cell
from bitlens.results.store import Store
from bitlens.workflows.audit import selection
from bitlens.workflows.audit.run import run


@dataclass(frozen=True)
class Answer:
    """Whether another value of a setting makes other cells, and why not if it does not."""

    given: dict[str, Any]
    """The setting's other value; a text `{name}` is the path of that name."""
    analysis: str = "behaviour"
    """Of whose cells it is asked."""
    beside: dict[str, Any] = field(default_factory=dict)
    """Settings of both studies: without them nothing reads the setting."""
    same_because: str = ""
    """Empty where its cells are others."""


GPTQ = {"compressions": ["gptq:bits=4"], "calibration": "{other}"}
WITH_SAE = {"saes": ["{sae}"], "allow": ["poor-fit"]}
CHAT = {"name": "{chat}", "chat_template": True}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}quick{% endif %}"
)

STUDY = {
    "compressions": Answer({"compressions": ["rtn:bits=4"]}),
    "controls": Answer({"controls": ["nothing"]}, same_because="each control has its own cells"),
    "controls_on": Answer({"controls_on": "20"}, same_because="controls have cells of their own"),
    "analyses": Answer(
        {"analyses": ["behaviour", "lens"]}, same_because="each analysis has its own cells"
    ),
    "tasks": Answer(
        {"tasks": ["copying:at=last"]}, "causal", beside={"tasks": ["copying"], "tokens": 300}
    ),
    "text": Answer({"text": "{other}"}),
    "tokens": Answer({"tokens": 900}),
    "until": Answer({"until": "kl:90%"}),
    "calibration": Answer({"calibration": "{third}"}, beside=GPTQ),
    "calibration_tokens": Answer({"calibration_tokens": 600}, beside=GPTQ),
    "labelled": Answer({"labelled": ["code"]}, "probes"),
    "labelled_place": Answer({"labelled_place": "mean"}, "probes"),
    "context": Answer({"context": 24}),
    "bos": Answer({"bos": "yes"}),
    "positions": Answer({"positions": "all"}),
    "categories": Answer({"categories": "depth"}),
    "chat_template": Answer({"chat_template": True}, beside={"name": "{chat}"}),
    "system": Answer({"system": "Be kind."}, beside=CHAT),
    "thinking": Answer({"thinking": "no"}, beside=CHAT),
    "sites": Answer({"sites": ["resid.1"]}, "geometry"),
    "seeds": Answer({"seeds": [1]}),
    "interval": Answer({"interval": "bootstrap"}),
    "memory": Answer({"memory": "8GB"}, same_because="waves change no digit"),
    "allow": Answer({"allow": ["identical"]}, same_because="a refusal that did not happen"),
    "benchmarks": Answer({"benchmarks": ["mmlu_cs"]}, same_because="they lie beside the cells"),
    "limit": Answer({"limit": 3}, same_because="it is of benchmarks"),
    "include_path": Answer({"include_path": "tasks"}, same_because="it is of benchmarks"),
    "confirm_run_unsafe_code": Answer(
        {"confirm_run_unsafe_code": True}, same_because="a refusal that did not happen"
    ),
}
MODEL = {
    "name": Answer({"name": "{gpt2}"}),
    "revision": Answer(
        {"revision": "main"}, same_because="the weights themselves are in it, whatever names them"
    ),
    "dtype": Answer({"dtype": "bfloat16"}),
    "compute": Answer({"compute": "bfloat16"}),
    "device": Answer({"device": "cpu"}, same_because="that is what auto is without a GPU"),
    "device_map": Answer({"device_map": "cpu"}, same_because="it is where it was"),
    "trust_remote_code": Answer(
        {"trust_remote_code": True}, same_because="this model has no code of its own"
    ),
    "saes": Answer({"saes": ["{sae2}"]}, "features", WITH_SAE),
}


def test_every_setting_has_an_answer() -> None:
    """A new setting must say whether it makes other cells."""
    assert {*STUDY, "models"} == set(Study.model_fields)
    assert set(MODEL) == {f.name for f in fields(ModelSource)}


@pytest.fixture(scope="module")
def paths(
    llama: Path,
    gpt2: Path,
    short_texts: Path,
    other_texts: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """What settings name."""
    made = tmp_path_factory.mktemp("named")
    third = made / "third.jsonl"
    lines = other_texts.read_text().splitlines()
    third.write_text("\n".join(lines[::2]) + "\n")
    for n, name in enumerate(("sae", "sae2")):
        draw = torch.Generator().manual_seed(n)
        width = json.loads((llama / "config.json").read_text())["hidden_size"]
        w_dec = torch.nn.functional.normalize(torch.randn(16, width, generator=draw), dim=1)
        (made / name).mkdir()
        tensors = {"W_enc": w_dec.T.contiguous(), "W_dec": w_dec,
                   "b_enc": torch.zeros(16), "b_dec": torch.zeros(width)}  # fmt: skip
        save_file(tensors, made / name / "sae_weights.safetensors")
        config = {"architecture": "standard", "d_in": width, "d_sae": 16,
                  "hook_name": "blocks.1.hook_resid_post"}  # fmt: skip
        (made / name / "cfg.json").write_text(json.dumps(config))
    chat = shutil.copytree(llama, made / "chat")
    (chat / "chat_template.jinja").write_text(TEMPLATE)
    return {
        "chat": str(chat),
        "llama": str(llama),
        "gpt2": str(gpt2),
        "texts": str(short_texts),
        "other": str(other_texts),
        "third": str(third),
        "sae": str(made / "sae"),
        "sae2": str(made / "sae2"),
    }


def placed(value: Any, paths: dict[str, str]) -> Any:
    """A setting with its paths filled in."""
    if isinstance(value, str):
        return value.format(**paths)
    return [placed(one, paths) for one in value] if isinstance(value, list) else value


class Enough(Exception):
    """The cells of a run are known."""


@pytest.fixture
def cells(paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """By analysis, the ids of the cells of a study's twin: those that the run looks for first."""

    def asked(self: Store, cell: Cell) -> bool:
        looked.append(cell)
        return True

    def enough(*_: Any) -> None:
        raise Enough

    monkeypatch.setattr(Store, "has", asked)
    monkeypatch.setattr("bitlens.workflows.audit.run.load_tasks", lambda request: [])
    monkeypatch.setattr("bitlens.workflows.audit.audit_model.check_measurement", enough)
    looked: list[Cell] = []

    def of(settings: dict[str, Any], analysis: str) -> set[str]:
        looked.clear()
        given = {name: placed(value, paths) for name, value in settings.items()}
        source = {name: given.pop(name) for name in MODEL if name in given}
        study = Study.model_validate(
            {
                "models": [{"name": paths["llama"], **source}],
                "compressions": ["rtn:bits=3"],
                "controls": [],
                "analyses": [analysis],
                "text": paths["texts"],
                "tokens": 1500,
                **given,
            }
        )
        with pytest.raises(Enough):
            run(study, tmp_path / "out", "audit", lambda line: None)
        return {c.id for c in looked if c.analysis == analysis and c.compression != "nothing"}

    return of


@pytest.fixture(scope="module")
def unchanged() -> dict[str, set[str]]:
    """The cells of what settings are changed in: most are changed in the same."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STUDY, *MODEL])
def test_another_value_is_another_cell_or_not(
    name: str, cells: Any, unchanged: dict[str, set[str]]
) -> None:
    """The table above holds: what changes numbers changes the cell, what does not, does not."""
    answer = {**STUDY, **MODEL}[name]
    assert name in answer.given
    key = repr((answer.beside, answer.analysis))
    before = unchanged.get(key) or unchanged.setdefault(key, cells(answer.beside, answer.analysis))
    after = cells({**answer.beside, **answer.given}, answer.analysis)
    assert before
    assert after
    if answer.same_because:
        assert before == after, answer.same_because
    else:
        assert not before & after


def test_another_version_of_a_plug_in_is_another_cell(
    cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are not those of the code that made them before."""
    found = [cells({}, "behaviour")]
    for code in ("one", "other"):
        monkeypatch.setattr(
            "bitlens.workflows.audit.cells.foreign_code", lambda of, code=code: {code}
        )
        found.append(cells({}, "behaviour"))
    assert not found[0] & found[1]
    assert not found[1] & found[2]


@pytest.mark.parametrize(
    "compression",
    ["checkpoint:{gpt2}", "noise:like=[checkpoint:{gpt2}]", "rtn:bits=4,group=7"],
)
def test_what_cannot_be_made_is_said_before_saes_are_fitted(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """To read text for them takes long: a checkpoint of another model is opened before."""
    monkeypatch.setattr(selection, "fit_saes", lambda *_, **__: pytest.fail("fitted first"))
    study = Study.model_validate(
        {
            "models": [{"name": paths["llama"], "saes": [paths["sae"]]}],
            "compressions": [compression.format(**paths)],
            "controls": [],
            "text": paths["texts"],
            "analyses": ["features"],
        }
    )
    with pytest.raises(BitlensError, match=r"another|group|gpt2"):
        run(study, tmp_path / "out", "audit", lambda line: None)
