"""Which features are damaged: the rarer ones, and the same ones whatever the error?

    python studies/which_features.py RESULTS [TWIN]

Of every twin in the results of a study with `features`, by SAE and seed: the share of features
that survive (r above 0.9) in the tenth that fires least in the reference and in the tenth that
fires most; and how its damage (1 - r) goes with that of TWIN (by default the first 6-bit one):
Spearman correlation over features, and the Jaccard index of the features that do not survive with
what independence would give. Features share documents and directions, so there is no interval;
seeds and the twins of matched noise say what to compare with.
"""

import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from scipy.stats import spearmanr

from bitlens.results.store import Store

SURVIVED = 0.9


def main(results: str, other: str = "rtn:bits=6") -> None:
    """Prints for every twin which features survived, and whether another's are the same."""
    tables = dict(_features(Store.open(results)))
    print("SAE, seed, twin, features, survived of rarest and of most frequent tenth,", end=" ")
    print(f"and beside {other}: Spearman, Jaccard (if independent)")
    for (sae, seed, twin), features in sorted(tables.items()):
        names = [name for s, n, name in tables if (s, n) == (sae, seed) and name.startswith(other)]
        beside = tables[sae, seed, min(names)] if names else features
        print(sae, seed, twin, len(features), _by_rate(features), _shared(features, beside))


def _features(store: Store) -> Iterator[tuple[tuple[str, int, str], np.ndarray]]:
    """By SAE, seed and twin: `[features, 3]`, latent, firing rate in the reference and r."""
    for cell in store.manifest()["cells"]:
        if cell["analysis"] != "features" or cell["status"] != "done":
            continue
        table: pa.Table = store.read_cell_table(cell["id"], "features")
        for sae in sorted(set(table["sae"].to_pylist())):
            rows = [r for r in table.to_pylist() if r["sae"] == sae and r["r"] is not None]
            columns = [[r[name] for r in rows] for name in ("latent", "rate_reference", "r")]
            yield (sae, cell["seed"], cell["compression"]), np.array(columns).T


def _by_rate(features: np.ndarray) -> str:
    order = np.argsort(features[:, 1], kind="stable")
    tenth = max(len(order) // 10, 1)
    rare, frequent = (features[of, 2] > SURVIVED for of in (order[:tenth], order[-tenth:]))
    return f"{rare.mean():.3f} {frequent.mean():.3f}"


def _shared(features: np.ndarray, others: np.ndarray) -> str:
    _, mine, theirs = np.intersect1d(features[:, 0], others[:, 0], return_indices=True)
    r = features[mine, 2], others[theirs, 2]
    lost = [of <= SURVIVED for of in r]
    p, q = (of.mean() for of in lost)
    if not p + q:
        return f"{spearmanr(*r).statistic:.3f} none lost"
    jaccard = (lost[0] & lost[1]).sum() / (lost[0] | lost[1]).sum()
    return f"{spearmanr(*r).statistic:.3f} {jaccard:.3f} ({p * q / (p + q - p * q):.3f})"


if __name__ == "__main__":
    main(*sys.argv[1:])
