"""Alignment of dictionaries: how alike the directions of SAEs are, without tokens."""
