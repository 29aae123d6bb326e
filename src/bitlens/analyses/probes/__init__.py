"""Probes: what can be told from activations, in the reference and in a twin."""
