"""The command line: parse, call, print. What it starts is imported when it is started."""

import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitlens.errors import BitlensError
from bitlens.meanings import meanings
from bitlens.models.source import ModelSource
from bitlens.study import DEMO, Study, audit_of, load_study, refuse_absent_saes

if TYPE_CHECKING:
    from bitlens.report.parts import Table

app = typer.Typer(
    help="What of a language model's interpretable structure survives compression, where does "
    "it break, and how sure are we?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)

DEMO_COMPRESSIONS = ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3", "prune:sparsity=0.3")
FIT_TOKENS = 16_384
"""Enough for a latent that fires at one position in a thousand to be seen alive."""
TRAINING_TOKENS = 1_000_000
"""Ten for each of 100,000 latents."""
DEMO_TOKENS = 32_768
"""Enough to part the demo's compressions, few enough for two minutes on two cores."""
INTERRUPTED = 130
"""What a shell expects of a program that was stopped by Ctrl-C."""

MEANING = meanings(ModelSource) | {
    name: " ".join((info.description or "").split()) for name, info in Study.model_fields.items()
}
DEFAULT: dict[str, Any] = {field.name: field.default for field in fields(ModelSource)} | {
    name: info.default for name, info in Study.model_fields.items()
}


def _setting(name: str, metavar: str) -> Any:
    return typer.Option(help=MEANING[name], metavar=metavar)


Out = Annotated[Path, typer.Option(metavar="DIR", help="The folder to write results to.")]
Results = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that an audit wrote.")]
Saes = Annotated[
    list[str],
    typer.Option(
        metavar="DIR",
        help="An SAE trained on this model, a folder or release:RELEASE:SAE_ID; once for each. "
        "For demo, those that ship with bitlens.",
    ),
]


@app.command()
def demo(out: Out = Path("bitlens-demo")) -> None:
    """Audit the small model that comes with bitlens."""
    _carry_out(audit_of(DEMO, DEMO_COMPRESSIONS, tokens=DEMO_TOKENS), out)


@app.command()
def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder, a hub id, or demo, the model that ships with bitlens."
        ),
    ],
    to: Annotated[
        list[str],
        typer.Option(
            metavar="SPEC",
            help="A compression, rtn:bits=4,group=64; once for each. See bitlens list.",
        ),
    ],
    out: Out,
    controls: Annotated[str, _setting("controls", "LIST|none")] = ",".join(DEFAULT["controls"]),
    analyses: Annotated[str, _setting("analyses", "LIST")] = "",
    text: Annotated[str, _setting("text", "SOURCE")] = DEFAULT["text"],
    tokens: Annotated[int, _setting("tokens", "N")] = DEFAULT["tokens"],
    calibration: Annotated[str | None, _setting("calibration", "SOURCE")] = None,
    calibration_tokens: Annotated[int, _setting("calibration_tokens", "N")] = DEFAULT[
        "calibration_tokens"
    ],
    context: Annotated[int | None, _setting("context", "N")] = None,
    bos: Annotated[str, _setting("bos", "auto|yes|no")] = DEFAULT["bos"],
    positions: Annotated[str, _setting("positions", "content|all|last")] = DEFAULT["positions"],
    sites: Annotated[str, _setting("sites", "LIST")] = "",
    seed: Annotated[int, _setting("seeds", "S")] = 0,
    interval: Annotated[str, _setting("interval", "jackknife|bootstrap")] = DEFAULT["interval"],
    device: Annotated[str, _setting("device", "D")] = DEFAULT["device"],
    dtype: Annotated[str, _setting("dtype", "auto|float32|bfloat16|float16")] = DEFAULT["dtype"],
    revision: Annotated[str | None, _setting("revision", "R")] = None,
    device_map: Annotated[str | None, _setting("device_map", "M")] = None,
    memory: Annotated[str | None, _setting("memory", "SIZE")] = None,
    allow: Annotated[str, _setting("allow", "LIST")] = "",
    sae: Saes = [],  # noqa: B006
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help=MEANING["trust_remote_code"])
    ] = False,
) -> None:
    """Compare a model with compressed twins of it.

    Writes results and report.html. The same command again computes only what is missing.
    """
    study = audit_of(
        model,
        to,
        controls=() if controls == "none" else _names(controls),
        analyses=_names(analyses),
        text=text,
        tokens=tokens,
        calibration=calibration,
        calibration_tokens=calibration_tokens,
        context=context,
        bos=bos,
        positions=positions,
        sites=_names(sites),
        seeds=(seed,),
        interval=interval,
        memory=memory,
        allow=_names(allow),
        revision=revision,
        dtype=dtype,
        device=device,
        device_map=device_map,
        saes=tuple(sae),
        trust_remote_code=trust_remote_code,
    )
    refuse_absent_saes(study, "--sae")
    _carry_out(study, out)


@app.command()
def compress(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or demo.")],
    with_: Annotated[
        str, typer.Option("--with", metavar="SPEC", help="A compression, gptq:bits=4,group=128.")
    ],
    save: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    calibration: Annotated[str | None, _setting("calibration", "SOURCE")] = None,
    calibration_tokens: Annotated[int, _setting("calibration_tokens", "N")] = DEFAULT[
        "calibration_tokens"
    ],
    context: Annotated[int | None, _setting("context", "N")] = None,
    bos: Annotated[str, _setting("bos", "auto|yes|no")] = DEFAULT["bos"],
    seed: Annotated[int, _setting("seeds", "S")] = 0,
    device: Annotated[str, _setting("device", "D")] = DEFAULT["device"],
    dtype: Annotated[str, _setting("dtype", "auto|float32|bfloat16|float16")] = DEFAULT["dtype"],
    revision: Annotated[str | None, _setting("revision", "R")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help=MEANING["trust_remote_code"])
    ] = False,
) -> None:
    """Write a twin as a model folder, and how it was made."""
    from bitlens.inspection import summary
    from bitlens.saving import save as write_folder

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
        device=device,
        trust_remote_code=trust_remote_code,
    )
    rows = write_folder(study, save, _say)
    _say(summary(rows))
    _say(f"Saved: {save}")


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or demo.")],
    twin: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A checkpoint of it: a folder, a .gguf file, a hub id."),
    ] = None,
    device: Annotated[str, _setting("device", "D")] = DEFAULT["device"],
    dtype: Annotated[str, _setting("dtype", "auto|float32|bfloat16|float16")] = DEFAULT["dtype"],
    revision: Annotated[str | None, _setting("revision", "R")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help=MEANING["trust_remote_code"])
    ] = False,
) -> None:
    """Show what is in every matrix of a model or a checkpoint."""
    from bitlens.inspection import of_model, of_twin

    study = audit_of(
        model,
        f"checkpoint:{twin}" if twin else "nothing",
        controls=(),
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    _show(of_twin(study, _say) if twin else of_model(study))


@app.command()
def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or demo.")],
    sae: Saes = [],  # noqa: B006
    text: Annotated[str, _setting("text", "SOURCE")] = DEFAULT["text"],
    tokens: Annotated[int, _setting("tokens", "N")] = FIT_TOKENS,
    context: Annotated[int | None, _setting("context", "N")] = None,
    bos: Annotated[str, _setting("bos", "auto|yes|no")] = DEFAULT["bos"],
    device: Annotated[str, _setting("device", "D")] = DEFAULT["device"],
    dtype: Annotated[str, _setting("dtype", "auto|float32|bfloat16|float16")] = DEFAULT["dtype"],
    revision: Annotated[str | None, _setting("revision", "R")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help=MEANING["trust_remote_code"])
    ] = False,
) -> None:
    """Show whether SAEs fit a model.

    By the variance they leave unexplained, beside what was published; where one does not fit,
    whether it belongs elsewhere. The exit code is then 1.
    """
    from bitlens.fits import fits

    study = audit_of(
        model,
        "nothing",
        controls=(),
        text=text,
        tokens=tokens,
        context=context,
        bos=bos,
        revision=revision,
        dtype=dtype,
        device=device,
        saes=tuple(sae),
        trust_remote_code=trust_remote_code,
    )
    refuse_absent_saes(study, "--sae")
    found, good = fits(study, _say)
    _show(found)
    if not good:
        raise typer.Exit(1)


@app.command()
def repair(
    results: Results,
    twin: Annotated[str, typer.Option(metavar="SPEC", help="Which of its twins, rtn:bits=3.")],
    sae: Annotated[
        str, typer.Option(metavar="DIR", help="An SAE of its model, or release:RELEASE:SAE_ID.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write the SAE to.")],
    calibration: Annotated[str | None, _setting("calibration", "SOURCE")] = None,
    calibration_tokens: Annotated[int, _setting("calibration_tokens", "N")] = DEFAULT[
        "calibration_tokens"
    ],
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the encoder too; takes minutes.")
    ] = False,
) -> None:
    """Adapt an SAE to a twin and show what that repairs.

    On calibration documents; measured on the text of the results. Writes a SAELens folder.
    """
    from bitlens.repairs import repair_run

    _show(repair_run(results, twin, sae, out, calibration, calibration_tokens, finetune, _say))
    _say(f"Saved: {out}")


@app.command("train-sae")
def train_sae(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or demo.")],
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
    arch: Annotated[
        Literal["standard", "topk", "batchtopk", "gated", "jumprelu", "seed-plain", "seed-gated"],
        typer.Option(
            help="The architecture; those of seeds are of earlier studies, faults included."
        ),
    ] = "topk",
    width: Annotated[
        str,
        typer.Option(metavar="LIST", help="Times the model's width, 0.5x,8x, or latents, 4096."),
    ] = "8x",
    l1: Annotated[
        str | None,
        typer.Option(
            "--l1",
            metavar="LIST",
            help="What firing costs: the sum of codes, for jumprelu each latent.",
        ),
    ] = None,
    k: Annotated[
        str | None,
        typer.Option("--k", metavar="LIST", help="topk, batchtopk: latents at a position; 32."),
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="R", help="The learning rate.")] = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over the activations.")] = 5,
    schedule: Annotated[
        Literal["constant", "cosine", "linear"] | None,
        typer.Option(help="The rate after its warm-up; linear: down over the last 30 %."),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(metavar="N", help="Looks of 20 without gain that end training; 0: none do."),
    ] = 0,
    held_out: Annotated[
        float, typer.Option(metavar="SHARE", help="Documents not learnt from.")
    ] = 0.1,
    seed: Annotated[str, typer.Option(metavar="LIST", help="Seeds of the training: 0,1.")] = "0",
    text: Annotated[str, _setting("text", "SOURCE")] = DEFAULT["text"],
    tokens: Annotated[int, _setting("tokens", "N")] = TRAINING_TOKENS,
    calibration: Annotated[str | None, _setting("calibration", "SOURCE")] = None,
    calibration_tokens: Annotated[int, _setting("calibration_tokens", "N")] = DEFAULT[
        "calibration_tokens"
    ],
    context: Annotated[int | None, _setting("context", "N")] = None,
    bos: Annotated[str, _setting("bos", "auto|yes|no")] = DEFAULT["bos"],
    device: Annotated[str, _setting("device", "D")] = DEFAULT["device"],
    dtype: Annotated[str, _setting("dtype", "auto|float32|bfloat16|float16")] = DEFAULT["dtype"],
    revision: Annotated[str | None, _setting("revision", "R")] = None,
    memory: Annotated[str | None, _setting("memory", "SIZE")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help=MEANING["trust_remote_code"])
    ] = False,
) -> None:
    """Train SAEs on a model, compressed or not.

    Lists of widths, penalties and seeds make a folder each, trained in one pass. Writes SAELens
    folders. The same command again goes on where it stopped.
    """
    from bitlens.grid import Grid, listed
    from bitlens.trainings import train_saes

    grid = Grid(
        site,
        arch,
        listed(width, str, "--width"),
        () if l1 is None else listed(l1, float, "--l1"),
        () if k is None else listed(k, int, "--k"),
        listed(seed, int, "--seed"),
        lr,
        epochs,
        schedule,
        patience,
        held_out,
    )
    compressions = [spec for spec in on if spec != "reference"]
    study = audit_of(
        model,
        compressions or "nothing",
        controls=(),
        text=text,
        tokens=tokens,
        calibration=calibration,
        calibration_tokens=calibration_tokens,
        context=context,
        bos=bos,
        memory=memory,
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    _show(train_saes(study, on, grid, out, _say))
    _say(f"Saved: {out}")


@app.command()
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

    from bitlens.alignments import align_folders, table
    from bitlens.records import to_json
    from bitlens.store import write

    found = align_folders(first, second, ceiling)
    if out is not None:
        write(out, f"{to_json(asdict(found), indent=1)}\n".encode())
    _show(table(found))


@app.command()
def study(
    path: Annotated[Path, typer.Argument(metavar="STUDY.YAML", help="The study to run.")],
    out: Out,
    check: Annotated[
        bool, typer.Option("--check", help="Only check it and show the grid.")
    ] = False,
) -> None:
    """Audit a grid of models, compressions and seeds.

    What fails says why, and the rest goes on. The same command again computes only what is missing.
    """
    wanted = load_study(path)
    if check:
        refuse_absent_saes(wanted)
        _show_grid(wanted)
    else:
        _carry_out(wanted, out, keep_going=True)


@app.command()
def report(results: Results) -> None:
    """Write the report of results once more."""
    from bitlens.report.build import build

    _say(f"Report: {build(results)}")


@app.command()
def insights(results: Results) -> None:
    """Show whether one could know which features die.

    And whether two twins lose the same ones, SAE by SAE. The report of the results has the charts.
    """
    from bitlens.insights.measured import measured
    from bitlens.insights.shared import pairs
    from bitlens.report.evidence import Evidence
    from bitlens.report.sections import prediction, shared

    evidence = Evidence.read(results)
    found = {model: measured(evidence.store, evidence.named(model)) for model in evidence.models}
    if not any(found.values()):
        raise BitlensError(
            f"{results} has no features.",
            "results of an audit with the analysis features.",
            "bitlens audit MODEL --sae DIR --to rtn:bits=4 --analyses behaviour,features --out DIR",
        )
    for model, saes in found.items():
        for sae in saes:
            _say(f"\n{model}: SAE {sae.name}\n\nCould one have known which features survive?")
            _show(prediction.table(evidence, model, prediction.predicted(evidence, model, sae)))
            _say("\nDo the same features die?")
            _show(shared.table(list(pairs(sae))))


@app.command()
def export(
    results: Results,
    format: Annotated[Literal["csv", "json", "parquet"], typer.Option(help="The format.")] = "csv",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; without it, standard output.")
    ] = None,
) -> None:
    """Write every estimate as one table."""
    from bitlens.export import export as table_of
    from bitlens.store import Store, write

    table = table_of(Store.open(results), format)
    if out is not None:
        write(out, table)
    elif format == "parquet" and sys.stdout.isatty():
        raise BitlensError("Parquet is not text.", "a file to write it to.", "--out all.parquet")
    else:
        typer.echo(table, nl=False)


@app.command("list")
def list_(
    what: Annotated[
        Literal["compressions", "analyses", "families", "metrics"],
        typer.Argument(help="What to list."),
    ],
) -> None:
    """Show what there is to choose from."""
    from bitlens.catalogue import TABLES

    _show(TABLES[what]())


@app.command()
def doctor() -> None:
    """Show what this machine has of what an audit needs."""
    from bitlens.doctor import examine

    for name, found in examine():
        _say(f"{name + ':':<28}{found}")


def main() -> None:
    """The entry point: errors of the user in three parts and without a traceback, exit code 2."""
    # Threads that wait by spinning make torch several times slower where cores are shared. This
    # is read when torch is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(prog_name="bitlens")
    except BitlensError as error:
        _say(str(error), err=True)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _say(
                "Stopped. Complete waves and cells are kept; the same command does the rest.",
                err=True,
            )
        raise


def _names(text: str) -> tuple[str, ...]:
    """`a,b` as names."""
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _carry_out(study: Study, out: Path, keep_going: bool = False) -> None:
    from bitlens.report.build import build
    from bitlens.runner import run

    store = run(study, out, shlex.join(["bitlens", *sys.argv[1:]]), _say, keep_going)
    page = build(store.root)
    failures = _show_findings(store.root)
    _say(f"Report: {page}")
    if failures:
        raise typer.Exit(1)


def _show_findings(root: Path) -> int:
    """The table and a sentence a twin, model by model; the number of cells that failed."""
    from bitlens.report.evidence import Evidence
    from bitlens.report.verdict import summary_table, verdicts

    evidence = Evidence.read(root)
    for model in evidence.models:
        _say(f"\n{model}")
        _show(summary_table(evidence, model))
        for _, sentence in verdicts(evidence, model):
            _say(f"- {sentence}")
    failures = evidence.failures()
    for reason in dict.fromkeys(f"{cell['model']}: {cell['reason']}" for cell in failures):
        _say(f"Failed: {reason}", err=True)
    return len(failures)


def _show_grid(study: Study) -> None:
    from bitlens.report.wording import count

    settings = study.to_dict()
    grid = {
        "models": [source["name"] for source in settings["models"]],
        "compressions": study.compressions,
        "analyses": study.analyses,
        "seeds": study.seeds,
    }
    cells = 1
    for name, values in grid.items():
        cells *= len(values)
        _say(f"{name + ':':<14}{', '.join(map(str, values))}")
    saes = [sae for source in study.models for sae in source.saes]
    _say(f"{'controls:':<14}{', '.join(study.controls) or 'none'}")
    _say(f"{'saes:':<14}{', '.join(saes) or 'none'}")
    _say(f"{'text:':<14}{settings['text']}")
    _say(f"{'tokens:':<14}{f'{study.tokens:,} at most' if study.tokens else 'all'}")
    _say(count(cells, "cell") + (", and those of the controls." if study.controls else "."))


def _show(table: "Table") -> None:
    """A table as wide as the terminal; where there is none, as wide as it wants to be.

    Numbers that do not fit side by side are written one after the other.
    """
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as View
    from rich.text import Text

    from bitlens.report.evidence import visible

    view = View(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        view.add_column(
            Text(column.title), justify="right" if column.numeric else "left", overflow="fold"
        )
    for row in table.rows:
        view.add_row(*(Text(visible(cell)) for cell in row))
    console = Console()
    wanted = console.measure(view, options=console.options.update(max_width=1 << 16)).maximum
    if not console.is_terminal:
        console = Console(width=wanted)
    if wanted <= console.width or not all(column.numeric for column in table.columns[1:]):
        console.print(view)
    else:
        for name, *cells in table.rows:
            pairs = zip(table.columns[1:], cells, strict=True)
            numbers = ", ".join(f"{column.title} {cell}" for column, cell in pairs)
            console.print(Text(visible(name)))
            console.print(Padding(Text(visible(numbers)), (0, 0, 0, 4)))
    if table.caption:
        console.print(Text(visible(table.caption)))


def _say(text: str, err: bool = False) -> None:
    """Text from outside may hold anything; a terminal gets no control codes from it."""
    from bitlens.report.evidence import visible

    typer.echo(visible(text), err=err)
