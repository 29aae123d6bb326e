"""`compress` and `inspect`: a twin as a folder, and what is in one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show
from bitlens.config.study_settings import DEMO


@options.with_settings(
    "model with_ save calibration calibration_tokens context bos seed device dtype compute "
    "revision trust_remote_code"
)
def compress(
    model: options.Model,
    with_: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="SPEC",
            help="A compression, gptq:bits=4,group=128, or the YAML file of a plan.",
        ),
    ],
    save: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    **settings: Any,
) -> None:
    """Write a twin as a model folder, and how it was made."""
    settings["calibration"] = settings["calibration"] or (DEMO if model == DEMO else None)
    study = options.present_study_of(model, with_, {"controls": "none", **settings})
    from bitlens.workflows.compress import save as write_folder
    from bitlens.workflows.inspect import stored, summary

    rows = write_folder(study, save, log)
    if rows:
        log(summary(rows))
        log(stored(save))
    log(f"Saved: {save}")


@options.with_settings("model twin device dtype revision trust_remote_code")
def inspect(
    model: options.Model,
    twin: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A checkpoint of it: a folder, a .gguf file, a hub id."),
    ] = None,
    **settings: Any,
) -> None:
    """Show what is in every matrix of a model or a checkpoint."""
    from bitlens.workflows.inspect import checkpoint_at, of_model, of_twin

    to = [checkpoint_at(twin)] if twin else "nothing"
    study = options.present_study_of(model, to, {"controls": "none", **settings})
    show(of_twin(study, log) if twin else of_model(study))
