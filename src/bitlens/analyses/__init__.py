"""The analyses, one question a file; `ANALYSES` knows where each is."""

from bitlens.analyses.known import ANALYSES

__all__ = ["ANALYSES"]
