"""`bench`: a model and its twins on benchmarks."""

import shlex
import sys
from typing import Any

from bitlens.cli import options
from bitlens.cli.terminal import log, say, show
from bitlens.errors import InputError


@options.with_settings(
    "model to benchmarks out controls limit include_path confirm_run_unsafe_code chat_template "
    "system thinking calibration calibration_tokens context bos seed device dtype compute revision "
    "device_map memory trust_remote_code log",
    also={"log": (options.Log, None)},
)
def bench(
    model: options.Model,
    to: options.To,
    out: options.Out,
    **settings: Any,
) -> None:
    """Ask a model and compressed twins of it the same benchmarks.

    Every question is scored by lm-evaluation-harness, and all models go through depth together.
    The report says which answers flip, whether that is a loss, and at which block.

    \b
    mmlu_cs     MMLU's computer-science subjects, from a folder of CSV files
    gsm8k       GSM8K, from its test split; answered in writing
    humaneval   HumanEval, from its file; runs what is written
    NAME=PATH   the file or folder that holds a benchmark
    NAME        any task of the harness whose data are within reach
    """
    if not settings["benchmarks"]:
        raise InputError(
            "--benchmarks names nothing.",
            "a benchmark, or several with commas between.",
            "--benchmarks mmlu_cs=FOLDER",
        )
    tracker = settings.pop("log")
    study = options.present_study_of(model, to, settings)
    from bitlens.report.benchmarks.page import build
    from bitlens.report.benchmarks.parts import scores_table
    from bitlens.report.benchmarks.sentences import told
    from bitlens.report.benchmarks.shown import visible_benchmarks
    from bitlens.report.trackers.benchmarks import logged_benchmarks
    from bitlens.report.trackers.track import require, track
    from bitlens.workflows.bench.run import run

    if tracker is not None:
        require(tracker)
    command = shlex.join(["bitlens", *sys.argv[1:]])
    found = visible_benchmarks(run(study, out, command, log))
    (name,) = found.models
    show(scores_table(found, name))
    for twin in found.twins(name, control=False):
        for benchmark in found.benchmarks(name):
            change = found.change(name, twin, benchmark)
            if change is not None:
                say(f"- {twin} {told(change)}.")
    page = build(found.root)
    if tracker is not None:
        log(track(logged_benchmarks(found), tracker))
    log(f"Report: {page}")
