"""The charts of docs/how-it-works.md: one drawn from a committed result, two computed."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch

from revgnn import GENConv, Graph, PreActivation, ReversibleStack
from revgnn.equilibrium.solvers import AbstractSolver, Anderson, Broyden, FixedPoint
from revgnn.experiments.run_report.charts.chart import Axis, Series, XYChart
from revgnn.ops import round_to_grid

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"

CURVES = {"PyG GroupAddRev": ("PyTorch Geometric", 2), "Backprop": ("Backprop", 4), "Reversible": ("Reversible", 1)}
"""What the curves of `benchmarks/results/depth.jsonl` are called here, and their colours."""


def memory(results: Path = RESULTS) -> XYChart:
    """Return peak memory against depth, as the last run of `python -m benchmarks depth` measured it."""
    last: dict[str, Any] = json.loads((results / "depth.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    series = []
    for curve, (name, colour) in CURVES.items():
        points = [(p["depth"], p["peak_bytes"] / 1e6) for p in last["depths"] if p["curve"] == curve]
        if points:
            depths, peaks = zip(*sorted(points), strict=True)
            series.append(Series(name, depths, peaks, colour=colour, style="both" if len(points) > 1 else "points"))
    gradients = sorted({p["depth"]: p["parameter_bytes"] / 1e6 for p in last["depths"] if p["parameter_bytes"]}.items())
    series.append(Series("gradients", *zip(*gradients, strict=True), colour=0, dashed=True))
    x = Axis("layers", log=True, ticks=[3, 10, 100, 1000, 10_000])
    caption = "Above weights and inputs; the dashed line is the part that the gradients of the parameters take."
    return XYChart("memory", "Peak memory of a training step", caption, x, Axis("MB", log=True), series)


def depth(results: Path = RESULTS) -> XYChart:
    """Return the time of a layer against depth, as the last run of `python -m benchmarks depth` measured it."""
    last: dict[str, Any] = json.loads((results / "depth.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    series = []
    for curve, (name, colour) in CURVES.items():
        points = [
            (p["depth"], 1e3 * statistics.median(p["layer_seconds"]))
            for p in last["depths"]
            if p["curve"] == curve and p["seconds"]
        ]
        if points:
            depths, times = zip(*sorted(points), strict=True)
            series.append(Series(name, depths, times, colour=colour, style="both" if len(points) > 1 else "points"))
    x = Axis("layers", log=True, ticks=[3, 10, 100, 1000, 10_000])
    caption = "Forward and backward pass of a training step, without what is not in a layer."
    return XYChart("depth", "Time of a layer", caption, x, Axis("milliseconds", log=True, ticks=[10, 30, 100, 300, 1000]), series)


def drift(depth: int = 448, nodes: int = 300) -> XYChart:
    """Return how far a state that is computed back through the layers is off, for a plain state and for one on the grid."""
    series = []
    for name, colour, kind in (("plain, bf16 autocast", 2, "bf16"), ("plain, float32", 5, "plain"), ("on the grid", 1, "grid")):
        errors = _errors(depth, nodes, kind)
        shown = [max(e, FLOOR) for e in errors]
        series.append(Series(name, list(range(1, depth + 1)), shown, colour=colour))
    y = Axis("relative error (0 drawn at 1e-9)", log=True, low=FLOOR, high=1.0)
    caption = "Largest error of the state, over its largest element, after so many layers were computed back."
    return XYChart(
        "drift", "The state, computed back", caption, Axis("layers computed back", whole=True, low=0, high=depth), y, series
    )


FLOOR = 1e-9
"""Where an error of 0 is drawn on a logarithmic axis."""


@torch.no_grad()
def _errors(depth: int, nodes: int, kind: str) -> list[float]:
    torch.manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, nodes, (2, 8 * nodes)), nodes)
    blocks = [[PreActivation(GENConv(16, 16, "max", norm="layer", bias=True)) for _ in range(2)] for _ in range(depth)]
    stack = ReversibleStack(blocks, state="grid" if kind == "grid" else "plain")
    layers = [ReversibleStack([list(layer.blocks)], state=stack.state) for layer in stack.layers]  # pyright: ignore
    h = round_to_grid(torch.randn(nodes, 32), 14)
    states, errors = [h], []
    with torch.autocast("cpu", enabled=kind == "bf16"):
        for layer in layers:
            states.append(layer(states[-1], graph))
        back = states[-1]
        for layer, expected in zip(reversed(layers), reversed(states[:-1]), strict=True):
            back = layer.inverse(back, graph)
            errors.append(float((back - expected).abs().max() / expected.abs().max()))
    return errors


def solves(nodes: int = 200, steps: int = 30) -> XYChart:
    """Return the residual of an equilibrium by evaluation, for three solvers."""
    torch.manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, nodes, (2, 8 * nodes)), nodes)
    block, x = PreActivation(GENConv(32, 32, "mean", norm="layer", bias=True)), torch.randn(nodes, 32)
    norm = torch.nn.LayerNorm(32)
    series = []
    kinds: list[tuple[str, int, AbstractSolver]] = [
        ("fixed point, damped", 2, FixedPoint(steps, rtol=1e-7, damping=0.75)),
        ("Broyden", 3, Broyden(steps, rtol=1e-7)),
        ("Anderson", 1, Anderson(steps, rtol=1e-7)),
    ]
    for name, colour, solver in kinds:
        with torch.no_grad():
            found = solver.solve(lambda z: norm(block(z, graph) + x), torch.zeros_like(x)).residuals
        series.append(Series(name, list(range(1, len(found) + 1)), found, colour=colour))
    caption = "Relative residual of z = f(z) after each evaluation of f, from z = 0."
    x_axis = Axis("evaluations of the block", whole=True, low=0, high=steps)
    return XYChart("solves", "Solving for an equilibrium", caption, x_axis, Axis("relative residual", log=True), series)
