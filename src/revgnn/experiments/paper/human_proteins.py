"""A table of our own: the paper's comparisons on human protein interactions, a graph that two cores can train on.

It stands beside the published tables so that the same commands train, measure and write it. Nothing in it is the paper's.
"""

from __future__ import annotations

from revgnn.experiments.paper.rows import Published, Row, Table

_DEPTHS = (3, 7, 14, 28, 56, 112)
_OF_VIEWS = "RevGNN-28"
"""The network that is evaluated in several views: of the depth at which the families are compared."""


def _row(name: str, views: int | None = None, parts: int | None = None) -> Row:
    suffix = "" if views is None else f"-V{views}-P{parts}"
    return Row(name + suffix, f"humanppi-{name.lower()}", Published(), views, parts)


TABLE = Table(
    "humanppi",
    "Families, depths and multi-view inference on human protein interactions",
    "this project's own experiment on ogbn-humanppi, not the paper's",
    (
        *(_row(name) for name in ("ResGNN-28", "WT-ResGNN-28", "WT-RevGNN-28", "DEQ-GNN")),
        *(_row(f"RevGNN-{depth}") for depth in _DEPTHS),
        *(_row(_OF_VIEWS, views, parts) for views in (1, 5, 10) for parts in (1, 3, 5, 10)),
    ),
    (
        "Human protein interactions: 12,381 nodes, 874,602 directed edges, 4 edge features, mean ROC-AUC over 112 tasks. "
        "A local set, no published benchmark; there are no published figures to set beside these.",
        "All networks have 64 channels and one protocol, with the same learning rate at every depth; none was tuned by itself.",
        "The equilibrium is solved for by Anderson acceleration in at most 15 steps, forward and backward (30 in "
        "evaluation), half of our usual number. A state that is not within tolerance by then is used as it is.",
        "Networks are trained on 5 random parts an epoch and evaluated on the whole graph. One part is the whole graph, so that "
        "its views are all the same.",
    ),
)
