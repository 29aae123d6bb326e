"""What of an SAE's survival in a twin can be had back? From a folder of results to an SAE that
reads the twin, and what it is worth on documents it was not made on.

The model, its texts and the twin are those of the results. What is repaired is learnt from
calibration documents and chosen by some of them; every number is of the evaluation documents.
"""

from bitlens.workflows.repair_sae.run import repair_run

__all__ = ["repair_run"]
