"""`doctor`: what this machine has."""

from bitlens.cli.terminal import log


def doctor() -> None:
    """Show what this machine has of what an audit needs."""
    from bitlens.workflows.doctor import examine

    for name, found in examine():
        log(f"{name + ':':<28}{found}")
