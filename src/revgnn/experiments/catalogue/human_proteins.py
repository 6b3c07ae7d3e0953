"""Our own table: the comparisons of the paper on human protein interactions, a graph that two CPU cores can train on.

The same commands train, measure and write it as the published tables. None of its figures are the paper's.

All networks have 64 channels and one protocol: 60 epochs of 5 random parts (300 steps), mean aggregation, layer norm, dropout 0.2
with one mask for all layers, half of the training labels as inputs in each step, Adam at 1e-2 with 10 epochs of linear warm-up and
a cosine schedule, gradient norm clipped to 1, seed 0, evaluation on the whole graph. The networks differ in their family or in
their depth.
"""

from __future__ import annotations

from revgnn.experiments.catalogue.small_graphs import HUMANPPI
from revgnn.experiments.row import Preset, Row, Table
from revgnn.models.config import Family, ModelConfig
from revgnn.train.config import RunConfig


def _run(family: Family, *, depth: int = 28, tied: bool = False) -> RunConfig:
    model = ModelConfig(
        family=family,
        depth=depth,
        tied=tied,
        channels=64,
        groups=2 if family == "reversible" else 1,
        aggregation="mean",
        dropout=0.2,
    )
    return HUMANPPI.config.model_copy(update={"model": model, "epochs": 60, "parts": 5})


def _row(name: str, parameters: int, run: RunConfig, network: str) -> Row:
    return Row(name, Preset(f"humanppi-{name.lower()}", f"{network}, on human protein interactions.", run, parameters))


def _by_depth(depth: int, parameters: int) -> Row:
    return _row(f"RevGNN-{depth}", parameters, _run("reversible", depth=depth), f"RevGNN, {depth} layers of 64 channels")


_HALF_THE_STEPS = {
    "model.solver.forward_steps": 15,
    "model.solver.backward_steps": 15,
    "model.solver.evaluation_steps": 30,
}

_REVGNN_28 = _by_depth(28, 377_200)
"""As deep as the other families here. It is also evaluated in several views."""

TABLE = Table(
    "humanppi",
    "Families, depths and multi-view inference on human protein interactions",
    "this project's own experiment on ogbn-humanppi, not the paper's",
    (
        _row("ResGNN-28", 606_448, _run("residual"), "ResGNN, 28 layers of 64 channels"),
        _row("WT-ResGNN-28", 57_328, _run("residual", tied=True), "Weight-tied ResGNN, 28 layers of 64 channels"),
        _row("WT-RevGNN-28", 41_072, _run("reversible", tied=True), "Weight-tied RevGNN, 28 layers of 64 channels"),
        _row(
            "DEQ-GNN",
            57_328,
            _run("equilibrium").replace(_HALF_THE_STEPS),
            "DEQ-GNN, an equilibrium of 64 channels, solved for in half of the usual steps",
        ),
        _by_depth(3, 54_000),
        _by_depth(7, 105_712),
        _by_depth(14, 196_208),
        _REVGNN_28,
        _by_depth(56, 739_184),
        _by_depth(112, 1_463_152),
        *(
            Row(f"RevGNN-28-V{views}-P{parts}", _REVGNN_28.preset, views=views, parts=parts)
            for views in (1, 5, 10)
            for parts in (1, 3, 5, 10)
        ),
    ),
    notes=(
        "Human protein interactions: 12,381 nodes, 874,602 directed edges, 4 edge features, mean ROC-AUC over 112 tasks. "
        "A local set, no published benchmark; there are no published figures to set beside these.",
        "All networks have 64 channels and one protocol, with the same learning rate at every depth; none was tuned by itself.",
        "The equilibrium is solved for by Anderson acceleration in at most 15 steps, forward and backward (30 in "
        "evaluation), half of our usual number. A state that is not within tolerance by then is used as it is.",
        "Networks are trained on 5 random parts an epoch and evaluated on the whole graph. One part is the whole graph, so that "
        "its views are all the same.",
    ),
)
