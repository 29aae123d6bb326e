"""A sensitivity run: what each unit of a model does, compressed alone or left out of it."""
