"""Presets for graphs that two CPU cores can train on, each for one data set."""

from __future__ import annotations

from revgnn.experiments.row import Preset
from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, EvalConfig, OptimConfig, RunConfig

QUICKSTART = Preset(
    "quickstart",
    "A deep reversible network on the generated graph, in about two minutes on two cores.",
    RunConfig(
        data=DataConfig(name="synthetic"),
        model=ModelConfig(depth=56, channels=32, groups=2, dropout=0.1),
        optim=OptimConfig(lr=3e-3),
        epochs=30,
    ),
)

TOLOKERS = Preset(
    "tolokers",
    "RevGNN with 10 layers of GCN for Tolokers, whole graph.",
    RunConfig(
        data=DataConfig(name="tolokers", features="standard", self_loops=True),
        model=ModelConfig(conv="gcn", depth=10, channels=256, groups=2, norm="batch", dropout=0.5),
        optim=OptimConfig(lr=3e-3, schedule="cosine", warmup=10),
        evaluation=EvalConfig(every=10),
        epochs=500,
    ),
)

MINESWEEPER = Preset(
    "minesweeper",
    "RevGNN with 32 layers of SAGE for Minesweeper, whose blocks start at zero.",
    RunConfig(
        data=DataConfig(name="minesweeper"),
        model=ModelConfig(
            conv="sage", aggregation="mean", depth=32, channels=64, groups=2, norm="batch", dropout=0.2, block_init="zero"
        ),
        optim=OptimConfig(lr=1e-2, reference_depth=32, schedule="cosine", warmup=10),
        evaluation=EvalConfig(every=10),
        epochs=500,
    ),
)

COMPUTERS = Preset(
    "computers",
    "RevGNN with 3 layers of attention for Amazon's Computers, whole graph.",
    RunConfig(
        data=DataConfig(name="computers", self_loops=True),
        model=ModelConfig(conv="gat", heads=4, depth=3, channels=256, groups=2, dropout=0.5),
        optim=OptimConfig(lr=1e-3, weight_decay=5e-5, schedule="cosine", warmup=10),
        evaluation=EvalConfig(every=5),
        epochs=600,
    ),
)

CORA = Preset(
    "cora",
    "RevGNN with 2 layers of GCN for Cora, which has 140 training nodes: no norm, high dropout, weight decay.",
    RunConfig(
        data=DataConfig(name="cora", features="rows", self_loops=True),
        model=ModelConfig(conv="gcn", depth=2, channels=64, groups=2, norm="none", dropout=0.5, input_dropout=0.7),
        optim=OptimConfig(lr=1e-2, weight_decay=5e-4),
        evaluation=EvalConfig(every=2),
        epochs=300,
        patience=80,
    ),
)

HUMANPPI = Preset(
    "humanppi",
    "RevGNN with 3 layers for the human protein interactions, 4 edge features and 112 labels, with labels as inputs.",
    RunConfig(
        data=DataConfig(name="ogbn-humanppi", features="log"),
        model=ModelConfig(depth=3, channels=64, groups=2, aggregation="softmax", learn_aggregation=True, dropout=0.3),
        optim=OptimConfig(lr=1e-2, schedule="cosine", warmup=10),
        evaluation=EvalConfig(every=10),
        label_inputs=0.5,
        epochs=500,
    ),
)

PRESETS = (QUICKSTART, TOLOKERS, MINESWEEPER, COMPUTERS, CORA, HUMANPPI)
