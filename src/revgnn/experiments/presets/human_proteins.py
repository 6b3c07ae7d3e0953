"""The paper's comparison on a graph that is at hand: human protein interactions, for `revgnn paper humanppi`.

All share one protocol, that of the preset `humanppi` with 60 epochs of 5 random parts, so 300 steps, in place of 300 of the whole
graph: mean aggregation, layer norm, dropout 0.2 with one mask for all layers, half of the training labels as inputs in each step,
Adam at 1e-2 with a linear warm-up of 10 epochs and a cosine to 0, gradient norm clipped to 1, seed 0; evaluated on the whole graph.
They have 64 channels and differ in how layers are joined, or in how many there are.
"""

from __future__ import annotations

from revgnn.experiments.presets.one_graph import humanppi
from revgnn.experiments.presets.registry import preset
from revgnn.models.config import Family
from revgnn.train.config import RunConfig


def _human_proteins(*, family: Family = "reversible", depth: int = 28, tied: bool = False) -> RunConfig:
    model = {"family": family, "depth": depth, "tied": tied, "channels": 64, "groups": 2 if family == "reversible" else 1}
    return humanppi().replace({"epochs": 60, "parts": 5, **{f"model.{key}": value for key, value in model.items()}})


@preset(parameters=606_448)
def humanppi_resgnn_28() -> RunConfig:
    """ResGNN, 28 layers of 64 channels, on human protein interactions."""
    return _human_proteins(family="residual")


@preset(parameters=57_328)
def humanppi_wt_resgnn_28() -> RunConfig:
    """Weight-tied ResGNN, 28 layers of 64 channels, on human protein interactions."""
    return _human_proteins(family="residual", tied=True)


@preset(parameters=41_072)
def humanppi_wt_revgnn_28() -> RunConfig:
    """Weight-tied RevGNN, 28 layers of 64 channels, on human protein interactions."""
    return _human_proteins(tied=True)


@preset(parameters=57_328)
def humanppi_deq_gnn() -> RunConfig:
    """DEQ-GNN, an equilibrium of 64 channels, solved for in half of the usual steps, on human protein interactions."""
    steps = {"forward_steps": 15, "backward_steps": 15, "evaluation_steps": 30}
    return _human_proteins(family="equilibrium").replace({f"model.solver.{key}": value for key, value in steps.items()})


@preset(parameters=54_000)
def humanppi_revgnn_3() -> RunConfig:
    """RevGNN, 3 layers of 64 channels, on human protein interactions."""
    return _human_proteins(depth=3)


@preset(parameters=105_712)
def humanppi_revgnn_7() -> RunConfig:
    """RevGNN, 7 layers of 64 channels, on human protein interactions."""
    return _human_proteins(depth=7)


@preset(parameters=196_208)
def humanppi_revgnn_14() -> RunConfig:
    """RevGNN, 14 layers of 64 channels, on human protein interactions."""
    return _human_proteins(depth=14)


@preset(parameters=377_200)
def humanppi_revgnn_28() -> RunConfig:
    """RevGNN, 28 layers of 64 channels, on human protein interactions."""
    return _human_proteins(depth=28)


@preset(parameters=739_184)
def humanppi_revgnn_56() -> RunConfig:
    """RevGNN, 56 layers of 64 channels, on human protein interactions."""
    return _human_proteins(depth=56)


@preset(parameters=1_463_152)
def humanppi_revgnn_112() -> RunConfig:
    """RevGNN, 112 layers of 64 channels, on human protein interactions."""
    return _human_proteins(depth=112)
