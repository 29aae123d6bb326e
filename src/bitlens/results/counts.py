"""How many of something, in words that agree with the number."""


def count(number: int, noun: str) -> str:
    """`1 document`, `61,312 tokens`; `1 matrix`, `2 matrices`."""
    if number != 1:
        noun = f"{noun[:-2]}ices" if noun.endswith("ix") else f"{noun}s"
    return f"{number:,} {noun}"


def agreeing(number: int, one: str, many: str) -> str:
    """`is` or `are`: the word that agrees with the number."""
    return one if number == 1 else many
