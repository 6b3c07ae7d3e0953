"""The small study that tests of `revgnn depth` share."""

from __future__ import annotations

from revgnn.experiments.depth.plan import Plan
from revgnn.train import RunConfig

GRAPH = "synthetic:nodes=240,degree=8,tasks=3"
BASE = RunConfig.parse({"data": {"name": GRAPH}, "model": {"channels": 8}, "epochs": 3, "device": "cpu"})
PLAN = Plan(depths=(2, 1), rates=(0.003, 0.01), dropouts=(0.1,), seeds=(0, 1))
