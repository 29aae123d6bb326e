"""Programs that a model wrote: shut in, limited, run."""
