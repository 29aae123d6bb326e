"""Consent: code from elsewhere runs on the user's own word, never because a file asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitlens.errors import InputError

if TYPE_CHECKING:
    from bitlens.config.study import Study


def require_consent(study: Study, given: bool, file: str) -> None:
    """Whether code that comes with a model, or with a folder of the harness' tasks (a YAML there
    may name Python), may run is for the user to say, in the command or in a call. What a file says,
    which anybody may have written, is no more than that it asks. InputError where it asks and
    nothing is given, or is given where nothing asks."""
    asking = [source.name for source in study.models if source.trust_remote_code]
    if study.include_path:
        asking.append(f"the tasks in {study.include_path}")
    if asking and not given:
        raise InputError(
            f"{file} asks to run code that comes with {', '.join(asking)}.",
            "your own word for it: a file may be anybody's.",
            "read that code, then --trust-remote-code.",
        )
    if given and not asking:
        raise InputError(
            f"--trust-remote-code is given, but {file} names no model that asks for it "
            "and no include_path.",
            "trust_remote_code: true under each model whose code you have read.",
            "add that, or leave the option out.",
        )


def require_confirmation(study: Study, given: bool, file: str) -> None:
    """Whether code that models write may run is for the user to say as well. InputError where a
    file asks and nothing is given, or is given where nothing asks."""
    if study.confirm_run_unsafe_code and not given:
        raise InputError(
            f"{file} asks to run code that models write.",
            "your own word for it: a file may be anybody's.",
            "--confirm-run-unsafe-code beside it.",
        )
    if given and not study.confirm_run_unsafe_code:
        raise InputError(
            f"--confirm-run-unsafe-code is given, but {file} does not ask for it.",
            "confirm_run_unsafe_code: true in the study.",
            "add that, or leave the option out.",
        )
