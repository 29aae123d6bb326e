"""Tasks of circuits: pairs of prompts that differ in what decides the answer."""
