"""A store as large as people's own: many blocks, heads and twins, SAEs of thousands of features."""

from pathlib import Path
from unittest.mock import patch

from tests.support import analysis_tables, audit_stores, results

BLOCKS, HEADS = 24, 16
LATENTS, ACTIVE = 16_384, 7_000
"""About so many of an SAE that wide fire on a text of an audit."""
SAES = (("resid.5", "early"), ("resid.11", "middle"), ("resid.20", "late"))
EXTRA = {"hqq:bits=4,group=64": 0.07}
"""One more compression than other stores have: with noise for each and a cast, nine twins."""


def write_large(path: Path) -> Path:
    """One model under four compressions, each beside its noise, and a cast."""
    model, sae = results.model, results.sae
    with (
        patch.multiple(analysis_tables, HEADS=HEADS, SAES=SAES, ACTIVE=ACTIVE),
        patch.multiple(audit_stores, SAES=SAES),
        patch.object(results, "model", lambda name, **known: model(name, heads=HEADS, **known)),
        patch.object(results, "sae", lambda *named: sae(*named, latents=LATENTS)),
    ):
        return audit_stores.write_store(path, ("large",), EXTRA, blocks=BLOCKS, deep=True)
