"""Tasks of ours are the harness' own, by name and version; what cannot be asked is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bitlens.data.benchmarks import gsm8k, mmlu
from bitlens.demo import model_path
from bitlens.errors import BitlensError, InputError
from bitlens.workflows.bench import harness
from bitlens.workflows.bench.harness import load_tasks, metrics_of
from bitlens.workflows.bench.request import BenchRequest

SAME = (
    *("task", "description", "output_type", "doc_to_text", "doc_to_choice", "doc_to_target"),
    *("metric_list", "generation_kwargs", "filter_list", "num_fewshot"),
)
"""What makes the prompts and the scores."""


def own(name: str) -> dict[str, Any]:
    """The harness' definition, from the files that come with it."""
    import lm_eval
    from lm_eval.tasks._yaml_loader import load_yaml

    (path,) = (Path(lm_eval.__file__).parent / "tasks").glob(name)
    return dict(load_yaml(path, resolve_func=False))


@pytest.mark.slow
def test_ours_are_the_harness_own(tmp_path: Path) -> None:
    """Every setting that makes a prompt or a score, and the version; shots apart, which MMLU has
    none of and which GSM8K takes from the file."""
    for subject in mmlu.SUBJECTS:
        text = "question,A,B,C,D,answer\n What? ,a,b,c,d,2\n"
        (tmp_path / mmlu.file_name(subject)).write_text(text)
    questions = tmp_path / "gsm8k.jsonl"
    questions.write_text('{"question": "1 + 1?", "answer": "#### 2"}\n' * 7)
    for ours in (*mmlu.define(tmp_path), *gsm8k.define(questions)):
        name = ours["task"]
        theirs = own(f"mmlu/default/{name}.yaml" if "mmlu" in name else f"{name}/{name}.yaml")
        for key in SAME:
            if key in theirs:
                assert ours[key] == theirs[key], (name, key)
        assert ours["metadata"]["version"] == theirs["metadata"]["version"]


@pytest.mark.slow
def test_a_prompt_by_hand(tmp_path: Path) -> None:
    """The description, the question without its spaces, letters with a point, and the word before
    the letter; a space before each choice."""
    for subject in mmlu.SUBJECTS:
        text = "question,A,B,C,D,answer\n What? ,a,b,c,d,2\n"
        (tmp_path / mmlu.file_name(subject)).write_text(text)
    tasks = load_tasks(BenchRequest(benchmarks=(f"mmlu_cs={tmp_path}",)))
    assert [task.version for task in tasks] == ["1.0"] * 4
    tasks[0].task.build_all_requests()
    assert [request.args for request in tasks[0].task.instances] == [
        (
            "The following are multiple choice questions (with answers) about college computer "
            "science.\n\nWhat?\nA. a\nB. b\nC. c\nD. d\nAnswer:",
            f" {letter}",
        )
        for letter in "ABCD"
    ]


@pytest.mark.slow
def test_what_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody has, with what it may have meant; a file that is not there; a folder of
    tasks that is none; a task of perplexities."""
    (tmp_path / "quiz.yaml").write_text(
        "task: quiz\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: c\n"
        "doc_to_target: a\ndataset_path: nowhere/nothing\ntest_split: test\n"
    )
    rolling = (tmp_path / "quiz.yaml").read_text().replace("quiz", "roll")
    rolling = rolling.replace("multiple_choice", "loglikelihood_rolling")
    (tmp_path / "roll.yaml").write_text(rolling)
    matthews = (tmp_path / "quiz.yaml").read_text().replace("quiz", "matthews")
    (tmp_path / "matthews.yaml").write_text(f"{matthews}metric_list: [{{metric: mcc}}]\n")
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "c": ["x", "y"], "a": 1}\n')
    # The harness' own files take a quarter of a minute to be listed.
    place = {"include_path": str(tmp_path), "include_defaults": False}
    monkeypatch.setattr("bitlens.workflows.bench.harness._places", lambda path: [place])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for asked, folder, why in (
        ("quizz", tmp_path, "Did you mean quiz"),
        ("quiz=absent.jsonl", tmp_path, "There is no file absent.jsonl"),
        ("quiz", tmp_path / "absent", "There is no folder"),
        (f"roll={tmp_path / 'rows.jsonl'}", tmp_path, "of the kind loglikelihood_rolling"),
        (f"matthews={tmp_path / 'rows.jsonl'}", tmp_path, "matthews has no metric that says"),
        ("quiz", tmp_path, "its data, nowhere/nothing of the hub"),
    ):
        with pytest.raises(BitlensError, match=why):
            load_tasks(BenchRequest(benchmarks=(asked,), include_path=str(folder)))
    twice = (f"quiz={tmp_path / 'rows.jsonl'}",) * 2
    with pytest.raises(BitlensError, match="asked for 2 times"):
        load_tasks(BenchRequest(benchmarks=twice, include_path=str(tmp_path)))


@pytest.mark.parametrize(
    ("scored", "why"),
    [
        ([{"mcc": (0, 1)}, {"acc": 1.0}], "one has no metric"),
        ([{"acc": 1.0}, {"f1": 0.5}], "The tasks of glue are scored differently: acc; f1"),
        ([{"acc": 1.0}, {"acc": 0.0}], None),
    ],
)
def test_what_cannot_be_paired_is_refused_before_it_is_asked(
    scored: list[dict[str, Any]], why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task without a share, and one benchmark of several scores."""
    names = ("one", "two")
    samples = {
        name: [{"filter": "none", "metrics": list(of), **of}]
        for name, of in zip(names, scored, strict=True)
    }
    monkeypatch.setattr(harness, "evaluate", lambda *_, **__: samples)
    monkeypatch.setattr(harness, "_silent", lambda: None)
    tasks = [SimpleNamespace(benchmark="glue", name=name, code=None) for name in names]
    if why is None:
        harness._require_shares(tasks)
    else:
        with pytest.raises(InputError, match=why):
            harness._require_shares(tasks)


def test_metrics_are_shares() -> None:
    """Perplexities and pairs are none; a filter is named where there is one."""
    sample = {"filter": "none", "metrics": ["acc", "perplexity"], "acc": 1, "perplexity": -3.5}
    assert metrics_of([sample]) == ["acc"]
    strict = {"filter": "strict", "metrics": ["exact_match", "f1"], "exact_match": 0.5}
    assert metrics_of([strict | {"f1": (1, 0)}]) == ["exact_match,strict"]


@pytest.mark.slow
def test_a_chat_by_hand(tmp_path: Path) -> None:
    """System prompt and description, the question as a user's message, the words that open an
    answer, and the letter without the space that a text would have before it."""
    from transformers import AutoTokenizer

    from bitlens.data.chats import ChatFormat
    from bitlens.workflows.bench.replay import ReplayLM

    tokenizer = AutoTokenizer.from_pretrained(model_path())
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<answer{{ mood }}>{% endif %}"
    )
    for subject in mmlu.SUBJECTS:
        text = "question,A,B,C,D,answer\n What? ,a,b,c,d,2\n"
        (tmp_path / mmlu.file_name(subject)).write_text(text)
    tasks = load_tasks(BenchRequest(benchmarks=(f"mmlu_cs={tmp_path}",)))[:1]
    lm = ReplayLM(tokenizer, template={"mood": "!"})
    harness.evaluate(lm, tasks, None, ChatFormat(system="Be brief."))
    about = "The following are multiple choice questions (with answers) about"
    context = (
        f"<system>Be brief.\n\n{about} college computer science.\n\n"
        "<user>What?\nA. a\nB. b\nC. c\nD. d\nAnswer:<answer!>"
    )
    assert list(lm.asked) == [(context, letter) for letter in "ABCD"]
