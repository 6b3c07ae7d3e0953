"""ogbn-proteins: the main paper's results, and the tables of the supplement.

Figures come from the authors' own pages (abstract, README of their code, OGB's leaderboard) or, where the tables note so, from code
and notes that others published on the paper and that list its figures. Where these contradict each other, as on the score of
RevGNN-80, there is none here.
"""

from __future__ import annotations

from revgnn.experiments.paper.rows import Published, Row, Table

_BY_DEPTH = {
    2: {3: "490k", 7: "1.1M", 14: "2.2M", 28: "4.3M", 56: "8.6M", 112: "17.2M"},
    4: {3: "339k", 7: "750k", 14: "1.5M", 28: "2.9M", 56: "5.8M", 112: "11.5M"},
}
"""Parameters of RevGNN-224 by groups and layers."""

_SCORE_BY_DEPTH = {2: {3: 0.8509, 7: 0.8568, 14: 0.8662, 28: 0.8668, 56: 0.8690, 112: 0.8702}, 4: {}}
"""Test ROC-AUC of RevGNN-224 by groups and layers. Second-hand."""

_GROUPS_GB = {2: 7.30, 4: 11.05}
"""Memory of RevGNN-224 with 112 layers by groups."""

_WIDE_SCORES = {
    (1, 10): Published("68.47M", score=0.8723),
    (1, 5): Published("68.47M", score=0.8762, score_std=0.0018),
    (1, 3): Published("68.47M", score=0.8784),
    (10, 3): Published("68.47M", score=0.8824, score_std=0.0015),
}
"""RevGNN-Wide by views and parts."""


def _depth_row(groups: int, depth: int) -> Row:
    preset = "revgnn-224" + ("" if groups == 2 else f"-groups-{groups}") + ("" if depth == 112 else f"-depth-{depth}")
    memory, score = _GROUPS_GB[groups] if depth == 112 else None, _SCORE_BY_DEPTH[groups].get(depth)
    published = Published(_BY_DEPTH[groups][depth], memory, score=score)
    return Row(f"RevGNN-224-L{depth}-C{groups}", preset, published)


def _view_row(views: int, parts: int) -> Row:
    published = _WIDE_SCORES.get((views, parts), Published("68.47M"))
    return Row(f"RevGNN-Wide-V{views}-P{parts}", "revgnn-wide", published, views, parts)


TABLES = (
    Table(
        "proteins",
        "RevGNN-Deep and RevGNN-Wide on ogbn-proteins",
        "main paper, results on ogbn-proteins",
        (
            Row("RevGNN-Deep", "revgnn-deep", Published("20.03M", 2.86, score=0.8774, score_std=0.0013, train_days=13.5), 10, 3),
            Row("RevGNN-Wide", "revgnn-wide", Published("68.47M", 7.91, score=0.8824, score_std=0.0015, train_days=17.1), 10, 3),
        ),
        ("With one view of 5 parts RevGNN-Deep has 0.8706 ± 0.0020, RevGNN-Wide 0.8762 ± 0.0018.", "2.86 GB are second-hand."),
    ),
    Table(
        "table1",
        "RevGNN-224 by depth and number of groups",
        "supplement, Table 1",
        tuple(_depth_row(groups, depth) for groups, depths in _BY_DEPTH.items() for depth in depths),
        (
            "In the paper memory rises with the number of groups; a large part is a copy of the edge embedding for each group.",
            "Scores are second-hand.",
        ),
    ),
    Table(
        "table2",
        "112 layers or an equilibrium: residual, reversible, weight-tied, DEQ",
        "supplement, Table 2",
        (
            Row("ResGNN-64", "resgnn-64", Published("2.37M", 27.1, score=0.8594, train_days=1.3)),
            Row("ResGNN-224", "resgnn-224", Published("28.4M", out_of_memory_gb=32)),
            Row("WT-ResGNN-64", "wt-resgnn-64", Published("51.2k", 27.4, score=0.8330, train_days=1.2)),
            Row("WT-ResGNN-224", "wt-resgnn-224", Published("537k", out_of_memory_gb=32)),
            Row("RevGNN-64", "revgnn-64", Published("1.46M", 2.09, score=0.8548, train_days=1.8)),
            Row("RevGNN-80", "revgnn-80", Published("2.25M", 2.56, train_days=2.2)),
            Row("RevGNN-224", "revgnn-224", Published("17.2M", 7.30, score=0.8702, train_days=4.9)),
            Row("WT-RevGNN-64", "wt-revgnn-64", Published("35.0k", 1.60, score=0.8289, train_days=1.7)),
            Row("WT-RevGNN-80", "wt-revgnn-80", Published("51.4k", 2.08, score=0.8346, train_days=2.0)),
            Row("WT-RevGNN-224", "wt-revgnn-224", Published("337k", 5.55, score=0.8528, train_days=4.8)),
            Row("DEQ-GNN-64", "deq-gnn-64", Published("51.3k", 2.22, score=0.8317, train_days=1.3)),
            Row("DEQ-GNN-224", "deq-gnn-224", Published("537k", 7.60, score=0.8584, train_days=2.9)),
        ),
        (
            "The paper's residual networks store every layer; ours set checkpoints. Measuring says what they need either way.",
            "Scores, days and the memory of residual networks are second-hand.",
            "How the paper solves for an equilibrium is not published; ours is in the preset (revgnn presets deq-gnn-64).",
        ),
    ),
    Table(
        "table3",
        "multi-view inference with RevGNN-Wide",
        "supplement, Table 3",
        tuple(_view_row(views, parts) for views in (1, 5, 10) for parts in (10, 5, 3)),
        ("All rows are one trained network; they differ in how its test score is made.",),
    ),
    Table(
        "checkpoint",
        "gradient checkpointing against reversing",
        "supplement, on gradient checkpointing",
        (
            Row("ResGNN-64-checkpoint", "resgnn-64-checkpoint", Published("2.37M", 5.22)),
            Row("RevGNN-64", "revgnn-64", Published("1.46M", 2.09)),
        ),
    ),
    Table(
        "correlation",
        "correlation of test predictions between three networks",
        "supplement, on the correlation of predictions",
        (),
        (
            "Published Pearson coefficients of the three pairs: 0.8571, 0.8565, 0.8948.",
            "For runs of your own: revgnn correlate RUN RUN ...",
        ),
    ),
)
