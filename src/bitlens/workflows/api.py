"""What bitlens does when it is called from Python: an audit, and a twin as a model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bitlens.compression.compression import Compression
from bitlens.config.presence import refuse_absent
from bitlens.config.study import DEFAULT, Study, audit_of
from bitlens.data.texts import Documents, documents_of
from bitlens.errors import InputError
from bitlens.models.in_memory import LentModel
from bitlens.report.audit import Audit
from bitlens.report.build import build as build_report
from bitlens.results.counts import count
from bitlens.workflows.audit.run import run
from bitlens.workflows.given import Given
from bitlens.workflows.session import Session

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["audit", "build_report", "twin"]

_SETTINGS = DEFAULT.keys() - {"name", "models", "compressions"}
"""Those of a study of one model, by name: arguments of `audit`, with the same defaults."""
_FIXED = ("revision", "dtype", "device", "device_map")
"""How a model is loaded, which an object was already."""


def audit(
    model: "str | Path | PreTrainedModel",
    to: str | Compression | Iterable[str | Compression],
    out: str | Path,
    *,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    name: str | None = None,
    controls: Sequence[Literal["cast", "noise", "nothing"]] = ("cast", "noise"),
    controls_on: str | None = None,
    analyses: Sequence[str] = (),
    saes: Sequence[str | Path] = (),
    tasks: Sequence[str] = (),
    text: str | Path | Sequence[str] | None = None,
    tokens: int = 65_536,
    until: str | None = None,
    calibration: str | Path | Sequence[str] | None = None,
    calibration_tokens: int = 131_072,
    labelled: Sequence[str] = ("language", "sentiment", "code", "truth"),
    labelled_place: Literal["last", "mean"] = "last",
    context: int | None = None,
    bos: Literal["auto", "yes", "no"] = "auto",
    positions: Literal["content", "all", "last"] = "content",
    categories: str | None = None,
    chat_template: bool = False,
    system: str | None = None,
    thinking: Literal["auto", "yes", "no"] = "auto",
    sites: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    interval: Literal["jackknife", "bootstrap"] = "jackknife",
    memory: str | None = None,
    allow: Sequence[Literal["identical", "overlap", "poor-fit"]] = (),
    benchmarks: Sequence[str] = (),
    limit: int | None = None,
    include_path: str | None = None,
    confirm_run_unsafe_code: bool = False,
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    compute: Literal["auto", "float32", "paired", "bfloat16", "float16"] = "auto",
    device: str = "auto",
    device_map: str | None = None,
    trust_remote_code: bool = False,
    replace: bool = False,
    log: Callable[[str], None] = print,
) -> Audit:
    """What does a model lose under these compressions? Results and report.html in a folder.

    What is in the folder already is not computed again. BitlensError for whatever is unknown,
    absent or impossible.

    Args:
        model: A folder, a hub id, `demo`, or a model of transformers that is loaded already. It is
            read where it lies, not copied, and is afterwards as it was.
        to: The compressions, as text or as objects: `rtn:bits=4,group=64`.
        out: The folder for the results.
        tokenizer: Of a model that is an object: its tokenizer.
        name: What a model that is an object is called; else by what it was loaded from.
        controls: What every twin is compared with: `cast`, `noise`, `nothing`.
        controls_on: On how many documents: `25%` or `100`; None: on all.
        analyses: Which questions are asked; none named: all but those with texts of their own.
        saes: SAEs that were trained on the model: folders, or `release:RELEASE:SAE_ID`.
        tasks: Which tasks `causal` asks of circuits: `ioi`, `greater-than`; none named: all.
        text: What is read: a file, a folder, `hf:owner/name:config:split:column`, or strings, a
            document each. None: the texts that ship with bitlens, which are source code.
        tokens: At most so many tokens; 0: the whole text.
        until: Read documents until a number of every twin is so sure: `kl:5%`; None: read all.
        calibration: Documents that GPTQ, AWQ and their like are calibrated on, apart from the text.
        calibration_tokens: At most so many tokens of calibration; 0: all of it.
        labelled: What probes are trained on: files of JSON lines, or sets that are made.
        labelled_place: What probes read of a text: its `last` token, or the `mean`.
        context: Tokens read at a time; None: as many as the model can, 1,024 at most.
        bos: Whether each window begins with BOS.
        positions: Which positions count: `content` leaves out padding, BOS and the first.
        categories: A field of the text's rows by which results are told apart, or `depth`.
        chat_template: Read texts and chats in the template of the model's tokenizer.
        system: With it, the system prompt.
        thinking: With it, whether the model is to think, where the template has such a switch.
        sites: Where geometry and attention look: `resid.*`; none named: everywhere.
        seeds: Roots of all that is random.
        interval: How intervals are made.
        memory: How much memory to use: `8GB`; None: a share of what is free.
        allow: Refusals to override.
        benchmarks: Tasks of lm-evaluation-harness that all are asked besides: `mmlu_cs=FOLDER`.
        limit: Of every task of these only so many questions; None: all.
        include_path: A folder of benchmarks in the harness' own YAML.
        confirm_run_unsafe_code: Run code that the models write, shut in, where a benchmark asks.
        revision: Of a hub id: branch, tag or commit.
        dtype: How weights are held; `auto`: as they are stored.
        compute: What is computed in.
        device: `cpu`, `cuda`, `cuda:1`; `auto`: a GPU if there is one.
        device_map: Passed to transformers, for several GPUs.
        trust_remote_code: Run code that comes with the model.
        replace: What a run of other settings left in the folder is refused unless this is set.
        log: Takes each line of what is done.
    """
    settings = {key: value for key, value in locals().items() if key in _SETTINGS}
    study, given = _study(model, to, tokenizer, name, settings)
    command = _command("audit", model, {"to": list(study.compressions), "out": str(out)}, settings)
    store = run(study, Path(out), command, log, replace=replace, given=given)
    build_report(store.root)
    return Audit(store)


def twin(
    model: "str | Path | PreTrainedModel",
    to: str | Compression,
    *,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    calibration: str | Path | Sequence[str] | None = None,
    calibration_tokens: int = 131_072,
    context: int | None = None,
    bos: Literal["auto", "yes", "no"] = "auto",
    seed: int = 0,
    memory: str | None = None,
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    log: Callable[[str], None] = print,
) -> "PreTrainedModel":
    """The model after a compression, as an ordinary model of transformers.

    It can be generated with, hooked, or handed to another library; the reference stays as it is.
    Its weights are the dequantized ones, in the reference's dtype, so it is neither smaller nor
    faster. Both lie in memory at once. Arguments are those of `audit`, of one compression and one
    seed. BitlensError for what cannot be made.
    """
    settings = {key: value for key, value in locals().items() if key in _SETTINGS}
    settings |= {"seeds": (seed,), "controls": ()}
    study, given = _study(model, to, tokenizer, None, settings)
    with given.lent():
        built, made = Session.in_memory(study, log, given).build_twin()
        twin_model = made.model()
    (text,) = built.twins
    if made.narrowed:
        log(
            f"What {text} makes of {count(len(made.narrowed), 'matrix')} is rounded to "
            f"{str(twin_model.dtype).removeprefix('torch.')}, as the reference is stored; an audit "
            'does not round it. dtype="float32" keeps it exact.'
        )
    return twin_model


def _study(
    model: Any, to: Any, tokenizer: Any, name: str | None, settings: Mapping[str, Any]
) -> tuple[Study, Given]:
    """What is asked for, checked, and what of it was handed over as objects."""
    plain = dict(settings)
    models, texts = {}, {}
    if isinstance(model, str | Path):
        if tokenizer is not None or name is not None:
            raise InputError(
                f"The model is named, {str(model)!r}, and a tokenizer or a name is given besides.",
                "both only with a model that is an object.",
                "leave them out: a named model comes with its own.",
            )
        model = str(model)
    else:
        lent = LentModel.of(model, tokenizer)
        for key in _FIXED:
            if plain.get(key, DEFAULT[key]) != DEFAULT[key]:
                raise InputError(
                    f"{key} is {plain[key]!r}, and the model is an object.",
                    f"a model that is as it should be: {key} is for one that is loaded by name.",
                    f"leave {key} out.",
                )
        source = lent.source(name)
        model, plain["device"] = source.name, source.device
        models[model] = lent
    for key in ("text", "calibration"):
        if isinstance(plain.get(key), Path):
            plain[key] = str(plain[key])
        elif isinstance(plain.get(key), Iterable) and not isinstance(plain[key], str):
            documents: Documents = documents_of(list(plain[key]))
            plain[key], texts[documents.name] = documents.name, documents
    if "saes" in plain:
        plain["saes"] = tuple(map(str, plain["saes"]))
    to = (to,) if isinstance(to, str | Compression) else to
    study = audit_of(model, to, **plain)
    refuse_absent(study)
    return study, Given(models, texts)


def _command(what: str, model: Any, first: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The call as it may be typed again, but for what was an object: of that, what it was."""
    shown = [repr(str(model)) if isinstance(model, str | Path) else f"<{type(model).__name__}>"]
    for key, value in {**first, **settings}.items():
        if key in first or value != DEFAULT[key]:
            strings = key in ("text", "calibration") and not isinstance(value, str | Path)
            told = f"<{count(len(value), 'string')}>" if strings else repr(_plain(value))
            shown.append(f"{key}={told}")
    return f"bitlens.{what}({', '.join(shown)})"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
