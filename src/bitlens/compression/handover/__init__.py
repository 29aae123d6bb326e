"""Plans of formats as other tools take them, a tool a file."""
