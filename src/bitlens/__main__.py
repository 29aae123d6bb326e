"""`python -m bitlens` is `bitlens`."""

from bitlens.cli import main

main()
