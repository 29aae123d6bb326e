"""A gate: rules on the numbers of a run, and whether they hold."""
