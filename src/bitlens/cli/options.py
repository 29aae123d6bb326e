"""Options and arguments that several commands have, and what is said of a setting."""

from pathlib import Path
from re import fullmatch
from typing import Annotated, Any

import typer

from bitlens.config.study import MEANING
from bitlens.errors import BitlensError


def setting(name: str, metavar: str, **more: Any) -> Any:
    """The option of a setting of a study, explained as there."""
    return typer.Option(help=MEANING[name], metavar=metavar, **more)


def count(text: str | int) -> int:
    """`20000`, `20k` or `1M`."""
    match = fullmatch(r"\s*(-?\d{1,18})\s*([kKmM]?)\s*", str(text).replace("_", ""))
    if match is None:
        raise BitlensError(
            f"{text} is no number of tokens.", "a whole number, or thousands as 20k.", "20000"
        )
    return int(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()]


def names(text: str) -> tuple[str, ...]:
    """`a,b` as names."""
    return tuple(name.strip() for name in text.split(",")) if text else ()


Model = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or demo.")]
Results = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that an audit wrote.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The folder to write results to.")]
Saes = Annotated[
    list[str],
    typer.Option(
        metavar="DIR",
        help="An SAE trained on this model, a folder or release:RELEASE:SAE_ID; once for each. "
        "For demo, those that ship with bitlens.",
    ),
]
Text = Annotated[str | None, setting("text", "SOURCE")]
Tokens = Annotated[int, setting("tokens", "N", parser=count)]
Calibration = Annotated[str | None, setting("calibration", "SOURCE")]
CalibrationTokens = Annotated[int, setting("calibration_tokens", "N", parser=count)]
Context = Annotated[int | None, setting("context", "N")]
Bos = Annotated[str, setting("bos", "auto|yes|no")]
Positions = Annotated[str, setting("positions", "content|all|last")]
Seed = Annotated[int, setting("seeds", "S")]
Device = Annotated[str, setting("device", "D")]
Dtype = Annotated[str, setting("dtype", "auto|float32|bfloat16|float16")]
Compute = Annotated[str, setting("compute", "float32|bfloat16|float16")]
Revision = Annotated[str | None, setting("revision", "R")]
Memory = Annotated[str | None, setting("memory", "SIZE")]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="Replace what a run of other settings left in the folder of results."
    ),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help=MEANING["trust_remote_code"])
]
