"""The same steering vector in a reference and in its twins."""
