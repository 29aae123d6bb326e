"""The metrics of routing: of routers, of experts, and of whole runs under the other's routing."""

from bitlens.results.records import Metric

_SIGMOIDS = "of a router of sigmoids, their shares of their sum"

OF_ROUTERS = (
    Metric(
        "agreement",
        "What share of the experts that the reference chooses for a token does the twin too?",
        unit="share",
        worse="lower",
        intact=1.0,
        source="overlap of two sets of k; chance: sum over experts of both loads' product, over k",
    ),
    Metric(
        "exact",
        "What share of the tokens are sent to exactly the same experts?",
        unit="share",
        worse="lower",
        intact=1.0,
    ),
    Metric(
        "top1",
        "For what share of the tokens is the expert of largest weight the same?",
        unit="share",
        worse="lower",
        intact=1.0,
    ),
    Metric(
        "jaccard",
        "Of all experts that one of the two chooses for a token, what share do both?",
        unit="share",
        worse="lower",
        intact=1.0,
        source="Jaccard 1901",
    ),
    Metric(
        "mass",
        "What share of the weight that experts are given goes to the same ones?",
        unit="share",
        worse="lower",
        intact=1.0,
        source="sum over experts of the smaller weight, each model's summing to 1",
    ),
    Metric(
        "kl",
        "How far is the twin's distribution over all experts from the reference's?",
        unit="nats",
        worse="higher",
        intact=0.0,
        scale="log",
        source=f"Kullback and Leibler 1951; {_SIGMOIDS}",
    ),
    Metric(
        "tv",
        "What share of the router's distribution over all experts went elsewhere?",
        unit="share",
        worse="higher",
        intact=0.0,
        scale="log",
        source=f"half the L1 distance; {_SIGMOIDS}",
    ),
)
"""Of the twin as it runs, and of its router and experts on the reference's input."""

OF_LOADS = (
    Metric(
        "load_tv",
        "What share of all that experts have to do is done by others?",
        unit="share",
        worse="higher",
        intact=0.0,
        source="half the L1 distance of both loads",
    ),
    Metric(
        "load_entropy",
        "How evenly are the experts used? Entropy of their load, over that of an even one.",
        unit="share",
        worse=None,
        intact=None,
        level=True,
    ),
    Metric(
        "load_peak",
        "How much more than its part does the busiest expert do? Its load over the mean.",
        unit="",
        worse=None,
        intact=None,
        level=True,
    ),
    Metric(
        "load_shift",
        "How many more of the tokens does an expert get? Twin's share minus the reference's.",
        unit="share",
        worse=None,
        intact=0.0,
    ),
    Metric(
        "shift_rate",
        "Of tokens whose last chosen expert is so far ahead of the first that is not, what share "
        "are sent elsewhere?",
        unit="share",
        worse="higher",
        intact=0.0,
        source="margin: the difference of both router logits in the reference; of sigmoids and "
        "probabilities, of their logarithms",
    ),
)
"""Of the twin as it runs alone."""

OF_EXPERTS = (
    Metric(
        "weights_error",
        "How far off is what all experts together add, on the reference's input and routing? Root "
        "of the ratio of energies.",
        unit="share",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric(
        "expert_error",
        "How far off is what one expert adds, on the tokens that the reference sends to it? Root "
        "of the ratio of energies.",
        unit="share",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
)

OF_RUNS = (
    Metric(
        "damage",
        "How far are the twin's predictions from the reference's, on the documents of the two "
        "below?",
        unit="nats",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric(
        "damage_weights",
        "How far are they if its tokens are sent, with the reference's weights, to the experts "
        "that the reference sends them to?",
        unit="nats",
        worse="higher",
        intact=0.0,
        scale="log",
        source="the twin under the reference's routing in every block",
    ),
    Metric(
        "damage_routing",
        "How far are the reference's own predictions if its tokens are sent where the twin sends "
        "them?",
        unit="nats",
        worse="higher",
        intact=0.0,
        scale="log",
        source="the reference under the twin's routing in every block",
    ),
    Metric(
        "repaired",
        "What share of the twin's damage is gone once its tokens are sent where the reference "
        "sends them?",
        unit="share",
        worse=None,
        intact=None,
        source="1 less the damage under the reference's routing over the twin's own",
    ),
)
