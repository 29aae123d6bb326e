"""The causal analysis: do the parts that compute an answer in the reference compute it in the
twin?"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from bitlens.analyses.known import ANALYSES
from bitlens.data.circuit_tasks.prompts import TaskPrompts
from bitlens.engine.analysis import AnalysisContext, Question, Requirement
from bitlens.results.records import Metric, Scale
from bitlens.sae.placed_sae import PlacedSae

FORM = 3
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""
_MIB = "after Mueller et al. 2025, arXiv 2504.13151; over nodes, on a grid of its own"


def _level(
    name: str, question: str, unit: str = "", source: str = "", scale: Scale = "linear"
) -> Metric:
    return Metric(
        name,
        question,
        unit=unit,
        worse="lower",
        intact=None,
        level=True,
        scale=scale,
        source=source,
    )


def _change(name: str, question: str, unit: str = "share") -> Metric:
    return Metric(name, question, unit=unit, worse=None, intact=0.0)


def _carried(name: str, question: str) -> Metric:
    return Metric(name, question, unit="share", worse=None, intact=None)


@ANALYSES.register("causal")
@dataclass(frozen=True)
class Causal(Question):
    """Tasks with clean and corrupt prompts: what single heads, MLPs and latents of SAEs do for the
    answer, whether the reference's circuit works in the twin, and which node carries what is lost.

    It reads prompts of its own in sweeps of its own (`bitlens.workflows.audit.circuits`): which
    runs it takes is known only when circuits are chosen.
    """

    name: ClassVar[str] = "causal"
    requires: ClassVar[frozenset[Requirement]] = frozenset({"tasks"})
    takes: ClassVar[frozenset[Requirement]] = frozenset({"saes"})
    metrics: ClassVar[tuple[Metric, ...]] = (
        _level("score", "How far does the right answer stand above the wrong one, clean prompts?"),
        _level("gap", "How far are clean and corrupt prompts apart?"),
        _level(
            "right",
            "In how many clean prompts does the right answer stand above?",
            "share",
            scale="logit",
        ),
        Metric(
            "gap_kept",
            "What share of the gap between clean and corrupt prompts is left in the twin?",
            unit="share",
            worse="lower",
            intact=1.0,
        ),
        Metric(
            "agreement",
            "Do the same nodes matter? Rank correlation of node effects, same prompts.",
            unit="",
            worse="lower",
            intact=1.0,
            scale="atanh",
        ),
        _level(
            "ceiling",
            "Rank correlation of the reference's effects on two halves of prompts.",
            scale="atanh",
        ),
        _level(
            "first_cut",
            "How well does attribution with integrated gradients rank the nodes that were put in "
            "place? Rank correlation with the reference's measured effects.",
            source="Hanna et al. 2024, arXiv 2403.17806",
            scale="atanh",
        ),
        Metric(
            "below_ceiling",
            "How much less do reference and twin agree than the reference with itself, across "
            "halves of the prompts?",
            unit="",
            worse="higher",
            intact=0.0,
        ),
        Metric(
            "top_kept",
            "Of the reference's nodes of largest effect, how many are the twin's?",
            unit="share",
            worse="lower",
            intact=1.0,
            interval=False,
        ),
        Metric(
            "top_ceiling",
            "Of the reference's nodes of largest effect on half of the prompts, how many on the "
            "other half?",
            unit="share",
            worse="lower",
            intact=None,
            level=True,
            interval=False,
        ),
        _level(
            "faithfulness",
            "What share of a model's own gap does the reference's circuit give by itself?",
            "share",
            _MIB,
        ),
        Metric(
            "faithfulness_change",
            "How did the faithfulness of the reference's circuit change?",
            unit="share",
            worse="lower",
            intact=0.0,
        ),
        _level("cpr", "What is the area under faithfulness over circuit sizes?", source=_MIB),
        Metric(
            "cmd",
            "What is the area between faithfulness and 1 over circuit sizes?",
            unit="",
            worse="higher",
            intact=None,
            level=True,
            source=_MIB,
        ),
        _change("cpr_change", "How did the area under faithfulness change?", ""),
        _change("cmd_change", "How did the area between faithfulness and 1 change?", ""),
        _change("denoising_change", "How did the share change that a node's clean value restores?"),
        _change("noising_change", "How did the share change that a node's corrupt value takes?"),
        _carried(
            "repaired",
            "What share of the lost gap does the reference's value of a node bring back?",
        ),
        _carried(
            "carried", "What share of the lost gap does the twin's value of a node lose by itself?"
        ),
        _carried(
            "made",
            "What share of the lost gap does a node lose by its own weights, on the reference's "
            "input?",
        ),
    )
    tasks: tuple[TaskPrompts, ...] = ()
    saes: tuple[PlacedSae, ...] = ()

    @classmethod
    def create(cls, context: AnalysisContext) -> Self:
        """With the prompts of the tasks that were asked for, and the SAEs that were named."""
        return cls(tasks=context.tasks, saes=context.saes)

    @property
    def settings(self) -> dict[str, Any]:
        """The form of a cell, a hash of the prompts of every task, and every SAE's site and
        fingerprint."""
        saes = {p.sae.label: [p.site, p.sae.fingerprint] for p in self.saes}
        tasks = {task.task: task.digest for task in self.tasks}
        return {"form": FORM, "tasks": tasks, "saes": saes}
