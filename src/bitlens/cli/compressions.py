"""`compress` and `inspect`: a twin as a folder, and what is in one."""

from pathlib import Path
from typing import Annotated

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show
from bitlens.config.study import DEFAULT, DEMO, audit_of, refuse_absent


def compress(
    model: options.Model,
    with_: Annotated[
        str, typer.Option("--with", metavar="SPEC", help="A compression, gptq:bits=4,group=128.")
    ],
    save: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    calibration: options.Calibration = None,
    calibration_tokens: options.CalibrationTokens = DEFAULT["calibration_tokens"],
    context: options.Context = None,
    bos: options.Bos = DEFAULT["bos"],
    seed: options.Seed = 0,
    device: options.Device = DEFAULT["device"],
    dtype: options.Dtype = DEFAULT["dtype"],
    compute: options.Compute = DEFAULT["compute"],
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Write a twin as a model folder, and how it was made."""
    from bitlens.workflows.compress import save as write_folder
    from bitlens.workflows.inspect import summary

    study = audit_of(
        model,
        with_,
        controls=(),
        calibration=calibration or (DEMO if model == DEMO else None),
        calibration_tokens=calibration_tokens,
        context=context,
        bos=bos,
        seeds=(seed,),
        revision=revision,
        dtype=dtype,
        compute=compute,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    refuse_absent(study)
    rows = write_folder(study, save, log)
    if rows:
        log(summary(rows))
    log(f"Saved: {save}")


def inspect(
    model: options.Model,
    twin: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A checkpoint of it: a folder, a .gguf file, a hub id."),
    ] = None,
    device: options.Device = DEFAULT["device"],
    dtype: options.Dtype = DEFAULT["dtype"],
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Show what is in every matrix of a model or a checkpoint."""
    from bitlens.workflows.inspect import checkpoint_at, of_model, of_twin

    study = audit_of(
        model,
        [checkpoint_at(twin)] if twin else "nothing",
        controls=(),
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    refuse_absent(study)
    show(of_twin(study, log) if twin else of_model(study))
