"""`GraphProfile`: what the rules of `--preset auto` know of a data set. It has no name in it, so that no rule can go by names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FeatureKind = Literal["none", "flags", "words", "mixed", "encoded"]
"""none: no features of the nodes' own; flags: few features, all 0 or 1; words: many features, nearly all 0 and none negative, as a
bag of words; mixed: numbers of any other kind; encoded: columns of tables, which are scaled when they are read."""


@dataclass(frozen=True)
class GraphProfile:
    """Properties of a data set. What is said of labels is said of the training nodes alone.

    Attributes:
        num_nodes: N.
        num_edges: E, directed, as they are stored.
        mean_degree: E / N.
        max_degree: the most edges into one node.
        eccentricity: steps from some node to the farthest that it reaches, a lower bound of the diameter; None if the graph is too
            large to walk.
        num_features: F; 0 if nodes have none.
        feature_kind: see `FeatureKind`.
        filled: share of the features that are not 0.
        uneven: largest deviation of a feature over the smallest; 1 for fewer than two features that vary.
        num_edge_features: K.
        task: "multiclass", "binary", "multilabel" or "regression".
        num_outputs: classes, or labels; 1 for a binary task.
        num_train: training nodes, or graphs or pairs if these have the labels.
        homophily: how much more often an edge joins two nodes of equal label than chance does, 1 at most, 0 by chance (adjusted
            homophily, Platonov et al. 2023, arXiv:2209.06177; of several labels their mean); None if too few edges join two
            training nodes to tell, or if labels are numbers, or those of graphs or pairs.
        num_rows: nodes, or graphs or pairs if these have the labels; None: nodes.
    """

    num_nodes: int
    num_edges: int
    mean_degree: float
    max_degree: int
    eccentricity: int | None
    num_features: int
    feature_kind: FeatureKind
    filled: float
    uneven: float
    num_edge_features: int
    task: str
    num_outputs: int
    num_train: int
    homophily: float | None
    num_rows: int | None = None

    @property
    def train_share(self) -> float:
        """Training nodes by nodes, or likewise of graphs or pairs."""
        return self.num_train / max(self.num_nodes if self.num_rows is None else self.num_rows, 1)

    @property
    def train_per_class(self) -> float:
        """Training nodes by classes: of a binary task 2, of several labels 2, since each has a yes and a no."""
        return self.num_train / (self.num_outputs if self.task == "multiclass" else 2)
