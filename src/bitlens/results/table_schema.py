"""The columns of a store's tables, and the type of each."""

from collections.abc import Mapping

import pyarrow as pa

TEXT, NUMBER, COUNT, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
SHARE = pa.uint8()
"""A share of 1 in steps of a 255th."""


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=False))


def _columns(columns: Mapping[str, pa.DataType], absent: str = "") -> pa.Schema:
    """`absent`: those that may hold nothing; every other has something in every row."""
    may = absent.split()
    return pa.schema([pa.field(name, kind, name in may) for name, kind in columns.items()])


def _numbers(names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names.split(), NUMBER)


_PLACE = {"metric": TEXT, "site": TEXT, "item": TEXT}
VALUES = _columns(
    {**_PLACE, "value": NUMBER, "replicates": _list(NUMBER), "chance": NUMBER}
    | {"documents": COUNT, "reason": TEXT},
    absent="value chance reason",
)
"""The values of a cell, one row a `records.Value`."""
ESTIMATES = _columns(
    {"model": TEXT, "compression": TEXT, "bits": NUMBER, "analysis": TEXT, **_PLACE}
    | {**_numbers("value low high"), "documents": COUNT, **_numbers("intact chance")}
    | {"worse": TEXT, "reason": TEXT, "seed": COUNT},
    absent="bits value low high intact chance worse reason",
)
CONTRASTS = _columns(
    {"model": TEXT, "compression": TEXT, "control": TEXT, "analysis": TEXT, **_PLACE}
    | {**_numbers("difference low high p q"), "documents": COUNT, "reason": TEXT, "seed": COUNT},
    absent="difference low high p q reason",
)
COVERAGE = _columns(
    {"model": TEXT, "compression": TEXT, "module": TEXT, "kind": TEXT, "compressed": FLAG}
    | {"format": TEXT, "bits": NUMBER, "group": COUNT, "parameters": COUNT, "bytes": COUNT}
    | {**_numbers("changed relative_error sqnr_db"), "reason": TEXT, "note": TEXT},
    absent="relative_error sqnr_db reason",
)
TABLES = {"estimates": ESTIMATES, "contrasts": CONTRASTS, "coverage": COVERAGE}
CATEGORIES = _columns(
    {"model": TEXT, "compression": TEXT, "analysis": TEXT, "category": TEXT, **_PLACE}
    | {**_numbers("value low high others difference difference_low difference_high p q")}
    | {"documents": COUNT, "documents_others": COUNT, **_numbers("intact chance")}
    | {"worse": TEXT, "reason": TEXT, "unsaid": TEXT, "seed": COUNT},
    absent="value low high others difference difference_low difference_high p q intact chance "
    "worse reason unsaid",
)
"""One row a number of a category, beside that of all other categories together (`others`) and their
difference; `unsaid`: why nothing is said of it."""
OPTIONAL = {"categories": CATEGORIES}
"""Tables of the whole store that only some runs have."""

_SAE = {"sae": TEXT, "site": TEXT}
_OF_FEATURES = (
    "r r_low r_high gain offset concordance rate_reference rate_twin lost new f1 "
    "peak_reference peak_twin mean_reference"
)
_OF_HALVES = (
    "r_first r_second rate_first mean_first peak_first sparseness_first local_error_first "
    "decoder_norm encoder_norm bias nearest"
)
_OF_HEADS = "choosing reference twin twin_low twin_high chance"


def _prediction(who: str) -> dict[str, pa.DataType]:
    """What a model predicts: the true token's probability, and what it puts first."""
    first = {f"ids_{who}": COUNT, f"top_{who}": TEXT, f"shares_{who}": pa.float32()}
    return {f"target_{who}": NUMBER} | {name: _list(kind) for name, kind in first.items()}


_EFFECTS = "denoising_reference denoising_twin noising_reference noising_twin"
_OF_NODES = " ".join(
    f"{name}{bound}"
    for name in f"{_EFFECTS} repaired carried made".split()
    for bound in ("", "_low", "_high")
)
_OF_TOKENS = "kl target_reference target_twin"
SHOWN = {
    "experts": _columns(
        {"block": COUNT, "expert": COUNT, "tokens_reference": COUNT, "tokens_twin": COUNT}
        | {"tokens_calibration": COUNT, "weight_error": NUMBER},
        absent="tokens_calibration weight_error",
    ),
    "features": _columns(
        {**_SAE, "latent": COUNT, "state": TEXT, "sure": TEXT, **_numbers(_OF_FEATURES)},
        absent=_OF_FEATURES,
    ),
    "halves": _columns(
        {**_SAE, "latent": COUNT, "group": COUNT, **_numbers(_OF_HALVES)}, absent=_OF_HALVES
    ),
    "flow": _columns({**_SAE, "reference": TEXT, "twin": TEXT, "latents": COUNT}),
    "contexts": _columns(
        {**_SAE, "latent": COUNT, "found": TEXT, "rank": COUNT, "document": TEXT}
        | {"offset": COUNT, "peak": COUNT, "tokens": _list(TEXT)}
        | {"reference": pa.list_(NUMBER), "twin": pa.list_(NUMBER)}
    ),
    "documents": _columns(
        {"number": COUNT, "document": TEXT, "shard": COUNT, "positions": COUNT, "kl": NUMBER}
        | {"changed": COUNT, "shown": _list(TEXT)}
    ),
    "tokens": _columns(
        {"number": COUNT, "offset": COUNT, "token": TEXT, "counts": FLAG, "kl": NUMBER}
        | {name: kind for who in ("reference", "twin") for name, kind in _prediction(who).items()},
        absent=_OF_TOKENS,
    ),
    "grid": _columns(
        {"text": COUNT, "place": COUNT, "token": TEXT, "block": COUNT, "kl": NUMBER}
        | {"top_reference": TEXT, "top_twin": TEXT},
        absent="kl",
    ),
    "firings": _columns(
        {**_SAE, "latent": COUNT, "top": NUMBER, "positions": COUNT}
        | {"reference": _list(SHARE), "bins_reference": _list(COUNT)}
        | {"twin": _list(SHARE), "bins_twin": _list(COUNT)}
    ),
    "directions": _columns(
        {**_SAE, "latent": COUNT, "up": _list(TEXT), "up_by": _list(NUMBER)}
        | {"down": _list(TEXT), "down_by": _list(NUMBER), "neuronpedia": TEXT},
        absent="neuronpedia",
    ),
    "trajectories": _columns(
        {"place": COUNT, "document": TEXT, "offset": COUNT, "before": _list(TEXT)}
        | {"target": TEXT, "block": COUNT, "kl": NUMBER, "top_reference": TEXT, "top_twin": TEXT}
        | _numbers("target_reference target_twin"),
        absent=_OF_TOKENS,
    ),
    "patterns": _columns(
        {"text": COUNT, "block": COUNT, "head": COUNT}
        | {"reference": _list(SHARE), "twin": _list(SHARE)}
    ),
    "pattern_texts": _columns(
        {"text": COUNT, "document": TEXT, "offset": COUNT, "tokens": _list(TEXT)}
    ),
    "categories": _columns(
        {"category": TEXT, "others": FLAG, **_PLACE, "value": NUMBER, "replicates": _list(NUMBER)}
        | {"chance": NUMBER, "documents": COUNT, "reason": TEXT},
        absent="value chance reason",
    ),
    "circuit_tasks": _columns(
        {"task": TEXT, "pairs": COUNT, "unit": TEXT, "positions": TEXT, "example": TEXT}
        | {"circuit": _list(TEXT), "reason": TEXT, "note": TEXT},
        absent="reason",
    ),
    "circuit_nodes": _columns(
        {"task": TEXT, "node": TEXT, "block": COUNT, "head": COUNT, "circuit": FLAG, "lost": FLAG}
        | _numbers(_OF_NODES),
        absent=_OF_NODES,
    ),
    "circuit_sizes": _columns(
        {"task": TEXT, "nodes": COUNT, **_numbers("reference twin")}, absent="reference twin"
    ),
    "heads": _columns(
        {"block": COUNT, "head": COUNT, "kind": TEXT, **_numbers(_OF_HEADS)}, absent=_OF_HEADS
    ),
}
"""What analyses show besides values, a row a feature, a place, a head. Those that a plug-in shows
have the columns it gives them. A pattern is what each token of a text pays to itself and to those
before it: one number for the first token, two for the second, and so on. Firings are of the
documents of the contexts: activations in shares of `top`, in bins of it, and some pairs. Of the
nodes of circuits an MLP's `head` is -1; what of them is a share is of a model's own gap, or of the
gap that is lost."""
