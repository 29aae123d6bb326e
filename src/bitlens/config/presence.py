"""Presence: is everything that a study names there? It is asked before a model is loaded, which
takes long."""

from pathlib import Path
from typing import Any

from bitlens.config.study import Study, audit_of, unread_audit_of
from bitlens.data.labelled import require_labelled
from bitlens.data.texts import require_source
from bitlens.errors import InputError, path_of
from bitlens.models.source import refuse_absent_folder
from bitlens.registry import nearest_file
from bitlens.results.files.home import with_home
from bitlens.sae.formats.releases import FORM, find, is_release


def present_audit_of(model: str, to: Any, option: str = "", **settings: Any) -> Study:
    """As `audit_of`, and everything that it names is there. BitlensError for what is not.

    `option`: the word that named the SAEs.
    """
    _refuse_absent_names(unread_audit_of(model, **settings), option)
    study = audit_of(model, to, **settings)
    _refuse_absent_checkpoints(study)
    return study


def refuse_absent(study: Study, option: str = "") -> None:
    """BitlensError for a model, texts, a checkpoint or an SAE that is not there. `option`: the word
    that named the SAEs."""
    _refuse_absent_names(study, option)
    _refuse_absent_checkpoints(study)


def _refuse_absent_names(study: Study, option: str) -> None:
    """Of what needs no compression to be read."""
    for source in study.models:
        refuse_absent_folder(source)
    refuse_absent_texts(study)
    refuse_absent_saes(study, option)


def refuse_absent_saes(study: Study, option: str = "") -> None:
    """Are all folders of SAEs there? InputError for the first that is not, with the word that named
    it: `option`, or its place in the file of the study."""
    for m, source in enumerate(study.models):
        for n, name in enumerate(source.saes):
            folder = Path(name)
            if is_release(name):
                find(name)
                continue
            if folder.exists():
                continue
            raise InputError(
                f"{option or path_of(('models', m, 'saes', n))}: there is no folder {name}.",
                f"a folder with an SAE, or {FORM}.",
                nearest_file(folder)
                or "another path; it counts from the folder the command runs in.",
            )


def refuse_absent_texts(study: Study) -> None:
    """Texts without which nothing of a study can be run."""
    if "probes" in study.analyses:
        for labelled in study.labelled:
            require_labelled(labelled)
    for source in (study.text, study.calibration):
        if source:
            require_source(source)
    if study.tasks:
        # Only where it is needed: it loads numpy, and help does not.
        from bitlens.data.circuit_tasks.tasks import refuse_absent_files

        refuse_absent_files(study.tasks)


def _refuse_absent_checkpoints(study: Study) -> None:
    for text in study.compressions:
        _refuse_absent_checkpoint(text)


def _refuse_absent_checkpoint(text: str) -> None:
    """Only forms that can be nothing but a path are looked for: what has one slash may be a hub
    id."""
    from bitlens.compression import parse_spec

    compression = parse_spec(text).base
    name = with_home(getattr(compression, "path", "")) if compression.name == "checkpoint" else ""
    path = Path(name)
    if name.startswith((".", "/", "~")) and not path.exists():
        raise InputError(
            f"There is no folder and no file {name}.",
            "a folder with config.json and weights, a .gguf file, or a hub id.",
            nearest_file(path) or "another path; it counts from the folder the command runs in.",
        )
