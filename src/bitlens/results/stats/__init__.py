"""How sure is a number? Intervals, contrasts with controls, multiple testing. Numpy and scipy."""
