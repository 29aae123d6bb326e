"""Options that several commands have: each written once, with what is said of the setting."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from pathlib import Path
from re import fullmatch
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from bitlens.config.presence import present_audit_of
from bitlens.config.study import DEFAULT, MEANING, Study, audit_of
from bitlens.errors import InputError

if TYPE_CHECKING:
    from bitlens.workflows.given import Given

Command = Callable[..., None]


def count(text: str | int) -> int:
    """`20000`, `20k` or `1M` as a number. BitlensError for what is none."""
    match = fullmatch(r"\s*(-?\d{1,18})\s*([kKmM]?)\s*", str(text).replace("_", ""))
    if match is None:
        raise InputError(
            f"{text} is no number of tokens.", "a whole number, or thousands as 20k.", "20000"
        )
    return int(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()]


Model = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or demo.")]
To = Annotated[
    list[str],
    typer.Option(
        metavar="SPEC",
        help="A compression, rtn:bits=4,group=64, or the YAML file of a plan; once for each. "
        "See bitlens list.",
    ),
]
Results = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that an audit wrote.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The folder to write results to.")]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="Replace what a run of other settings left in the folder of results."
    ),
]
Log = Annotated[
    Literal["wandb", "mlflow", "tensorboard"] | None,
    typer.Option(
        "--log",
        help="Log every twin's numbers, the tables and the page to this tracker, in logs/ of the "
        "results. Nothing is sent, unless the tracker's own settings say so.",
    ),
]
Extent = Literal["short", "verbose", "quiet", "json"]
"""How much of an outcome is printed."""
Verbose = Annotated[bool, typer.Option("--verbose", help="Print every number of the verdict too.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print where the report is, and failures.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the outcome as JSON, and what is said meanwhile on standard error."
    ),
]

PRINTED: dict[str, tuple[Any, Any]] = {
    "verbose": (Verbose, False),
    "quiet": (Quiet, False),
    "json": (Json, False),
}
"""By name, the options of how much is printed, and their defaults."""


ENGINE: dict[str, tuple[Any, Any]] = {
    "engine": (
        Annotated[
            Literal["here", "ray"],
            typer.Option(help="Who sums up: this process, or workers of Ray (pip extra ray)."),
        ],
        "here",
    ),
    "address": (
        Annotated[
            str | None,
            typer.Option(
                metavar="auto|HOST:PORT",
                help="The Ray cluster; without it, one of this machine alone.",
            ),
        ],
        None,
    ),
}
"""By name, the options of who carries out sweeps, and their defaults."""


class EngineAsked(NamedTuple):
    """Who is to carry out sweeps."""

    name: str
    address: str | None = None
    """Of a cluster that runs already."""


HERE = EngineAsked("here")


def engine(given: dict[str, Any]) -> EngineAsked:
    """What these options ask for, which are taken out. InputError for an address that nothing
    needs."""
    asked = EngineAsked(given.pop("engine"), given.pop("address"))
    if asked.name == HERE.name and asked.address is not None:
        raise InputError(
            f"--address {asked.address} without --engine ray.",
            "both, or neither.",
            f"--engine ray --address {asked.address}",
        )
    return asked


@contextmanager
def given(asked: EngineAsked, log: Callable[[str], None]) -> Iterator["Given"]:
    """What carries out sweeps, while they last. BitlensError for a cluster that does not answer."""
    if asked == HERE:
        from bitlens.workflows.given import NOTHING

        yield NOTHING
        return
    from bitlens.workflows.apart.ray_pool import ray_engine

    with ray_engine(asked.address, log) as found:
        yield found


def extent(verbose: bool, quiet: bool, json: bool) -> Extent:
    """How much is printed. InputError where two are asked for at once."""
    asked: list[Extent] = []
    for wanted, name in ((verbose, "verbose"), (quiet, "quiet"), (json, "json")):
        if wanted:
            asked.append(name)  # type: ignore[arg-type]
    if len(asked) > 1:
        raise InputError(
            f"{' and '.join(f'--{name}' for name in asked)} at once.",
            "one of --verbose, --quiet and --json, or none.",
            f"--{asked[0]} alone.",
        )
    return asked[0] if asked else "short"


TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help=MEANING["trust_remote_code"])
]
RunCode = Annotated[
    bool, typer.Option("--confirm-run-unsafe-code", help=MEANING["confirm_run_unsafe_code"])
]
Saes = Annotated[
    list[str],
    typer.Option(
        metavar="DIR",
        help="An SAE trained on this model, a folder or release:RELEASE:SAE_ID; once for each. "
        "For demo, those that ship with bitlens.",
    ),
]


def _option(name: str, kind: Any, metavar: str, **more: Any) -> tuple[Any, Any]:
    """The option of a setting of a study, explained as there, and its default."""
    return Annotated[kind, typer.Option(help=MEANING[name], metavar=metavar, **more)], DEFAULT[name]


def _listed(name: str, metavar: str, default: str = "") -> tuple[Any, Any]:
    """The option of a setting that holds names, written with commas between."""
    return _option(name, str, metavar)[0], default


SETTINGS: dict[str, tuple[Any, Any]] = {
    "controls": _listed("controls", "LIST|none", ",".join(DEFAULT["controls"])),
    "controls_on": _option("controls_on", str | None, "N|SHARE%"),
    "analyses": _listed("analyses", "LIST"),
    "labelled": _listed("labelled", "LIST", ",".join(DEFAULT["labelled"])),
    "labelled_place": _option("labelled_place", str, "last|mean"),
    "tasks": _listed("tasks", "LIST"),
    "text": _option("text", str | None, "SOURCE"),
    "tokens": _option("tokens", int, "N", parser=count),
    "until": _option("until", str | None, "METRIC:SHARE%"),
    "calibration": _option("calibration", str | None, "SOURCE"),
    "calibration_tokens": _option("calibration_tokens", int, "N", parser=count),
    "context": _option("context", int | None, "N"),
    "bos": _option("bos", str, "auto|yes|no"),
    "positions": _option("positions", str, "content|all|last"),
    "categories": _option("categories", str | None, "FIELD"),
    "chat_template": (
        Annotated[bool, typer.Option("--chat-template", help=MEANING["chat_template"])],
        False,
    ),
    "system": _option("system", str | None, "TEXT"),
    "thinking": _option("thinking", str, "auto|yes|no"),
    "sites": _listed("sites", "LIST"),
    "seed": (_option("seeds", int, "S")[0], 0),
    "interval": _option("interval", str, "jackknife|bootstrap"),
    "device": _option("device", str, "D"),
    "dtype": _option("dtype", str, "auto|float32|bfloat16|float16"),
    "compute": _option("compute", str, "auto|float32|paired|bfloat16|float16"),
    "revision": _option("revision", str | None, "R"),
    "device_map": _option("device_map", str | None, "M"),
    "memory": _option("memory", str | None, "SIZE"),
    "allow": _listed("allow", "LIST"),
    "benchmarks": _listed("benchmarks", "LIST"),
    "limit": _option("limit", int | None, "N"),
    "include_path": _option("include_path", str | None, "DIR"),
    "confirm_run_unsafe_code": (RunCode, False),
    "sae": (Saes, []),
    "trust_remote_code": (TrustRemoteCode, False),
}
"""By name, the options of a study's settings and their defaults."""


def with_settings(
    order: str, also: Mapping[str, tuple[Any, Any]] = MappingProxyType({}), **defaults: Any
) -> Callable[[Command], Command]:
    """Let a command that takes `**settings` have options of SETTINGS and `also` others, some with a
    default of its own. `order`: the names of all its parameters as the help lists them."""
    known = {**SETTINGS, **also}

    def add(command: Command) -> Command:
        own = signature(command).parameters
        found = []
        for name in order.split():
            if name in own:
                parameter = own[name].replace(kind=Parameter.KEYWORD_ONLY)
            else:
                kind, default = known[name]
                parameter = Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    default=defaults.get(name, default),
                    annotation=kind,
                )
            found.append(parameter)
        command.__signature__ = Signature(found, return_annotation=None)  # type: ignore[attr-defined]
        return command

    return add


def study_of(model: str, to: Any, settings: dict[str, Any]) -> Study:
    """The study of a model and one compression or several that these options ask for. BitlensError
    for what is unknown or wrong."""
    return audit_of(model, to, **dict(_setting(*option) for option in settings.items()))


def present_study_of(model: str, to: Any, settings: dict[str, Any], option: str = "") -> Study:
    """As `study_of`, and everything that it names is there; `option`: the word that named SAEs."""
    named = dict(_setting(*one) for one in settings.items())
    return present_audit_of(model, to, option, **named)


def _setting(name: str, value: Any) -> tuple[str, Any]:
    """An option as the setting that it stands for."""
    if name == "seed":
        return "seeds", (value,)
    if name == "sae":
        return "saes", tuple(value)
    if name in ("controls", "analyses", "sites", "allow", "benchmarks", "labelled", "tasks"):
        return name, () if name == "controls" and value == "none" else names(value)
    return name, value


def names(text: str) -> tuple[str, ...]:
    """`a,b` as names."""
    return tuple(name.strip() for name in text.split(",")) if text else ()
