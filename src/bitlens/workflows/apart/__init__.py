"""Sweeps whose parts are summed up by other processes, on this machine or on others."""
