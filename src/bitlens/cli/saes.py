"""`fit`, `repair`, `train-sae` and `align`: SAEs before, after and between compressions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitlens.cli import options
from bitlens.cli.terminal import log, show

if TYPE_CHECKING:
    from bitlens.config.sae_grid import SaeGrid

FIT_TOKENS = 16_384
"""Enough for a latent that fires at one position in a thousand to be seen alive."""
TRAINING_TOKENS = 1_000_000
"""Ten for each of 100,000 latents."""


GRID: dict[str, tuple[Any, Any]] = {
    "arch": (
        Annotated[
            Literal[
                "standard", "topk", "batchtopk", "gated", "jumprelu", "seed-plain", "seed-gated"
            ],
            typer.Option(
                help="The architecture; those of seeds are of earlier studies, faults included."
            ),
        ],
        "topk",
    ),
    "width": (
        Annotated[
            str,
            typer.Option(
                metavar="LIST", help="Times the model's width, 0.5x,8x, or latents, 4096."
            ),
        ],
        "8x",
    ),
    "l1": (
        Annotated[
            str | None,
            typer.Option(
                "--l1",
                metavar="LIST",
                help="What firing costs: the sum of codes, for jumprelu each latent.",
            ),
        ],
        None,
    ),
    "k": (
        Annotated[
            str | None,
            typer.Option("--k", metavar="LIST", help="topk, batchtopk: latents at a position; 32."),
        ],
        None,
    ),
    "lr": (Annotated[float | None, typer.Option(metavar="R", help="The learning rate.")], None),
    "epochs": (Annotated[int, typer.Option(metavar="N", help="Passes over the activations.")], 5),
    "schedule": (
        Annotated[
            Literal["constant", "cosine", "linear"] | None,
            typer.Option(help="The rate after its warm-up; linear: down over the last 30 %."),
        ],
        None,
    ),
    "patience": (
        Annotated[
            int,
            typer.Option(
                metavar="N", help="Looks of 20 without gain that end training; 0: none do."
            ),
        ],
        0,
    ),
    "held_out": (
        Annotated[float, typer.Option(metavar="SHARE", help="Documents not learnt from.")],
        0.1,
    ),
    "seed": (
        Annotated[str, typer.Option(metavar="LIST", help="Seeds of the training: 0,1.")],
        "0",
    ),
}
"""By name, the options of `train-sae` that say which SAEs, and their defaults."""


@options.with_settings(
    "model sae text tokens context bos device dtype compute revision trust_remote_code",
    tokens=FIT_TOKENS,
)
def fit(model: options.Model, **settings: Any) -> None:
    """Show whether SAEs fit a model.

    By the variance they leave unexplained, beside what was published; where one does not fit,
    whether it belongs elsewhere. The exit code is then 1.
    """
    study = options.present_study_of(model, "nothing", {"controls": "none", **settings}, "--sae")
    from bitlens.workflows.check_sae import check_saes

    found, good = check_saes(study, log)
    show(found)
    if not good:
        raise typer.Exit(1)


@options.with_settings(
    "results twin sae out calibration calibration_tokens finetune trust_remote_code"
)
def repair(
    results: options.Results,
    twin: Annotated[str, typer.Option(metavar="SPEC", help="Which of its twins, rtn:bits=3.")],
    sae: Annotated[
        str, typer.Option(metavar="DIR", help="An SAE of its model, or release:RELEASE:SAE_ID.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write the SAE to.")],
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the encoder too; takes minutes.")
    ] = False,
    **settings: Any,
) -> None:
    """Adapt an SAE to a twin and show what that repairs.

    On calibration documents; measured on the text of the results. Writes a SAELens folder.
    """
    from bitlens.workflows.repair_sae import RepairRequest, repair_run

    request = RepairRequest(results=results, twin=twin, sae=sae, finetune=finetune, **settings)
    show(repair_run(request, out, log))
    log(f"Saved: {out}")


@options.with_settings(
    "model out site on arch width l1 k lr epochs schedule patience held_out seed text tokens "
    "calibration calibration_tokens context bos positions device dtype compute revision memory "
    "trust_remote_code engine address",
    also=GRID | options.ENGINE,
    tokens=TRAINING_TOKENS,
)
def train_sae(
    model: options.Model,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write the SAEs to.")],
    site: Annotated[str, typer.Option(metavar="SITE", help="Where: resid.6, mlp.3.")],
    on: Annotated[
        list[str],
        typer.Option(
            metavar="SPEC",
            help="A compression to train on, gptq:bits=4; once for each. reference, and without "
            "it: the model as it is.",
        ),
    ] = [],  # noqa: B006
    **chosen: Any,
) -> None:
    """Train SAEs on a model, compressed or not.

    Lists of widths, penalties and seeds make a folder each, trained in one pass. Writes SAELens
    folders. The same command again goes on where it stopped.
    """
    grid = _grid(site, {name: chosen.pop(name) for name in GRID})
    compressions = [spec for spec in on if spec != "reference"]
    engine = options.engine(chosen)
    chosen["controls"] = "none"
    study = options.present_study_of(model, compressions or "nothing", chosen)
    from bitlens.workflows.train_sae.run import train_saes

    with options.given(engine, log) as given:
        show(train_saes(study, on, grid, out, log, given))
    log(f"Saved: {out}")


def _grid(site: str, chosen: dict[str, Any]) -> "SaeGrid":
    """The SAEs that these options of GRID ask for."""
    from bitlens.config.sae_grid import SaeGrid, listed

    l1, k = chosen["l1"], chosen["k"]
    return SaeGrid(
        site=site,
        architecture=chosen["arch"],
        widths=listed(chosen["width"], str, "--width"),
        penalties=() if l1 is None else listed(l1, float, "--l1"),
        ks=() if k is None else listed(k, int, "--k"),
        seeds=listed(chosen["seed"], int, "--seed"),
        rate=chosen["lr"],
        **{name: chosen[name] for name in ("epochs", "schedule", "patience", "held_out")},
    )


def align(
    first: Annotated[
        list[str], typer.Option(metavar="DIR", help="An SAE of one precision; once for each seed.")
    ],
    second: Annotated[
        list[str],
        typer.Option(metavar="DIR", help="One of the other precision, for each --first."),
    ],
    ceiling: Annotated[
        list[str],
        typer.Option(
            metavar="DIR", help="The first precision trained from another seed, for each --first."
        ),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Where to write all of it.")
    ] = None,
) -> None:
    """Compare SAEs of two precisions by their directions.

    No text is read. Every number stands between chance and what another seed changes.
    """
    from dataclasses import asdict

    from bitlens.results.files.writing import write
    from bitlens.results.records import to_json
    from bitlens.workflows.align_saes import align_folders, table

    found = align_folders(first, second, ceiling)
    if out is not None:
        write(out, f"{to_json(asdict(found), indent=1)}\n".encode())
    show(table(found))
