"""ogbn-products: RevGNN-112, and networks of four convolutions under the paper's training protocol (arXiv:2106.07476).

The code for this data set was not published, and we found no source for the paper's own table. The protocol is what the text of the
paper says about training. RevGNN-112 is an entry of OGB's leaderboard. The example that the paper's first author gave to PyTorch
Geometric has the same number of parameters, and states the memory, and the score of 7 layers; it has a layer norm and Adam at 3e-3.

Depth and width of a network are known if its number of parameters is published: RevGNN-112 has 2,945,007 on OGB's leaderboard, and
ResGEN 253,743 in DeeperGCN (arXiv:2006.07739). The other networks of the comparison have the depth and width of ResGEN; the 4 heads
of ResGAT and RevGAT are our choice. As in the authors' code for ogbn-arxiv, gradients are not clipped.
"""

from __future__ import annotations

from typing import Literal

from revgnn.experiments.catalogue.convolutions import compared_model
from revgnn.experiments.row import Preset, Published, Row, Table
from revgnn.models.config import Conv, ModelConfig
from revgnn.train.config import DataConfig, OptimConfig, RunConfig


def _run(model: ModelConfig) -> RunConfig:
    """1000 epochs of 10 random parts, Adam at 1e-3 without clipping, evaluation on the whole graph. `parts=1` is the full batch."""
    return RunConfig(
        data=DataConfig(name="ogbn-products", self_loops=True),
        model=model,
        optim=OptimConfig(lr=1e-3, clip_norm=None),
        epochs=1000,
        parts=10,
    )


def _sage(depth: int) -> ModelConfig:
    return ModelConfig(conv="sage", depth=depth, channels=160, groups=2, norm="batch", dropout=0.5, aggregation="mean")


def _compared(name: str, family: Literal["residual", "reversible"], conv: Conv, parameters: int, *, heads: int = 1) -> Row:
    model = compared_model(family, conv, depth=14, heads=heads)
    shape = "14 layers of 128 channels" + (f" in {heads} heads" if heads > 1 else "")
    return Row(name, Preset(f"products-{name.lower()}", f"{name}, {shape}, for ogbn-products.", _run(model), parameters))


TABLES = (
    Table(
        "products",
        "RevGNN-112 on ogbn-products",
        "leaderboard of OGB, example rev_gnn.py of PyTorch Geometric",
        (
            Row(
                "RevGNN-112",
                Preset(
                    "products-revgnn-112",
                    "RevGNN-112, 112 layers of SAGE with 160 channels, for ogbn-products.",
                    _run(_sage(depth=112)),
                    parameters=2_945_007,
                ),
                Published("2,945,007", 1.57, score=0.8307, score_std=0.0030),
            ),
            Row(
                "RevGNN-7",
                Preset(
                    "products-revgnn-7",
                    "RevGNN-112 with 7 layers, SAGE with 160 channels, for ogbn-products.",
                    _run(_sage(depth=7)),
                    parameters=206_607,
                ),
                Published(score=0.8276, score_std=0.0027),
            ),
        ),
        notes=("The example has a layer norm and Adam at 3e-3 where the paper's protocol has a batch norm and 1e-3.",),
        metric="accuracy",
    ),
    Table(
        "products-convs",
        "residual and reversible networks of four convolutions on ogbn-products",
        "main paper, comparison on ogbn-products",
        (
            _compared("ResGCN", "residual", "gcn", 253_743),
            _compared("RevGCN", "reversible", "gcn", 139_311),
            _compared("ResSAGE", "residual", "sage", 483_119),
            _compared("RevSAGE", "reversible", "sage", 253_999),
            _compared("ResGEN", "residual", "gen", 253_743),
            _compared("RevGEN", "reversible", "gen", 139_311),
            _compared("ResGAT", "residual", "gat", 257_327, heads=4),
            _compared("RevGAT", "reversible", "gat", 142_895, heads=4),
        ),
        notes=("None of the paper's figures could be confirmed. Layers and channels are those of DeeperGCN (arXiv:2006.07739).",),
        metric="accuracy",
    ),
)
