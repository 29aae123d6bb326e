"""What a reader looks at: the features that explain most of a difference with their contexts, what
it does to tokens, and the tokens and documents it lies in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.results.steering.response import estimate
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae
from bitlens.seeds import generator
from bitlens.workflows.diff.collect import DifferenceRows
from bitlens.workflows.diff.features import latent_sums, nearest, strongest
from bitlens.workflows.diff.lens import STATES, extremes, pushes
from bitlens.workflows.diff.measure import DifferenceSums
from bitlens.workflows.diff.places import largest_shares
from bitlens.workflows.session import Session

FEATURES, CONTEXTS, TOKENS = 10, 6, 8
"""Features of a difference that are shown, contexts of each, tokens on either side of the lens."""
AROUND = 16
"""Tokens of a context on either side."""
PLACES = {"token": 12, "document": 6}
"""Tokens and documents that are shown."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Showing:
    """One twin's difference at one site, as it is to be shown."""

    session: Session
    site: str
    twin: str
    held: DifferenceRows
    sums: DifferenceSums
    dictionary: Sae
    mean: Tensor
    """`[width]`: of the differences that were learnt from."""
    saes: Sequence[PlacedSae]
    """Those of the reference at this site."""

    @property
    def _difference(self) -> Tensor:
        return self.held.difference[self.site, self.twin]

    @property
    def _spot(self) -> dict[str, str]:
        return {"site": self.site, "twin": self.twin}

    def features(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The features whose loss would leave most unexplained, and the push of the mean."""
        sums = latent_sums(
            self.dictionary, self._difference, self.sums.shard, self.sums.documents.base
        )
        lost = self.sums.weights @ sums.lost / self.sums.summed("whole")[:, None]
        chosen = np.argsort(-lost[0], kind="stable")[:FEATURES]
        chosen = chosen[sums.firings[chosen] > 0]
        codes = sums.codes[chosen] / sums.firings[chosen]
        directions = self.dictionary.w_dec[torch.from_numpy(chosen).to(self.mean.device)]
        lengths = torch.from_numpy(codes).to(directions)[:, None]
        push = self._push(torch.cat([self.mean.float()[None], directions * lengths]))
        mean = {**self._spot, **push[0]}
        if not len(chosen):
            return [], mean
        near = self._nearest(directions)
        contexts = self._contexts(chosen)
        return [
            {
                **self._spot,
                "latent": int(latent),
                **self._share(lost[:, latent]),
                "fires": float(sums.firings[latent] / len(self._difference)),
                "code": float(codes[n]),
                **push[n + 1],
                "nearest": near[n],
                "contexts": contexts[n],
            }
            for n, latent in enumerate(chosen)
        ], mean

    def places(self) -> Iterator[dict[str, Any]]:
        """The tokens and documents that hold most."""
        texts, at = self.session.texts, self.held.at
        square = self.sums.errors["whole"]
        for kind, numbers, name in (
            ("token", at.token, texts.token),
            ("document", at.document, texts.document),
        ):
            for number, share, positions, count in largest_shares(square, numbers, PLACES[kind]):
                yield {
                    **self._spot,
                    "kind": kind,
                    "name": name(number),
                    "share": share,
                    "positions": positions,
                    "count": count,
                }

    def _share(self, values: np.ndarray) -> dict[str, float | None]:
        found = estimate(values, self.sums.documents.documents)
        assert found.value is not None
        return {"share": found.value, "low": found.low, "high": found.high}

    def _push(self, directions: Tensor) -> list[dict[str, Any]]:
        states = self.held.reference[self.site]
        draw = generator(self.session.seed, "diff", "lens")
        some = draw.choice(len(states), min(STATES, len(states)), replace=False)
        chosen = states[torch.from_numpy(np.sort(some)).to(states.device)]
        return [self._told(push) for push in pushes(self.session.layout, chosen, directions)]

    def _told(self, push: Tensor) -> dict[str, Any]:
        texts = self.session.texts
        promoted, suppressed = extremes(push, TOKENS)
        return {
            name: [{"token": texts.token(t), "logit": float(push[t])} for t in tokens]
            for name, tokens in (("promoted", promoted), ("suppressed", suppressed))
        }

    def _nearest(self, directions: Tensor) -> list[Mapping[str, Any] | None]:
        best: list[Mapping[str, Any] | None] = [None] * len(directions)
        for placed in self.saes:
            latents, cosines, chance = nearest(directions, placed.sae, self.session.seed)
            for n, (latent, cosine) in enumerate(
                zip(latents.tolist(), cosines.tolist(), strict=True)
            ):
                known = best[n]
                if known is None or known["cosine"] < cosine:
                    about = {"sae": placed.sae.label, "latent": latent}
                    best[n] = {**about, "cosine": cosine, "chance": chance}
        return best

    def _contexts(self, chosen: np.ndarray) -> list[list[dict[str, Any]]]:
        at, texts = self.held.at, self.session.texts
        found = strongest(self.dictionary, self._difference, at.document, chosen, CONTEXTS)
        return [
            [
                {
                    "document": texts.document(int(at.document[row])),
                    **dict(
                        zip(
                            ("before", "token", "after"),
                            texts.around(int(at.document[row]), int(at.offset[row]), AROUND),
                            strict=True,
                        )
                    ),
                    "code": float(code),
                }
                for row, code in zip(rows, codes, strict=True)
            ]
            for rows, codes in found
        ]
