"""What a sensitivity run writes down: what each unit of a model, compressed alone or left out of
the compression, does. No torch."""
