"""What analyses and the page call the same things by: with another spelling the page is empty."""

PATCHED = ("denoising", "noising")
"""Both ways of putting a node's value on one prompt into the other."""
PROBED_BY = ("logistic", "mean difference")
"""How probes are made; the first is what is shown first."""
REPAIRED_BY = ("mean shift", "mean and scale", "linear map")
"""What is done to a twin's activations before the reference's probe reads them."""
AS_IT_IS = "as it is"
"""Nothing is."""
PROBES = "probes"
"""The table of a cell that probes stand in."""
