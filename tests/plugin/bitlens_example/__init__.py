"""A package that brings bitlens a compression, an analysis, an SAE format and a section."""
