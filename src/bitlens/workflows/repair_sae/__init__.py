"""Repair of an SAE for a twin: from a folder of results to an SAE that reads the twin.

The model, its texts and the twin are those of the results. What is repaired is learnt from
calibration documents and chosen by some of them; every number is of the evaluation documents.
"""

from bitlens.workflows.repair_sae.run import RepairRequest, repair_run

__all__ = ["RepairRequest", "repair_run"]
