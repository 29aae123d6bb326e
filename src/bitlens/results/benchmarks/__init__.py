"""Results of benchmarks: outcomes of questions, and what changed between a model and its twins."""
