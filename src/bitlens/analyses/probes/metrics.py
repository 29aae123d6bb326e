"""What the probes analysis reports, and why a number may be missing."""

from bitlens.results.records import Metric

_SOURCE = "three areas: the probe where it was learned, frozen on the twin, and learned again there"

NOT_THERE = "the reference's own probe does no better here than chance"
FEW_NEGATIVES = (
    "{} documents of the other class to set a threshold on: 1 % of fewer than 100 is less than one"
)


def _area(name: str, question: str, *, interval: bool = True) -> Metric:
    return Metric(
        name,
        question,
        unit="",
        worse="lower",
        intact=None,
        scale="logit" if interval else "linear",
        interval=interval,
        level=True,
    )


def _change(name: str, question: str, worse: str, unit: str = "share", source: str = "") -> Metric:
    return Metric(
        name,
        question,
        unit=unit,
        worse="higher" if worse == "higher" else "lower",
        intact=0.0,
        source=source,
    )


METRICS = (
    _area(
        "auc_choosing",
        "How well does the reference's probe tell the classes apart on the documents that its "
        "penalty was chosen on?",
        interval=False,
    ),
    _area(
        "auc_reference",
        "How often does the reference's probe rank a document of the class above one of the other, "
        "in the reference?",
    ),
    _area("auc_frozen", "How often does the same probe, as it is, do so in the twin?"),
    _area("auc_refitted", "How often does a probe that was learned anew do so in the twin?"),
    _change(
        "lost",
        "What does a monitor lose that is used on the twin as it is? Reference less frozen.",
        "higher",
        unit="",
        source=_SOURCE,
    ),
    _change(
        "lost_by_rotation",
        "How much of it would a probe of the twin's own get back? Refitted less frozen.",
        "higher",
        unit="",
        source=_SOURCE,
    ),
    _change(
        "lost_as_information",
        "How much can no linear probe read any more? Reference less refitted.",
        "higher",
        unit="",
        source=_SOURCE,
    ),
    Metric(
        "false_positives",
        "What share of the other class is flagged at the threshold that flags 1 % of it in the "
        "reference?",
        unit="share",
        worse="higher",
        intact=None,
        level=True,
    ),
    _change(
        "false_positive_change",
        "How much more of the other class does the same threshold flag in the twin?",
        "higher",
    ),
    Metric(
        "detected",
        "What share of the class is flagged at that threshold?",
        unit="share",
        worse="lower",
        intact=None,
        level=True,
    ),
    _change(
        "detected_change",
        "How much more of the class does the same threshold flag in the twin?",
        "lower",
    ),
    _area(
        "auc_repaired",
        "How often does the reference's probe rank so in a twin whose activations were brought "
        "back to the reference's, without labels?",
    ),
    Metric(
        "false_positives_repaired",
        "What share of the other class does the reference's threshold for 1 % then flag?",
        unit="share",
        worse="higher",
        intact=None,
        level=True,
    ),
    Metric(
        "direction_cosine",
        "How alike are the directions that were learned in both? No evidence of what a probe does.",
        unit="",
        worse="lower",
        intact=1.0,
        interval=False,
    ),
    Metric(
        "length_auc",
        "How well does the number of tokens alone tell the classes apart?",
        unit="",
        worse=None,
        intact=None,
        level=True,
    ),
)
