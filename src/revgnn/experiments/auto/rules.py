"""The rules of `--preset auto`: each decides one thing by the profile of the graph, and says why.

They were tuned on Tolokers, Minesweeper, Cora, Computers, filtered Squirrel and human protein interactions (docs/results.md), and
follow what others found on more graphs: residual connections, normalisation and dropout make plain convolutions strong (Luo et al.
2024, arXiv:2406.08993), and separating a node from its neighbours helps where edges join unequal nodes (Platonov et al. 2023,
arXiv:2302.11640).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from revgnn.experiments.auto.profile import GraphProfile

HOMOPHILOUS = 0.3
"""Adjusted homophily from which on neighbours count as alike."""

CARRIED = 0.03
"""Adjusted homophily from which on edges carry labels."""

FEW_PER_CLASS = 60
"""Training nodes a class below which labels are few, if they are a small share of the nodes too."""

FAR = 40
"""Steps across the graph from which on many layers are needed to see much of it."""

DENSE = 10.0
"""Mean degree from which on a mean over neighbours says much."""

MANY_FEATURES = 100
"""Features from which on they can be learned by heart."""

LONG_TEXT = 100
"""Words of a node from which on a share of each is too small to train on."""

LARGE_EDGES = 5_000_000
"""Edges from which on an epoch is long, so that there are fewer."""

Regime = Literal["few labels", "edge features", "bare", "alike", "words", "far", "dense", "sparse"]


@dataclass(frozen=True)
class Decision:
    """One thing that was decided.

    Attributes:
        topic: what it is about.
        what: what was chosen.
        why: the property of the graph that it follows from.
        changes: values by dotted key of `RunConfig`.
    """

    topic: str
    what: str
    why: str
    changes: Mapping[str, Any]


def regime(p: GraphProfile) -> Regime:
    """Return which of eight kinds of graph this is; the first that fits.

    few labels: of one class a node, and with too few training nodes to learn much. edge features: edges have them. bare: nodes have
    no features but, at most, their degree. alike: edges join nodes of one class. words: bags of words, and each node has many
    neighbours. far: the graph is many steps across. dense, sparse: all others, by their mean degree.
    """
    if p.task != "multilabel" and p.train_per_class < FEW_PER_CLASS and p.train_share < 0.2:
        return "few labels"
    if p.num_edge_features:
        return "edge features"
    if p.num_features < 2:
        return "bare"
    if p.homophily is not None and p.homophily >= HOMOPHILOUS:
        return "alike"
    if p.feature_kind == "words" and p.mean_degree >= DENSE:
        return "words"
    if p.eccentricity is not None and p.eccentricity >= FAR:
        return "far"
    return "dense" if p.mean_degree >= DENSE else "sparse"


# --- the network --------------------------------------------------------------------------------------------------------


def convolution(p: GraphProfile) -> Decision:
    """Choose the graph convolution. Only GEN reads edge features."""
    if p.num_edge_features:
        what, why = "GEN, softmax", "edges have features, which only GEN reads; what counts among neighbours is learned"
        changes = {"model.conv": "gen", "model.aggregation": "softmax", "model.learn_aggregation": True}
        return Decision("convolution", what, why, changes)
    if regime(p) in ("few labels", "alike", "words"):
        why = {
            "few labels": "with few labels, the mean over a node and its neighbours has the fewest weights to fit",
            "alike": "edges join nodes of one class, so that a node and its neighbours may be averaged",
            "words": "each node has many neighbours, whose words say more than its own",
        }[regime(p)]
        return Decision("convolution", "GCN with self-loops", why, {"model.conv": "gcn", "data.self_loops": True})
    if regime(p) == "dense":
        why = "edges hardly join nodes of one class: among many neighbours the most striking one says more than the mean"
        return Decision("convolution", "GEN, max", why, {"model.conv": "gen", "model.aggregation": "max"})
    why = "edges hardly join nodes of one class: a node's own features get weights of their own"
    if regime(p) == "bare":
        why = "nodes have no features: what neighbours have is told apart from what a node has"
    return Decision("convolution", "SAGE, mean", why, {"model.conv": "sage", "model.aggregation": "mean"})


def norm(p: GraphProfile) -> Decision:
    """Choose the normalisation inside the blocks."""
    kind = regime(p)
    if kind == "few labels":
        return Decision("norm", "none", "two layers train without one, and it has weights to overfit", {"model.norm": "none"})
    if kind in ("edge features", "alike", "dense"):
        return Decision("norm", "layer", "nodes differ in scale more than the features of one node", {"model.norm": "layer"})
    return Decision("norm", "batch", "it keeps how nodes differ in size, such as in degree", {"model.norm": "batch"})


def depth(p: GraphProfile) -> Decision:
    """Choose the number of layers."""
    layers, why = {
        "few labels": (2, "few labels do not train more"),
        "edge features": (3, "the features of edges are near, and the labels spread them"),
        "bare": (3, "there is little to carry far"),
        "alike": (3, "neighbours are alike, and those far away are not"),
        "words": (6, f"with {p.mean_degree:.0f} neighbours a node, six steps reach most of the graph"),
        "far": (32, f"the graph is about {p.eccentricity} steps across"),
        "dense": (7, "nothing says that near nodes suffice, and depth costs no memory"),
        "sparse": (7, "nothing says that near nodes suffice, and depth costs no memory"),
    }[regime(p)]
    if regime(p) == "far":
        changes = {"model.depth": layers, "model.block_init": "zero", "optim.reference_depth": layers}
        return Decision("depth", f"{layers} layers that start as the identity", why, changes)
    return Decision("depth", f"{layers} layers", why, {"model.depth": layers})


def width(p: GraphProfile) -> Decision:
    """Choose the number of channels."""
    kind = regime(p)
    if kind == "few labels" or p.num_features < MANY_FEATURES:
        channels, why = 64, "few labels" if kind == "few labels" else f"{_count(p.num_features)} no more"
    else:
        channels, why = 128, f"{p.num_features:,} features"
    return Decision("width", f"{channels} channels in 2 groups", why, {"model.channels": channels, "model.groups": 2})


def dropout(p: GraphProfile) -> Decision:
    """Choose the dropout of the node state and of the features."""
    state, features = {
        "few labels": (0.5, 0.7 if p.feature_kind == "words" else 0.2),
        "alike": (0.5, 0.2),
        "words": (0.8, 0.5),
        "edge features": (0.3, 0.0),
    }.get(regime(p), (0.2, 0.0))
    if p.num_features >= MANY_FEATURES:
        state = max(state, 0.5 if p.feature_kind == "words" else 0.4)
    if p.num_train < 1000:
        state = max(state, 0.5)
    what = f"{state}" + (f", {features} of the features" if features else "")
    why = "few labels" if p.num_train < 1000 else f"{p.num_train:,} training nodes"
    if features or p.num_features >= MANY_FEATURES:
        why += f" and {p.num_features:,} features, easily learned by heart"
    return Decision("dropout", what, why, {"model.dropout": state, "model.input_dropout": features})


def _count(features: int) -> str:
    return "one feature needs" if features == 1 else f"{features:,} features need"


# --- the inputs ---------------------------------------------------------------------------------------------------------


def scaling(p: GraphProfile) -> Decision:
    """Choose how features are scaled."""
    how, why = {
        "none": ("raw", "nodes have no features of their own"),
        "encoded": ("raw", "columns of tables are scaled when they are read"),
        "flags": ("raw", "all features are 0 or 1"),
        "words": ("raw", "bags of words are of one scale"),
        "mixed": ("standard", "features have scales of their own"),
    }[p.feature_kind]
    if p.feature_kind == "words" and regime(p) == "few labels" and p.filled * p.num_features > LONG_TEXT:
        why = f"a node has {p.filled * p.num_features:.0f} words: of a sum of 1 each would be too little"
    elif p.feature_kind == "words" and regime(p) == "few labels":
        how, why = "rows", "bags of words, each to sum 1, so that long texts do not outweigh others"
    if p.feature_kind == "mixed" and p.uneven > 100:
        how, why = "log", f"the largest feature varies {p.uneven:,.0f} times as much as the smallest"
    return Decision("features", how, why, {"data.features": how})


def label_inputs(p: GraphProfile) -> Decision:
    """Choose whether labels of training nodes are inputs: where edges carry them, and features alone say little."""
    topic = "labels"
    if p.homophily is None:
        return Decision(topic, "no inputs", "whether edges carry them is not known", {"label_inputs": 0.0})
    if p.homophily < CARRIED:
        return Decision(topic, "no inputs", "edges hardly carry them", {"label_inputs": 0.0})
    if p.train_share < 0.2:
        return Decision(topic, "no inputs", "too few nodes have one", {"label_inputs": 0.0})
    if regime(p) not in ("edge features", "bare"):
        return Decision(topic, "no inputs", "features of the nodes' own say more", {"label_inputs": 0.0})
    why = f"edges carry them (homophily {p.homophily:.2f}), and features of nodes say little"
    return Decision(topic, "half of the training labels are inputs", why, {"label_inputs": 0.5})


# --- training -----------------------------------------------------------------------------------------------------------


def learning_rate(p: GraphProfile) -> Decision:
    """Choose the learning rate, its schedule, and the weight decay."""
    rate = {"alike": 5e-3, "words": 2e-2}.get(regime(p), 1e-2)
    decay_rate = {"few labels": 5e-4, "words": 1e-4}.get(regime(p), 0.0)
    changes: dict[str, Any] = {"optim.lr": rate, "optim.weight_decay": decay_rate}
    decay = f", weight decay {decay_rate:g}" if decay_rate else ""
    if regime(p) == "few labels":
        why = "two layers train at one rate; decay keeps the weights of rare words small"
        return Decision("learning rate", f"{rate}{decay}", why, changes)
    changes |= {"optim.schedule": "cosine", "optim.warmup": 10}
    why = "a warm-up lets the state settle, and the last small steps score best"
    return Decision("learning rate", f"{rate} falling to 0 (cosine), 10 epochs of warm-up{decay}", why, changes)


def epochs(p: GraphProfile) -> Decision:
    """Choose the epochs, the patience, how often to evaluate, and the parts of an epoch."""
    count = {"few labels": 300, "edge features": 500, "far": 300, "alike": 150, "words": 60}.get(regime(p), 200)
    why = "small graphs take a moment an epoch"
    parts = 1
    if p.num_edges > LARGE_EDGES:
        count = max(50, round(count * math.sqrt(LARGE_EDGES / p.num_edges)))
        parts = max(1, round(p.num_edges / (2 * LARGE_EDGES)))
        why = f"{p.num_edges / 1e6:,.0f} million edges take a while"
    patience = {"few labels": 80, "words": 50}.get(regime(p), max(30, count // 2))
    every = 2 if count <= 100 or regime(p) == "few labels" else 5
    cut = f" of {parts} random parts" if parts > 1 else ""
    what = f"{count}{cut}, at most {patience} without a better validation score"
    return Decision("epochs", what, why, {"epochs": count, "patience": patience, "parts": parts, "evaluation.every": every})
