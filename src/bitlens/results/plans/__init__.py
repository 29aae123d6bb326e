"""Which format each part of a model is best kept in, from effects that were measured."""
