"""The grid: canonical, strict, and wrong settings said plainly with their place."""

from pathlib import Path

import pytest
import yaml

from bitlens.compression import parse_spec
from bitlens.config.parsing import LARGEST_FILE
from bitlens.config.study import Study, audit_of, load_study, study_of_written
from bitlens.demo import calibration_path, evaluation_path, model_path, sae_paths
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource

SMALL = {"models": ["gpt2"], "compressions": ["rtn:bits=4"]}


def refused(**settings: object) -> BitlensError:
    with pytest.raises(BitlensError) as caught:
        Study.model_validate({**SMALL, **settings})
    return caught.value


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused_file(folder: Path, text: str) -> BitlensError:
    with pytest.raises(BitlensError) as caught:
        load_study(written(folder, text))
    return caught.value


def test_compressions_are_written_canonically():
    """Spaces and settings at their default do not make another compression."""
    study = audit_of("gpt2", ["rtn: bits=4 , symmetric=true", parse_spec("prune:sparsity=0.50")])
    assert study.compressions == ("rtn:bits=4", "prune:sparsity=0.5")


def test_one_compression_is_one_compression():
    """A text is not taken for a list of its letters."""
    assert audit_of("gpt2", "rtn:bits=4").compressions == ("rtn:bits=4",)


def test_defaults_are_what_the_documentation_says():
    """Casts and noise, every analysis, the demo's texts, 65,536 tokens, one seed."""
    study = audit_of("gpt2", "rtn:bits=4")
    assert study.models == (ModelSource("gpt2"),)
    assert study.controls == ("cast", "noise")
    assert {"behaviour", "geometry"} <= set(study.analyses)
    assert (study.text, study.texts) == (None, str(evaluation_path()))
    assert (study.tokens, study.context, study.seeds) == (65_536, None, (0,))


def test_settings_reach_the_model_or_the_study():
    """An audit takes both kinds by name."""
    study = audit_of("gpt2", "rtn:bits=4", dtype="bfloat16", tokens=0, device_map="auto")
    assert study.models == (ModelSource("gpt2", dtype="bfloat16", device_map="auto"),)
    assert study.tokens == 0


def test_a_misspelt_model_setting_of_an_audit_is_guessed():
    """The nearest name may be a setting of the model."""
    with pytest.raises(BitlensError, match="Did you mean device"):
        audit_of("gpt2", "rtn:bits=4", devcie="cpu")


def test_to_dict_is_plain_and_comes_back():
    """Its YAML is the same study."""
    study = audit_of("gpt2", ["rtn:bits=4", "noise:like=[rtn:bits=4]"], seeds=(0, 1), bos="no")
    settings = yaml.safe_load(yaml.safe_dump(study.to_dict()))
    assert settings["text"] is None
    assert Study.model_validate(settings) == study


def test_what_is_embedded_is_called_demo():
    """As a model and as texts; where it is installed stays out of the results."""
    study = audit_of("demo", "rtn:bits=4", text="demo", dtype="bfloat16")
    saes = tuple(map(str, sae_paths()))
    assert study.models == (ModelSource(str(model_path()), dtype="bfloat16", saes=saes),)
    assert study.text == str(evaluation_path())
    settings = study.to_dict()
    assert (settings["models"][0]["name"], settings["text"]) == ("demo", "demo")
    assert Study.model_validate(settings) == study


def test_documents_to_calibrate_on_are_named_as_texts_are(tmp_path: Path):
    """By a file, or demo for those that ship with bitlens; none are the default."""
    path = written(
        tmp_path,
        "models: [gpt2]\ncompressions: ['gptq:bits=4']\n"
        "calibration: mine.jsonl\ncalibration_tokens: 5_000\nallow: [overlap]\n",
    )
    study = load_study(path)
    assert (study.calibration, study.calibration_tokens) == ("mine.jsonl", 5000)
    assert study.allow == ("overlap",)
    assert Study.model_validate(study.to_dict()) == study
    assert audit_of("gpt2", "rtn:bits=4").calibration is None
    embedded = audit_of("gpt2", "gptq:bits=4", calibration="demo")
    assert embedded.calibration == str(calibration_path())
    assert embedded.to_dict()["calibration"] == "demo"
    assert Study.model_validate(embedded.to_dict()) == embedded
    home = audit_of("gpt2", "gptq:bits=4", calibration=f"{Path.home()}/c.txt")
    assert home.to_dict()["calibration"] == "~/c.txt"


ASKING = "models: [gpt2, {name: evil, trust_remote_code: true}]\ncompressions: ['rtn:bits=4']\n"


def test_a_file_cannot_consent_to_run_code(tmp_path: Path):
    """Anybody may have written it: that is for whoever calls, and where nobody asks it is said."""
    path = written(tmp_path, ASKING)
    with pytest.raises(BitlensError, match="asks to run code that comes with evil") as caught:
        load_study(path)
    assert caught.value.remedy == "read that code, then --trust-remote-code."
    study = load_study(path, trust_remote_code=True)
    assert [source.trust_remote_code for source in study.models] == [False, True]
    path = written(tmp_path, "models: [gpt2]\ncompressions: ['rtn:bits=4']\n")
    with pytest.raises(BitlensError, match="names no model that asks for it"):
        load_study(path, trust_remote_code=True)


def test_a_file_cannot_consent_to_run_tasks(tmp_path: Path):
    """A folder of tasks may name Python, and code that models write is code: both are for whoever
    calls."""
    plain = "models: [gpt2]\ncompressions: ['rtn:bits=4']\n"
    path = written(tmp_path, f"{plain}benchmarks: [quiz]\ninclude_path: tasks\n")
    with pytest.raises(BitlensError, match="asks to run code that comes with the tasks in tasks"):
        load_study(path)
    assert load_study(path, trust_remote_code=True).include_path == "tasks"
    path = written(tmp_path, f"{plain}benchmarks: [humaneval]\nconfirm_run_unsafe_code: true\n")
    with pytest.raises(BitlensError, match="asks to run code that models write"):
        load_study(path)
    assert load_study(path, confirm_run_unsafe_code=True).confirm_run_unsafe_code
    with pytest.raises(BitlensError, match="does not ask for it"):
        load_study(written(tmp_path, plain), confirm_run_unsafe_code=True)


def test_settings_of_results_bring_no_benchmarks():
    """Somebody sends them: their tasks are not loaded by whoever reads them."""
    study = audit_of(
        "gpt2",
        "rtn:bits=4",
        benchmarks=("quiz",),
        limit=3,
        include_path="tasks",
        confirm_run_unsafe_code=True,
    )
    back = study_of_written(study.to_dict(), trust_remote_code=False, where="here")
    assert (back.benchmarks, back.limit) == ((), None)
    assert (back.include_path, back.confirm_run_unsafe_code) == (None, False)


def test_to_dict_keeps_home_folders_to_itself():
    """Results are passed on."""
    home = str(Path.home())
    settings = audit_of(f"{home}/model", "rtn:bits=4", text=f"{home}/texts.txt").to_dict()
    assert settings["models"][0]["name"] == "~/model"
    assert settings["text"] == "~/texts.txt"


@pytest.mark.parametrize(
    ("settings", "found", "help"),
    [
        ({"models": []}, "models", "gpt2"),
        ({"compressions": []}, "compressions", "rtn"),
        ({"models": "gpt2"}, "models is 'gpt2'", "a list"),
        ({"models": [3]}, "models[0] is 3", "a name"),
        ({"models": [{"dtype": "auto"}]}, "models[0].name", "gpt2"),
        ({"models": [{"name": "a", "dtyp": "auto"}]}, "models[0].dtyp", "Did you mean dtype"),
        ({"models": [{"name": "a", "dtype": "float31"}]}, "float31", "float32"),
        ({"models": [ModelSource("a", dtype="float31")]}, "float31", "float32"),  # type: ignore[arg-type]
        ({"models": ["a", "a"]}, "a is given twice", "once"),
        ({"compressions": ["rtm:bits=4"]}, "compressions[0]", "Did you mean rtn"),
        ({"compressions": ["rtn:bits=9"]}, "bits is 9", "2 to 8"),
        ({"compressions": ["rtn:bits=4", "rtn: bits=4"]}, "rtn:bits=4 is given twice", "once"),
        ({"controls": ["casts"]}, "controls[0]", "Did you mean cast"),
        ({"analyses": ["behavior"]}, "behavior", "Did you mean behaviour"),
        ({"tokens": -1}, "tokens is -1", "greater"),
        ({"tokens": "many"}, "tokens is 'many'", "integer"),
        ({"tokens": True}, "tokens is True", "integer"),
        ({"calibration": 3}, "calibration is 3", "quotes"),
        ({"calibration_tokens": -1}, "calibration_tokens is -1", "greater"),
        ({"context": 1}, "context is 1", "greater"),
        ({"positions": "contents"}, "contents", "Did you mean content"),
        ({"seeds": []}, "seeds", "[0]"),
        ({"seeds": [-1]}, "seeds[0] is -1", "greater"),
        ({"seeds": [1, 1]}, "1 is given twice", "once"),
        ({"memory": "8"}, "'8'", "8GB"),
        ({"allow": ["identcal"]}, "identcal", "Did you mean identical"),
        ({"allow": ["overlaps"]}, "overlaps", "Did you mean overlap"),
        ({"tokns": 3}, "tokns is not a setting", "Did you mean tokens"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, object], found: str, help: str):
    """The place and the value, and what would have worked."""
    error = refused(**settings)
    assert found in error.found
    assert help in error.expected + error.remedy


def test_a_study_is_frozen():
    """It is what the results were made with."""
    with pytest.raises(ValueError, match="frozen"):
        audit_of("gpt2", "rtn:bits=4").tokens = 3  # type: ignore[misc]


def test_a_file_is_a_study(tmp_path: Path):
    """Models as names or mappings; YAML's yes is a word."""
    path = written(
        tmp_path,
        "models: [gpt2, {name: gpt2, dtype: bfloat16}]\n"
        "compressions:\n- rtn:bits=4,group=64\n- noise:like=[rtn:bits=4]\n"
        "bos: yes\ntokens: 20_000\nseeds: [0, 1]\n",
    )
    study = load_study(path)
    assert study.models == (ModelSource("gpt2"), ModelSource("gpt2", dtype="bfloat16"))
    assert study.compressions == ("rtn:bits=4,group=64", "noise:like=[rtn:bits=4]")
    assert (study.bos, study.tokens, study.seeds) == ("yes", 20_000, (0, 1))


@pytest.mark.parametrize(
    ("text", "place", "help"),
    [
        ("models: [gpt2]\ncompressions:\n- rtn:bits=4\n- rtm\n", "line 4: compressions[1]", "rtn"),
        ("models: [gpt2]\n\ntokens: 3\ncompressions: [rtn]\n", "line 4: compressions[0]", "bits"),
        ("models: [gpt2]\ncompressions: ['rtn:bits=4']\ntokns: 3\n", "line 3: tokns", "tokens"),
        (
            "compressions: ['rtn:bits=4']\nmodels:\n- name: a\n  dtype: float31\n",
            "line 4: models[0].dtype",
            "float32",
        ),
        ("compressions: ['rtn:bits=4']\n", "models is not given", "gpt2"),
        ("models: [a]\ncompressions: [2]\n", "line 2: compressions[0] is 2", "quotes"),
        ("models: [a]\nmodels: [b]\n", "line 1: models is given twice", "leave one out"),
        ("models:\n- {name: a, name: b}\n", "line 2: name is given twice", "leave one out"),
        ("models: [gpt2\n", "is not YAML", "models"),
        ("models: [gpt2]\n---\nmodels: [a]\n", "is not YAML", "models"),
        ("models: !!python/object/apply:os.system [ls]\n", "line 1 is not YAML", "models"),
        ("- gpt2\n", "['gpt2']", "settings with their values"),
        ("", "None", "settings with their values"),
        ("1: 2\n", "{1: 2}", "settings with their values"),
        ("[" * 20_000, "nested too deeply", "settings"),
        ("when: 2020-13-45\n", "is not YAML", "models"),
    ],
)
def test_what_is_wrong_in_a_file_has_its_line(tmp_path: Path, text: str, place: str, help: str):
    """The file, the line where there is one, the setting, and what would have worked."""
    error = refused_file(tmp_path, text)
    assert "study.yaml" in error.found
    assert place in error.found
    assert help in error.expected + error.remedy


def test_aliases_that_multiply_stay_small(tmp_path: Path):
    """A billion names on nine lines are one message."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    error = refused_file(tmp_path, "\n".join([*lines, "models: *a9", "compressions: [rtn]"]))
    assert len(str(error)) < 1000


def test_files_that_cannot_be_a_study_are_refused(tmp_path: Path):
    """Too large, not text, not there."""
    large = written(tmp_path, "#" * (LARGEST_FILE + 1))
    with pytest.raises(BitlensError, match="larger than"):
        load_study(large)
    large.write_bytes(b"models: \xff\xfe")
    with pytest.raises(BitlensError, match="UTF-8"):
        load_study(large)
    with pytest.raises(BitlensError, match=r"Did you mean study\.yaml"):
        load_study(tmp_path / "stdy.yaml")
    with pytest.raises(BitlensError, match="is a folder"):
        load_study(tmp_path)
