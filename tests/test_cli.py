"""The command line: what it prints, what it leaves behind, and how it refuses."""

import csv
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.main import get_command

from bitlens import cli
from bitlens.demo import model_path, sae_paths
from bitlens.store import Store
from bitlens.study import Study


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def bitlens(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command as the shell would, in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["bitlens", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture(scope="module")
def audited(
    llama: Path, short_texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], str]:
    """An audit of a tiny model: its arguments, the folder last, and what it printed."""
    out = tmp_path_factory.mktemp("cli") / "results"
    arguments = ["audit", llama, "--to", "rtn:bits=4", "--to", "prune:sparsity=0.3"]
    arguments += ["--analyses", "behaviour", "--text", short_texts, "--out", out]
    words = [str(argument) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "bitlens", *words], capture_output=True, text=True, check=True
    )
    return words, done.stdout


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Study, Path, str, bool]]:
    """What would have been run, instead of running it."""
    calls: list[tuple[Study, Path, str, bool]] = []

    def run(study: Study, out: Path, command: str, say: Any, keep_going: bool) -> Store:
        calls.append((study, out, command, keep_going))
        raise KeyboardInterrupt

    monkeypatch.setattr("bitlens.runner.run", run)
    return calls


def test_help_is_quick_and_needs_no_torch():
    """Less than a second of work, and no torch among the modules."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import sys\nfrom bitlens.cli import app\n"
        "try: app(['audit', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(' '.join(set(sys.modules) & {'torch', 'transformers', 'rich'}) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "--to SPEC" in done.stdout
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1


@pytest.mark.parametrize("command", sorted(get_command(cli.app).commands))  # type: ignore[attr-defined]
def test_every_command_explains_itself(bitlens: Command, command: str):
    """Its help says what it does, in full sentences and without a cut."""
    done = bitlens(command, "--help")
    assert done.code == 0
    assert command in bitlens("--help").out
    assert "..." not in bitlens("--help").out.split("Commands:")[1]


def test_an_audit_ends_with_a_table_a_sentence_a_twin_and_the_page(
    audited: tuple[list[str], str],
):
    """And says before it starts what it will cost."""
    words, out = audited
    cost, _, rest = out.partition("\n")
    assert "twins" in cost and "tokens" in cost
    assert re.search(r"^compression +bits +size +perplexity", rest, re.MULTILINE)
    assert "noise:like=[rtn:bits=4] (control)" in rest
    assert re.search(r"^- rtn:bits=4 \(.*mean KL .* nats \[", rest, re.MULTILINE)
    assert re.search(r"^- prune:sparsity=0.3 \(", rest, re.MULTILINE)
    page = Path(rest.strip().splitlines()[-1].removeprefix("Report: "))
    assert page == Path(words[-1]) / "report.html"
    assert page.stat().st_size > 100_000


def test_the_store_says_which_command_made_it(audited: tuple[list[str], str]):
    """To be run again."""
    words, _ = audited
    assert Store.open(words[-1]).manifest()["command"].startswith("bitlens audit ")


def test_the_same_command_again_computes_nothing(audited: tuple[list[str], str], bitlens: Command):
    """The cells stay as they are; the table is printed once more."""
    words, out = audited
    cells = sorted(Path(words[-1]).glob("cells/*/*"))
    before = [path.stat().st_mtime_ns for path in cells]
    done = bitlens(*words)
    assert done.code == 0, done.err
    assert [path.stat().st_mtime_ns for path in cells] == before
    nothing = "tiny-llama: every cell is there already; nothing to compute.\n"
    assert done.out == nothing + out.partition("\n")[2]


def test_a_narrow_terminal_gets_numbers_one_after_the_other(
    audited: tuple[list[str], str],
    bitlens: Command,
    no_pictures: None,
    monkeypatch: pytest.MonkeyPatch,
):
    """Ten columns in eighty characters could not be read."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = re.sub(r"\x1b\[[0-9;]*m", "", bitlens(*audited[0]).out)
    table, _, _ = out.partition("±")
    assert re.search(r"^rtn:bits=4 *\n    bits 4\.\d+, size .* kB, perplexity", out, re.MULTILINE)
    assert max(map(len, table.splitlines())) <= 80


def test_estimates_are_exported(audited: tuple[list[str], str], bitlens: Command, tmp_path: Path):
    """The same rows as CSV, JSON and Parquet; on standard output where it is text."""
    folder = audited[0][-1]
    rows = list(csv.DictReader(io.StringIO(bitlens("export", folder).out)))
    assert json.loads(bitlens("export", folder, "--format", "json").out)[0].keys() == rows[0].keys()
    assert bitlens("export", folder, "--format", "parquet", "--out", tmp_path / "a").code == 0
    assert pq.read_table(tmp_path / "a").num_rows == len(rows) > 50
    refused = bitlens("export", folder, "--out", tmp_path / "a" / "where.csv")
    assert (refused.code, refused.out) == (2, "")
    assert "where.csv cannot be written" in refused.err


def test_a_report_is_written_again(audited: tuple[list[str], str], bitlens: Command):
    """From the store alone."""
    page = Path(audited[0][-1]) / "report.html"
    content = page.read_bytes()
    page.unlink()
    done = bitlens("report", audited[0][-1])
    assert done.out == f"Report: {page}\n"
    assert page.read_bytes() == content


def test_all_options_reach_the_study(bitlens: Command, asked: list[Any], tmp_path: Path):
    """Lists by commas, words and numbers as they are; written with - or _."""
    bitlens(
        *("audit", "gpt2", "--to", "rtn:bits=4", "--to", "prune:sparsity=0.5"),
        *("--controls", "none", "--analyses", "behaviour,geometry", "--text", "t.txt"),
        *("--tokens", 12, "--context", 34, "--bos", "no", "--positions", "all"),
        *("--calibration", "c.txt", "--calibration-tokens", 56),
        *("--sites", "resid.*,attn.0", "--seed", 5, "--interval", "bootstrap"),
        *("--device", "cpu", "--dtype", "bfloat16", "--revision", "v1", "--device_map", "auto"),
        *("--memory", "8GB", "--allow", "identical,overlap,poor-fit", "--trust_remote_code"),
        *("--sae", tmp_path, "--sae", tmp_path.parent, "--out", tmp_path),
    )
    study, out, command, keep_going = asked[0]
    assert study.to_dict() == {
        "models": [
            {
                "name": "gpt2",
                "revision": "v1",
                "dtype": "bfloat16",
                "device": "cpu",
                "device_map": "auto",
                "trust_remote_code": True,
                "saes": [str(tmp_path), str(tmp_path.parent)],
            }
        ],
        "compressions": ["rtn:bits=4", "prune:sparsity=0.5"],
        "controls": [],
        "analyses": ["behaviour", "geometry"],
        "text": "t.txt",
        "tokens": 12,
        "calibration": "c.txt",
        "calibration_tokens": 56,
        "context": 34,
        "bos": "no",
        "positions": "all",
        "sites": ["resid.*", "attn.0"],
        "seeds": [5],
        "interval": "bootstrap",
        "memory": "8GB",
        "allow": ["identical", "overlap", "poor-fit"],
    }
    assert out == tmp_path
    assert command.startswith("bitlens audit gpt2 --to rtn:bits=4 ")
    assert not keep_going


def test_without_options_the_study_has_its_defaults(
    bitlens: Command, asked: list[Any], tmp_path: Path
):
    """The command line adds none of its own."""
    bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--out", tmp_path)
    assert asked[0][0] == Study.model_validate({"models": ["gpt2"], "compressions": ["rtn:bits=4"]})


def test_ctrl_c_is_one_line(bitlens: Command, asked: list[Any], tmp_path: Path):
    """It says that nothing is lost; shells expect 130."""
    done = bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--out", tmp_path)
    assert done == Outcome(
        130,
        "",
        "Stopped. Complete waves and cells are kept; the same command does the rest.\n",
    )


def test_the_demo_audits_the_embedded_model(
    bitlens: Command, no_pictures: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """8, 4 and 3 bits and pruning, each with its control; here on few tokens."""
    monkeypatch.setattr(cli, "DEMO_TOKENS", 2048)
    done = bitlens("demo", "--out", tmp_path / "demo")
    assert done.code == 0, done.err
    for text in ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3", "prune:sparsity=0.3"):
        assert f"\n- {text} (" in done.out
        assert f"noise:like=[{text}] (control)" in done.out
    assert str(model_path()) not in (tmp_path / "demo" / "manifest.json").read_text()


def test_a_twin_is_written_and_shown(
    bitlens: Command, llama: Path, other_texts: Path, tmp_path: Path
):
    """What it was calibrated on, what the whole of it takes, and where it is; beside its
    reference, a row a matrix."""
    words = ["compress", llama, "--with", "gptq:bits=3,group=32", "--calibration", other_texts]
    done = bitlens(*words, "--save", tmp_path / "twin")
    assert done.code == 0, done.err
    first, total, saved = done.out.splitlines()
    assert first.startswith("Calibrating gptq:bits=3,group=32 on 24 documents of calibration.jsonl")
    assert re.fullmatch(
        r"\d+\.\d\d bits per weight over all [\d,]+ parameters, \d+ kB; \d+\.\d% of them changed; "
        r"3\.50 bits per weight over what was compressed\.",
        total,
    )
    assert saved == f"Saved: {tmp_path / 'twin'}"
    shown = bitlens("inspect", llama, "--twin", tmp_path / "twin")
    assert shown.code == 0, shown.err
    assert total.removesuffix(".") in shown.out
    assert re.search(
        r"layers\.0\.mlp\.down_proj +block +gptq:bits=3,group=32 +3\.50 +32 +\S+ kB +\d", shown.out
    )
    alone = bitlens("inspect", llama)
    assert alone.code == 0 and "float32" in alone.out and "gptq" not in alone.out


def test_a_folder_that_is_there_is_not_written_over(bitlens: Command, llama: Path, tmp_path: Path):
    """It is refused before anything is made."""
    (tmp_path / "mine").write_text("mine")
    done = bitlens("compress", llama, "--with", "rtn:bits=4", "--save", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert f"{tmp_path} is there already." in done.err and "another --save" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--with", "rtm:bits=4"], "no compression called 'rtm'"),
        (["--with", "prune:match=[rtn:bits=4]"], "no text to compare on"),
        (["--with", "checkpoint:x"], "is a model already"),
        (["--with", "gptq:bits=4", "--calibration", "nowhere.txt"], "nowhere.txt"),
        (["--with", "rtn:bits=4", "--context", "9999"], "context is 9999"),
    ],
)
def test_what_cannot_be_compressed_leaves_nothing(
    bitlens: Command, llama: Path, tmp_path: Path, words: list[str], found: str
):
    """Three parts, exit code 2, no folder."""
    done = bitlens("compress", llama, *words, "--save", tmp_path / "twin")
    assert done.code == 2 and found in done.err
    assert "Expected: " in done.err and "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_twin_cannot_be_inspected(
    bitlens: Command, llama: Path, gpt2: Path, tmp_path: Path
):
    """Another architecture, and nothing at all."""
    done = bitlens("inspect", llama, "--twin", gpt2)
    assert done.code == 2 and "tiny-gpt2 is a gpt2, tiny-llama a llama." in done.err
    done = bitlens("inspect", llama, "--twin", tmp_path / "none")
    assert done.code == 2 and "There is no folder" in done.err


def test_all_options_reach_the_compression(
    bitlens: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Those of the model and of calibration, and nothing that measures."""
    asked: list[Study] = []

    def save(study: Study, out: Path, say: Any) -> None:
        asked.append(study)
        raise KeyboardInterrupt

    monkeypatch.setattr("bitlens.saving.save", save)
    bitlens(
        *("compress", "gpt2", "--with", "gptq:bits=4", "--save", tmp_path),
        *("--calibration", "c.txt", "--calibration_tokens", 12, "--context", 34, "--bos", "no"),
        *("--seed", 5, "--device", "cpu", "--dtype", "bfloat16", "--revision", "v1"),
        "--trust-remote-code",
    )
    model = {"revision": "v1", "dtype": "bfloat16", "device": "cpu", "trust_remote_code": True}
    assert asked == [
        Study.model_validate(
            {
                "models": [{"name": "gpt2", **model}],
                "compressions": ["gptq:bits=4"],
                "controls": [],
                "calibration": "c.txt",
                "calibration_tokens": 12,
                "context": 34,
                "bos": "no",
                "seeds": [5],
            }
        )
    ]


def test_a_study_goes_on_after_a_failure_and_says_so(
    bitlens: Command, llama: Path, short_texts: Path, no_pictures: None, tmp_path: Path
):
    """What could be measured is there; what could not has its reason; the exit code is 1."""
    path = tmp_path / "study.yaml"
    path.write_text(
        f"models: [{llama}]\ncompressions: ['rtn:bits=4', 'rtn:bits=4,group=7']\n"
        f"controls: []\nanalyses: [behaviour]\ntext: {short_texts}\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "grid")
    assert done.code == 1
    assert "\n- rtn:bits=4 (" in done.out
    assert "rtn:bits=4,group=7: failed." in done.out
    assert "Failed:" in done.err and "does not divide" in done.err
    assert (tmp_path / "grid" / "report.html").exists()


def test_a_study_says_what_to_calibrate_on(
    bitlens: Command, llama: Path, short_texts: Path, no_pictures: None, tmp_path: Path
):
    """And what is allowed: documents that are evaluated too, which its checks then say."""
    path = tmp_path / "study.yaml"
    path.write_text(
        f"models: [{llama}]\ncompressions: ['gptq:bits=4']\ncontrols: []\nanalyses: [behaviour]\n"
        f"text: {short_texts}\ncalibration: {short_texts}\ncalibration_tokens: 500\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "grid")
    assert done.code == 2 and "with the calibration documents" in done.err
    path.write_text(path.read_text() + "allow: [overlap]\n")
    done = bitlens("study", path, "--out", tmp_path / "grid")
    assert done.code == 0, done.err
    checks = {c["name"]: c for c in Store.open(tmp_path / "grid").manifest()["checks"]}
    overlap = checks["calibration and evaluation are apart"]
    assert overlap["passed"] is False and overlap["detail"].endswith("which was allowed")


def test_a_study_is_checked_without_running(bitlens: Command, tmp_path: Path):
    """The grid and the number of its cells; nothing is loaded or written."""
    path = tmp_path / "study.yaml"
    path.write_text(
        "models: [gpt2, nowhere]\ncompressions: ['rtn:bits=4', 'rtn:bits=3', 'rtn:bits=8']\n"
        "analyses: [behaviour]\nseeds: [0, 1]\ntext: a.txt\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "grid", "--check")
    assert done.code == 0
    assert "gpt2, nowhere" in done.out
    for told in ("saes: +none", "text: +a.txt", "tokens: +65,536 at most"):
        assert re.search(told, done.out)
    assert done.out.endswith("12 cells, and those of the controls.\n")
    path.write_text(path.read_text() + "controls: []\ntokens: 0\n")
    done = bitlens("study", path, "--out", tmp_path / "grid", "--check")
    assert done.out.endswith("12 cells.\n") and re.search("tokens: +all", done.out)
    assert not (tmp_path / "grid").exists()


def test_an_sae_that_is_not_there_is_said_before_anything_is_loaded(
    bitlens: Command, asked: list[Any], tmp_path: Path
):
    """By its option, or by its place in the file; with what was probably meant."""
    (tmp_path / "sae-late").mkdir()
    wrong = tmp_path / "sae-latte"
    done = bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--sae", wrong, "--out", tmp_path / "o")
    assert (done.code, asked) == (2, [])
    assert done.err.startswith(f"--sae: there is no folder {wrong}.\nExpected: ")
    assert done.err.endswith("Try: Did you mean sae-late?\n")
    path = tmp_path / "study.yaml"
    path.write_text(
        f"models: [gpt2, {{name: other, saes: [{tmp_path / 'sae-late'}, {wrong}]}}]\n"
        "compressions: ['rtn:bits=4']\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "o", "--check")
    assert done.code == 2
    assert done.err.startswith(f"models[1].saes[1]: there is no folder {wrong}.\n")


def test_saes_are_trained_on_a_model_and_its_twin(
    bitlens: Command, llama: Path, short_texts: Path, tmp_path: Path
):
    """A folder each, which `fit` finds where they belong; a mistake ends with three parts."""
    out = tmp_path / "saes"
    training = ("train-sae", llama, "--site", "resid.0", "--text", short_texts, "--out", out)
    two = ("--on", "reference", "--on", "rtn:bits=8")
    done = bitlens(*training, *two, "--width", "2x,4x", "--k", 8, "--epochs", 40, "--lr", 0.01)
    assert done.code == 0, done.err
    folders = sorted(out.iterdir())
    assert len(folders) == 4 and len(re.findall(r" 40 of 40 *$", done.out, re.M)) == 4
    fitted = bitlens("fit", llama, "--sae", folders[0], "--text", short_texts)
    assert "blocks.0.hook_resid_post = resid.0" in fitted.out
    assert bitlens(*training, "--arch", "standard", "--k", 8).code == 2


def test_saes_that_fit_end_well(bitlens: Command):
    """A table with a verdict each."""
    done = bitlens("fit", "demo", "--tokens", 1500)
    assert done.code == 0
    assert len(re.findall(r"^resid\.\d-topk .* = resid\.\d .*%.* fits *$", done.out, re.M)) == 2


def test_one_that_does_not_fit_ends_with_a_failure(bitlens: Command, tmp_path: Path):
    """The exit code is 1, and the table says where it belongs."""
    shutil.copytree(sae_paths()[0], tmp_path / "wrong")
    config = (tmp_path / "wrong" / "cfg.json").read_text()
    wrong = config.replace("blocks.1.hook_resid_post", "blocks.0.hook_resid_pre")
    (tmp_path / "wrong" / "cfg.json").write_text(wrong)
    done = bitlens("fit", "demo", "--sae", tmp_path / "wrong", "--tokens", 1500)
    assert done.code == 1 and "belongs elsewhere: at resid.1" in done.out


@pytest.mark.parametrize(
    ("sae", "message"),
    [
        ("nowhere", "--sae: there is no folder nowhere."),
        ("release:gpt2-small-res-bj:blocks.8.hook_resid_pre", "Try: Did you mean gpt2-small"),
        ("release:gpt2-small-res-jb", "names no SAE of a release"),
    ],
)
def test_saes_that_are_not_there_are_a_mistake(
    bitlens: Command, monkeypatch: pytest.MonkeyPatch, sae: str, message: str
):
    """Exit code 2, before the model is loaded."""
    monkeypatch.setattr("bitlens.fits.load", lambda *_: pytest.fail("the model was loaded"))
    done = bitlens("fit", "demo", "--sae", sae)
    assert done.code == 2 and message in done.err


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("compressions", ["rtn", "bits", "required", "2 to 8", "noise", "exclude", "restricted"]),
        ("analyses", ["behaviour", "geometry", "cosine"]),
        ("families", ["GPT-2", "gpt_neox", "Qwen3-MoE", "Conv1D"]),
        ("metrics", ["behaviour.kl ", "nats", "higher", "level", "Kullback"]),
    ],
)
def test_lists_say_what_there_is(bitlens: Command, what: str, expected: list[str]):
    """Names with their meaning; a pipe gets whole lines."""
    done = bitlens("list", what)
    assert done.code == 0
    for word in expected:
        assert word in done.out
    assert re.sub(r"\b\w+_p?\d+ … \w+_p?\d+", "", done.out).count("…") == 0


def test_metrics_that_differ_in_a_number_are_one_entry(bitlens: Command):
    """Thresholds and percentiles by their ends; the others in full."""
    out = bitlens("list", "analyses").out
    assert "kl, kl_p50 … kl_p999, kl_max" in out
    assert "induction_kept_10 … induction_kept_90, induction_rank" in out
    assert "l0, alive" in out and "kept_50" not in out


def test_the_doctor_tells_no_secrets(bitlens: Command, monkeypatch: pytest.MonkeyPatch):
    """Versions, machine and the embedded model; of a token only that it is set."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = bitlens("doctor")
    assert done.code == 0
    assert re.search(r"torch: +\d", done.out)
    assert re.search(r"HF_TOKEN: +set", done.out)
    assert re.search(r"HF_HUB_OFFLINE: +1", done.out)
    assert re.search(r"embedded model: +loads", done.out)
    assert "hf_secret" not in done.out + done.err


REFUSALS: list[tuple[list[str], str, str]] = [
    (["--to", "rtm:bits=4"], "no compression called 'rtm'", "Did you mean rtn"),
    (["--to", "rtn:bits=4,gruop=64"], "no setting called 'gruop'", "Did you mean group"),
    (["--to", "rtn:bits=1"], "bits is 1", "2 to 8"),
    (["--to", "rtn:bits=4,group=7"], "group=7 does not divide", "one of"),
    (["--to", "rtn:bits=4", "--analyses", "behavior"], "behavior", "Did you mean behaviour"),
    (["--to", "rtn:bits=4", "--sites", "residd.0"], "no site 'residd.0'", "resid.0"),
    (["--to", "rtn:bits=4", "--text", "nowhere.jsonl"], "nowhere.jsonl", "folder"),
    (["--to", "rtn:bits=4", "--context", "9999"], "context is 9999", "--context"),
    (["--to", "rtn:bits=4", "--memory", "8"], "'8'", "8GB"),
    (["--to", "rtn:bits=4", "--allow", "everything"], "everything", "identical"),
    (["--to", "rtn:bits=4", "--controls", "casts"], "casts", "Did you mean cast"),
    (["--to", "rtn:bits=4", "--dtype", "float31"], "float31", "float32"),
    (["--to", "rtn:bits=4", "--device", "gpu"], "'gpu'", "cuda"),
    (["--to", "rtn:bits=4", "--tokens", "-5"], "tokens is -5", "0"),
    (["--to", "rtn:bits=4,exclude=[*]"], "leave no matrix", "patterns"),
    (["--to", "gptq:bits=4"], "no calibration documents are named", "--calibration FILE"),
    (["--to", "gptq:bits=4", "--calibration", "nowhere.txt"], "nowhere.txt", "folder"),
    (["--to", "gptq:bits=4,include=[embed_tokens]"], "looked up in", "mixed:"),
    (["--to", "rtn:bits=4", "--calibration-tokens", "-5"], "calibration_tokens is -5", "0"),
]


@pytest.mark.parametrize(("options", "found", "help"), REFUSALS, ids=lambda v: str(v)[-40:])
def test_mistakes_get_three_parts(
    bitlens: Command,
    llama: Path,
    short_texts: Path,
    tmp_path: Path,
    options: list[str],
    found: str,
    help: str,
):
    """What was found, what was expected, what to try; exit code 2 and no traceback."""
    text = [] if "--text" in options else ["--text", short_texts]
    done = bitlens("audit", llama, *options, *text, "--out", tmp_path / "out")
    assert done.code == 2
    parts = re.search(r"([^\n]*\n)Expected: ([^\n]+)\nTry: ([^\n]+)\n\Z", done.err)
    assert parts, done.err
    assert found in parts[1]
    assert help in parts[2] + parts[3]
    assert "Traceback" not in done.err


def test_documents_that_are_evaluated_are_not_calibrated_on(
    bitlens: Command, llama: Path, short_texts: Path, no_pictures: None, tmp_path: Path
):
    """Unless that is allowed; then the page says so."""
    words = ["audit", llama, "--to", "gptq:bits=4", "--controls", "none"]
    words += ["--analyses", "behaviour", "--text", short_texts, "--calibration", short_texts]
    done = bitlens(*words, "--out", tmp_path / "out")
    assert (done.code, done.out.count("Report:")) == (2, 0)
    assert "24 of 24 evaluation documents (100%) share a tenth or more" in done.err
    assert "Try: another --calibration FILE or --text, or --allow overlap" in done.err
    done = bitlens(*words, "--allow", "overlap", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "which was allowed" in (tmp_path / "out" / "report.html").read_text()


def no_config(folder: Path, llama: Path) -> Path:
    return folder


def cut_short(folder: Path, llama: Path) -> Path:
    for file in llama.iterdir():
        content = file.read_bytes()
        half = file.suffix == ".safetensors"
        (folder / file.name).write_bytes(content[: len(content) // 2] if half else content)
    return folder


def absent(folder: Path, llama: Path) -> Path:
    return llama.with_name("tiny-lama")


@pytest.mark.parametrize(
    ("make", "help"),
    [(no_config, "config.json"), (cut_short, "safetensors"), (absent, "tiny-llama")],
)
def test_models_that_are_none_are_refused(
    bitlens: Command, llama: Path, tmp_path: Path, make: Callable[..., Path], help: str
):
    """A folder without a model, weights that end too soon, a misspelt path."""
    (tmp_path / "model").mkdir()
    model = make(tmp_path / "model", llama)
    done = bitlens("audit", model, "--to", "rtn:bits=4", "--out", tmp_path / "out")
    assert done.code == 2
    assert str(model) in done.err
    assert help in done.err
    assert "Traceback" not in done.err


def test_folders_that_hold_no_results_are_refused(bitlens: Command, tmp_path: Path):
    """By what reads them, and by what would write over something else."""
    (tmp_path / "mine.txt").write_text("mine")
    for command in (["report", tmp_path], ["export", tmp_path], ["report", tmp_path / "none"]):
        done = bitlens(*command)
        assert done.code == 2
        assert "Expected:" in done.err
    done = bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--out", tmp_path)
    assert done.code == 2
    assert "mine.txt" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_names_do_not_steer_the_terminal(bitlens: Command, tmp_path: Path):
    """Control characters are shown, markup stays text."""
    name = f"{tmp_path}/\x1b[31m[bold]red"
    done = bitlens("audit", name, "--to", "rtn:bits=4", "--out", tmp_path / "out")
    assert done.code == 2
    assert "⟨U+001B⟩[31m[bold]red" in done.err
    assert "\x1b" not in done.err + done.out


@pytest.mark.parametrize("arguments", [["audt"], ["audit"], ["export", "x", "--format", "xls"]])
def test_misuse_of_the_command_line_exits_with_2(bitlens: Command, arguments: list[str]):
    """As every program does; with the usage, without a traceback."""
    done = bitlens(*arguments)
    assert done.code == 2
    assert "Usage:" in done.err
    assert "Traceback" not in done.err


def test_the_module_is_the_command():
    """`python -m bitlens` where the command is not on the path."""
    done = subprocess.run(
        [sys.executable, "-m", "bitlens", "list", "nothing"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 2
    assert "bitlens list" in done.stderr
