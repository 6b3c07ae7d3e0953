"""ogbn-arxiv: the main paper's results, and its comparison of convolutions.

Scores of RevGAT are those of the authors' README and OGB's leaderboard. The other figures are listed as the paper's by code and
notes that others published on it; the memory of all but RevGAT-Wide, and most of the comparison, could be found nowhere.
"""

from __future__ import annotations

from revgnn.experiments.paper.rows import Published, Row, Table

_REVGCN = Published("262k", score=0.7301)
_REVGAT = Published("2.10M", score=0.7402, score_std=0.0018)
_REVGAT_WIDE = Published("3.88M", 8.49, score=0.7405, score_std=0.0011)

TABLES = (
    Table(
        "arxiv",
        "RevGCN-Deep and RevGAT on ogbn-arxiv",
        "main paper, results on ogbn-arxiv",
        (
            Row("RevGCN-Deep", "arxiv-revgcn", _REVGCN),
            Row("RevGAT", "revgat", _REVGAT),
            Row("RevGAT-Wide", "revgat-wide", _REVGAT_WIDE),
            Row("RevGAT-SelfKD", "revgat-selfkd", Published("2.10M", score=0.7426, score_std=0.0017), teacher="revgat"),
        ),
        (
            "RevGAT-SelfKD learns from a RevGAT: train that first, and name its run by --teacher.",
            "Figures of RevGCN-Deep and RevGAT-Wide are second-hand.",
        ),
        "accuracy",
    ),
    Table(
        "arxiv-convs",
        "residual and reversible networks of four convolutions on ogbn-arxiv",
        "main paper, comparison of convolutions on ogbn-arxiv",
        (
            Row("ResGCN", "arxiv-resgcn", Published()),
            Row("RevGCN", "arxiv-revgcn", _REVGCN),
            Row("ResSAGE", "arxiv-ressage", Published()),
            Row("RevSAGE", "arxiv-revsage", Published()),
            Row("ResGEN", "arxiv-resgen", Published("491k", score=0.7232)),
            Row("RevGEN", "arxiv-revgen", Published()),
            Row("ResGAT", "resgat", Published()),
            Row("RevGAT", "revgat", _REVGAT),
            Row("RevGAT-wide", "revgat-wide", _REVGAT_WIDE),
        ),
        ("Layers and channels are those of RevGCN-Deep and RevGAT. Figures without a deviation are second-hand.",),
        "accuracy",
    ),
)
