"""`doctor`: what this machine has."""

from bitlens.cli.terminal import say


def doctor() -> None:
    """Show what this machine has of what an audit needs."""
    from bitlens.workflows.doctor import examine

    for name, found in examine():
        say(f"{name + ':':<28}{found}")
