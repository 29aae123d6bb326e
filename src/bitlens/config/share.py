"""A share of the documents, by number or in percent."""

from math import ceil
from re import fullmatch

from bitlens.errors import InputError


def share_of(text: str, documents: int) -> int:
    """How many of so many documents are `100` or `25%` of them. InputError for anything else."""
    match = fullmatch(r"(\d{1,12}(?:\.\d+)?)(%?)", text.strip())
    whole = match is not None and (match[2] or "." not in match[1])
    if match is None or not whole or not float(match[1]) or (match[2] and float(match[1]) > 100):
        raise InputError(
            f"The share of the documents is {text!r}.",
            "a number of documents, or a share of them above 0 and up to 100 %.",
            "25%",
        )
    return ceil(documents * float(match[1]) / 100) if match[2] else int(match[1])
