"""How alike are two dictionaries? Directions of SAEs alone, without tokens."""
