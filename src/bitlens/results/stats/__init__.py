"""Statistics, in numpy and scipy: intervals, contrasts with controls, multiple testing."""
