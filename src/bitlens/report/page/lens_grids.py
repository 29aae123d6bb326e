"""Lens grids as a page holds them: each text once, its number in the cells."""

from typing import Any

from bitlens.report.page.browsers import LensBrowser, LensStretch


def lens_data(part: LensBrowser) -> dict[str, Any]:
    """What the page's script needs to draw them; KL with two digits, for a shade."""
    words: dict[str, int] = {}

    def place(word: str) -> int:
        return words.setdefault(word, len(words))

    def stretch(one: LensStretch) -> dict[str, Any]:
        return {
            "document": one.document,
            "blocks": one.blocks,
            "tokens": [place(word) for word in one.tokens],
            "reference": [[place(word) for word, _, _ in row] for row in one.tops],
            "twin": [[place(word) for _, word, _ in row] for row in one.tops],
            # The stream after an early block may give none though the twin is sound.
            "kl": [
                [None if kl is None else float(f"{kl:.2g}") for _, _, kl in row] for row in one.tops
            ],
        }

    twins = [[twin, [stretch(one) for one in of]] for twin, of in part.twins]
    return {"twins": twins, "shown": part.shown, "words": list(words)}
