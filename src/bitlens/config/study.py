"""Study: a grid of models, compressions, analyses and seeds, and how it is measured.

A study comes from Python or from a YAML file; either way every setting is checked before
anything is loaded, and whatever is wrong is a BitlensError that says where.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from re import fullmatch
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bitlens.config.consent import require_confirmation, require_consent
from bitlens.config.field_docs import meanings
from bitlens.config.parsing import Settings, distinct, read_settings, unknown
from bitlens.config.study_settings import (
    DEMO,
    UNREAD,
    Whole,
    benchmark,
    calibrated_on,
    canonical,
    embedded,
    known_tasks,
    measurable,
    named,
    part,
    precise,
    registered,
    source_of,
    word,
)
from bitlens.data.benchmarks.asked import AskedBenchmark
from bitlens.demo import calibration_path, evaluation_path, model_path, sae_paths
from bitlens.errors import InputError
from bitlens.models.source import ModelSource, name_of
from bitlens.results.files.home import with_home, without_home


class Study(Settings):
    """A grid of models x compressions x analyses x seeds, and how it is measured.

    Frozen. Every setting is checked when it is made: BitlensError for what is unknown or wrong.
    """

    models: Annotated[
        tuple[Annotated[ModelSource, BeforeValidator(named), AfterValidator(embedded)], ...],
        AfterValidator(distinct),
    ] = Field(min_length=1, examples=["[gpt2]"])
    """The references: hub ids, folders or demo, the model that ships with bitlens; or mappings of
    name, revision, dtype, compute, device, device_map and trust_remote_code."""
    compressions: Annotated[
        tuple[Annotated[str, BeforeValidator(canonical)], ...], AfterValidator(distinct)
    ] = Field(min_length=1, examples=['["rtn:bits=4,group=64"]'])
    """What the twins are made by, as text: rtn:bits=4,group=64."""
    controls: Annotated[
        tuple[Literal["cast", "noise", "nothing"], ...], AfterValidator(distinct)
    ] = Field(("cast", "noise"), examples=["[cast, noise]"])
    """What every compression is compared with: a cast to 16 bits, weight noise of the same size,
    and nothing, the reference again."""
    controls_on: Annotated[str, AfterValidator(part)] | None = Field(None, examples=["25%"])
    """On how many documents controls are measured, 25% or 100, the first in the order drawn by the
    seed and 20 at least; by default on all. Twins are compared with them on these alone."""
    analyses: Annotated[tuple[str, ...], AfterValidator(registered), AfterValidator(distinct)] = (
        Field((), examples=["[behaviour]"])
    )
    """Which questions are asked; none named: all but those with texts of their own (causal,
    probes)."""
    labelled: Annotated[tuple[str, ...], AfterValidator(distinct)] = Field(
        ("language", "sentiment", "code", "truth"), min_length=1, examples=["[code, mine.jsonl]"]
    )
    """What probes are trained on: files of JSON lines with text and label, or positive and
    negative, FILE=LABEL to say which label a monitor watches for; or sets that are made:
    language, sentiment, code, truth."""
    labelled_place: Literal["last", "mean"] = Field("last", examples=["last"])
    """What probes read of a text: its last token, or the mean over all tokens that count."""
    tasks: Annotated[tuple[str, ...], AfterValidator(known_tasks), AfterValidator(distinct)] = (
        Field((), examples=["[ioi, induction]"])
    )
    """Which tasks causal asks whether circuits still do: ioi, greater-than, docstring, ...
    (docs/circuits.md), or a file of prompts, mine.jsonl; ioi:at=last puts activations in place at
    the last token only, at=marked where the prompts differ. Named, causal is asked; none named, it
    tries all where it is asked."""
    text: Annotated[str, AfterValidator(source_of)] | None = Field(None, examples=["texts.jsonl"])
    """What is read: a file, a folder, hf:owner/name:config:split:column, code-prompts:1000, so many
    beginnings of code, or demo, the texts that ship with bitlens. Where none is named those of demo
    are read, which are source code, and a model that cannot read them is refused."""
    tokens: Whole = Field(65_536, ge=0, examples=[65_536])
    """At most so many tokens, BOS included; 0: the whole text."""
    until: Annotated[str, AfterValidator(precise)] | None = Field(None, examples=["kl:5%"])
    """Read documents, in the order drawn by the seed, until this number of every twin is as sure as
    this: kl:5%, half of its interval is at most 5 % of it; same_top and perplexity_ratio too. All
    intervals then hold wherever a run may stop, and are about half as wide again."""
    calibration: Annotated[str, AfterValidator(calibrated_on)] | None = Field(
        None, examples=["calibration.jsonl"]
    )
    """Documents that GPTQ, AWQ and their like are calibrated on, as text is given; they must be
    apart from it. By default, of the texts that ship with bitlens, those meant for it."""
    calibration_tokens: Whole = Field(131_072, ge=0, examples=[131_072])
    """At most so many tokens of calibration; 0: all of it."""
    context: Whole | None = Field(None, ge=2, examples=[512])
    """Tokens read at a time; by default as many as the model can, 1,024 at most."""
    bos: Annotated[Literal["auto", "yes", "no"], BeforeValidator(word)] = Field(
        "auto", examples=["auto"]
    )
    """Whether each window begins with BOS; auto: as the tokenizer wants it."""
    positions: Literal["content", "all", "last"] = Field("content", examples=["content"])
    """Which positions count. content: no padding, no BOS, no first position; last: the last token
    of each document, of whose prediction behaviour and lens then speak."""
    categories: Annotated[str, Field(min_length=1)] | None = Field(None, examples=["language"])
    """A field of the text's rows by which results are told apart: language, kind. depth: by place
    in the context. Of code-prompts any word gives their seven categories, of a folder its
    subfolders."""
    chat_template: bool = Field(default=False, examples=[True])
    """Read each text as a user's message, and each chat as it is, in the template that comes with
    the model's tokenizer; benchmarks are asked in it too, worked examples as turns of a chat."""
    system: str | None = Field(None, examples=["You are a helpful assistant."])
    """With chat_template, the system prompt."""
    thinking: Annotated[Literal["auto", "yes", "no"], BeforeValidator(word)] = Field(
        "auto", examples=["auto"]
    )
    """With chat_template, whether the model is to think before it answers, where its template
    has such a switch; auto: as the template has it."""
    sites: tuple[str, ...] = Field((), examples=["[resid.*]"])
    """Where geometry and attention look: resid.*, resid.::4 (every fourth block), resid.-2: (the
    last two), attn.3, blocks.6.hook_resid_post, model.layers.6; none named: everywhere."""
    seeds: Annotated[tuple[Annotated[Whole, Field(ge=0)], ...], AfterValidator(distinct)] = Field(
        (0,), min_length=1, examples=["[0]"]
    )
    """Roots of all that is random: samples, shards, noise."""
    interval: Literal["jackknife", "bootstrap"] = Field("jackknife", examples=["jackknife"])
    """How intervals are made: by leaving out shards of documents, or drawing documents again."""
    memory: Annotated[str, AfterValidator(measurable)] | None = Field(None, examples=["8GB"])
    """How much memory to use: 8GB, 512MB, 1.5GiB; by default a share of what is free."""
    allow: tuple[Literal["identical", "overlap", "poor-fit"], ...] = Field(
        (), examples=["[identical]"]
    )
    """Refusals to override. identical: a twin that equals its reference; overlap: calibration
    documents that are evaluated too; poor-fit: an SAE that leaves most of the activations
    unexplained."""
    benchmarks: Annotated[
        tuple[Annotated[str, AfterValidator(benchmark)], ...], AfterValidator(distinct)
    ] = Field((), examples=["[mmlu_cs=mmlu]"])
    """Tasks of lm-evaluation-harness that the model and its twins are asked besides: a name, or
    name=PATH with the file or folder that holds its questions."""
    limit: Whole | None = Field(None, ge=1, examples=[100])
    """Of every task of the benchmarks only so many questions, the first ones; by default all."""
    include_path: str | None = Field(None, examples=["tasks"])
    """A folder of benchmarks in the harness' own YAML."""
    confirm_run_unsafe_code: bool = False
    """Whether code that the models write may be run, for benchmarks that score it: shut in, without
    network or files."""

    @model_validator(mode="after")
    def _of_chats(self) -> Self:
        asked = [*(["system"] if self.system else []), *(["thinking"] * (self.thinking != "auto"))]
        if asked and not self.chat_template:
            raise InputError(
                f"{' and '.join(asked)} without chat_template.",
                "texts read in the model's chat template, which these belong to.",
                "--chat-template, in a study chat_template: true.",
            )
        return self

    @model_validator(mode="after")
    def _with_headline(self) -> Self:
        """An early stop waits for a number that is measured, by intervals that it has."""
        if self.until and not ("behaviour" in self.analyses and self.interval == "jackknife"):
            raise InputError(
                f"until {self.until} with analyses {', '.join(self.analyses)} and "
                f"{self.interval} intervals.",
                "behaviour among the analyses, whose number it is, and jackknife intervals.",
                "--analyses behaviour, and leave --interval out.",
            )
        return self

    @model_validator(mode="after")
    def _with_causal(self) -> Self:
        """Who names tasks asks the analysis that has them."""
        if self.tasks and "causal" not in self.analyses:
            object.__setattr__(self, "analyses", (*self.analyses, "causal"))
        return self

    @property
    def texts(self) -> str:
        """What is read: what was named, else the texts that ship with bitlens."""
        return self.text or str(evaluation_path())

    def to_dict(self) -> dict[str, Any]:
        """Every setting as plain values. Paths are whole, so that they lead there from anywhere,
        and the same on every machine: home folders become `~`."""
        settings = self.model_dump(mode="json")
        if self.text:
            settings["text"] = _public(self.text, evaluation_path())
        if self.calibration:
            settings["calibration"] = _public(self.calibration, calibration_path())
        settings["labelled"] = [_whole(source) for source in settings["labelled"]]
        settings["tasks"] = [_whole(t) if t.endswith(".jsonl") else t for t in settings["tasks"]]
        for model in settings["models"]:
            model["name"] = _public(model["name"], model_path())
            # The embedded model comes with its own again.
            own = [str(path) for path in sae_paths()]
            saes = [] if model["saes"] == own else model["saes"]
            model["saes"] = [_whole(sae) for sae in saes]
        settings["benchmarks"] = [AskedBenchmark.parse(b).at(_whole) for b in self.benchmarks]
        if self.include_path:
            settings["include_path"] = _whole(self.include_path)
        return settings


ASKED_BESIDES = ("benchmarks", "limit", "include_path", "confirm_run_unsafe_code")
"""The settings of benchmarks."""


def study_of_written(settings: Mapping[str, Any], *, trust_remote_code: bool, where: str) -> Study:
    """The study whose settings `Study.to_dict` wrote down, in the folder of results `where`, but
    for its benchmarks: their tasks may be code, and whoever reads results asks none. BitlensError,
    without `trust_remote_code`, for a model that runs its own code."""
    asked = {name: value for name, value in settings.items() if name not in ASKED_BESIDES}
    study = Study.model_validate(_at_home(asked))
    if study.models[0].trust_remote_code:
        require_consent(study, trust_remote_code, where)
    return study


def _at_home(settings: Any) -> Any:
    """Settings with the user's folder where they were written with `~`."""
    if isinstance(settings, Mapping):
        return {name: _at_home(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_at_home(value) for value in settings]
    return with_home(settings) if isinstance(settings, str) else settings


MEANING: dict[str, str] = meanings(ModelSource) | {
    name: " ".join((info.description or "").split()) for name, info in Study.model_fields.items()
}
"""What every setting of a study and of its models means."""
DEFAULT: dict[str, Any] = {field.name: field.default for field in fields(ModelSource)} | {
    name: info.default for name, info in Study.model_fields.items()
}
"""What each is where nobody says."""


def _public(source: str, embedded: Path) -> str:
    """A source without what is this machine's business."""
    return DEMO if source == str(embedded) else _whole(source)


def _whole(source: str) -> str:
    """A path as it leads there from any folder; what is no path here stays as it is."""
    return without_home(os.path.abspath(source) if os.path.exists(source) else source)


def audit_of(model: str, to: Any, **settings: Any) -> Study:
    """The study of one model and one compression or several.

    `settings` are those of a Study and of a ModelSource, by name.
    """
    return Study.model_validate(_asked(model, to, settings), context=_argument)


def unread_audit_of(model: str, **settings: Any) -> Study:
    """As `audit_of`, its compressions not read: their code needs torch, which takes seconds to
    load, and what is wrong elsewhere is said before."""
    asked = _asked(model, (UNREAD,), settings)
    return Study.model_validate(asked, context=_argument)


def _asked(model: str, to: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The values of a study of one model. BitlensError for a setting of another name."""
    known = {field.name for field in fields(ModelSource)} - {"name"}
    allowed = [name for name in Study.model_fields if name not in ("models", "compressions")]
    for name in settings:
        if name not in (*allowed, *known):
            raise unknown(name, name, [*allowed, *sorted(known)])
    source = {name: value for name, value in settings.items() if name in known}
    rest = {name: value for name, value in settings.items() if name not in known}
    compressions = (to,) if isinstance(to, str) else tuple(to)
    compressions = tuple(_of_plan(text, model) for text in compressions)
    return {"models": ({"name": model, **source},), "compressions": compressions, **rest}


def _of_plan(text: Any, model: str) -> Any:
    """The compression of a plan for this model, where the text names its YAML file. InputError
    where it was made for another: its patterns might mean something there too."""
    if not isinstance(text, str) or not fullmatch(r"[^:,[\]]+\.ya?ml", text):
        return text
    from bitlens.config.format_plan import as_mixed, read_plan

    plan, name = read_plan(text), name_of(embedded(ModelSource(model)))
    if plan.model != name:
        raise InputError(
            f"The plan in {text} was made for {plan.model}; the model is {name}.",
            "the model that its effects were measured in.",
            f"bitlens sensitivity and bitlens plan for {name}; or, where the two are the same, the "
            "compression in the first lines of the plan.",
        )
    return as_mixed(plan)


def _argument(location: Sequence[str | int]) -> str:
    """Which argument a setting came from; nothing for a compression, which says it itself."""
    words = [str(step) for step in location if step not in ("models", "compressions")]
    return next((word for word in words if not word.isdigit()), "")


def load_study(
    path: str | Path, trust_remote_code: bool = False, confirm_run_unsafe_code: bool = False
) -> Study:
    """The study in a YAML file: the fields of Study by name, unknown keys and keys given twice
    refused. Paths in it are relative to the folder the command runs in. One that
    asks to run code is refused without `trust_remote_code` (of models, and of a folder of tasks) or
    `confirm_run_unsafe_code` (that models write)."""
    values, where = read_settings(path)
    if "compressions" in values:
        # What is wrong elsewhere is said before torch is loaded, which compressions need.
        Study.model_validate({**values, "compressions": (UNREAD,)}, context=where)
    study = Study.model_validate(values, context=where)
    require_consent(study, trust_remote_code, str(path))
    require_confirmation(study, confirm_run_unsafe_code, str(path))
    return study
