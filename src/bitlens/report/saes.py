"""The SAEs that a store speaks of, and what was measured of each."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row, once


@dataclass(frozen=True)
class SaeResults:
    """An SAE of the store: its label, and where it was read."""

    label: str
    site: str

    @property
    def block(self) -> int:
        """The block of its site; -1 for the embedding."""
        found = re.search(r"\d+$", self.site)
        return int(found[0]) if found else -1

    @property
    def where(self) -> str:
        """As it stands in a sentence: `in block 2 (late)`."""
        place = f"in block {self.block}" if self.site.startswith("resid.") else f"at {self.site}"
        return place if self.label == self.site else f"{place} ({self.label})"

    @property
    def name(self) -> str:
        """As it stands in a title: `late (resid.2)`."""
        return self.label if self.label == self.site else f"{self.label} ({self.site})"

    def find(
        self, results: AuditResults, model: str, who: str, metric: str, *, of: str = ""
    ) -> Row | None:
        """An estimate of this SAE: of `features` at its site, of `transfer`, which is about what
        the model puts out, at the logits. `of`: `reference` or `twin`, for a level."""
        item = f"{self.label}, {of}" if of else self.label
        site = "logits" if metric.startswith("transfer.") else self.site
        return results.find(model, who, metric, site=site, item=item)

    def active(self, results: AuditResults, model: str, who: str) -> int | None:
        """How many features the shares are shares of."""
        row = self.find(results, model, who, "features.active")
        return None if row is None else int(row["value"])

    def rows(self, results: AuditResults, model: str, who: str, table: str) -> list[Row]:
        """This SAE's part of a table of the analysis."""
        place = (self.label, self.site)

        def mine() -> list[Row]:
            found = results.table(model, who, "features", table)
            return [row for row in found if (row["sae"], row["site"]) == place]

        return once(results, ("rows of an SAE", model, who, table, *place), mine)


def by_depth(saes: Iterable[SaeResults]) -> list[SaeResults]:
    """In the order in which the model meets them."""
    return sorted(saes, key=lambda sae: (sae.block, sae.site, sae.label))


def saes_of(results: AuditResults, model: str) -> list[SaeResults]:
    """The SAEs that a model's features were measured with, by depth."""
    found = {
        SaeResults(row["item"], row["site"]): None
        for row in results.estimates
        if row["model"] == model
        and row["analysis"] == "features"
        and row["metric"] in ("survived", "active")
    }
    return by_depth(found)
