"""The analyses, one question a file; `ANALYSES` knows where each is."""

from bitlens.analyses.known import ANALYSES, ON_REQUEST

__all__ = ["ANALYSES", "ON_REQUEST"]
