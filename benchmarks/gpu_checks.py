"""Checks of the kernels on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.ops import edge_softmax, propagate
from revgnn.testing import NamedGraph, awkward_graphs
from revgnn.testing.comparison import assert_matches_reference
from revgnn.testing.operators import REDUCERS, call_perceptron, learns, perceptron_leaves
from revgnn.testing.operators import aggregate_on as op_on
from tests.ops.test_aggregate import draws

ROOT = Path(__file__).resolve().parents[1]
CHANNELS = 40
QUICK_GRAPHS = ("no edges", "single node, self-loop", "doubled edges")
WIDTHS = ((5, 7, 3), (32, 64, 32), (40, 80, 40), (56, 112, 56), (112, 224, 112))
"""Input, hidden and output channels of perceptrons."""
ROWS = (1, 37, 13_253)


def check_kernels(device: torch.device, quick: bool) -> list[str]:
    """Compare every operator with its definition, value and all gradients, and return a line for each wrong result."""
    checks = Checks(device)
    for name, graph in graphs(quick):
        check_graph_operators(checks, name, graph.to(device))
        if not quick:
            check_bfloat16(checks, name, graph.to(device))
    for widths in WIDTHS[:1] if quick else WIDTHS:
        for rows in ROWS[:2] if quick else ROWS:
            layers = [perceptron_leaves(rows, *widths, seed) for seed in range(3)]
            checks.against_reference(f"perceptron, {rows} rows of {widths}", call_perceptron, *layers)
    return checks.wrong


class Checks:
    """Results of the checks on a device.

    Attributes:
        wrong: a line for each wrong result.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.wrong: list[str] = []

    def run(self, name: str, check: Callable[[], None]) -> None:
        """Run a check and note what it raises; a kernel that fails to compile or launch is wrong, too."""
        try:
            check()
        except Exception as error:
            self.wrong.append(f"{name}: {type(error).__name__}: {error}")

    def against_reference(self, name: str, op: Any, *leaves: dict[str, Tensor]) -> None:
        """Compare an operator with its definition, on some sets of inputs."""
        on_device = [{key: t.to(self.device) for key, t in each.items()} for each in leaves]
        self.run(name, lambda: assert_matches_reference(op, *on_device, dtype=torch.float32, backend="gpu"))


def graphs(quick: bool) -> list[NamedGraph]:
    """Return the awkward graphs, and one with two hubs; with `quick` a few small ones."""
    if quick:
        return [named for named in awkward_graphs(3) if named.name in QUICK_GRAPHS]
    ends = (700 * torch.rand(2, 90_000, generator=torch.Generator().manual_seed(0)) ** 2).long()
    ends[1, :40_000], ends[0, 40_000:60_000] = 3, 5
    return [*awkward_graphs(3), NamedGraph("two hubs of 40,000 and 20,000", Graph.from_edge_index(ends, 700))]


def check_graph_operators(checks: Checks, name: str, graph: Graph) -> None:
    """Check `aggregate` with every reducer, `propagate`, and `edge_softmax`."""
    for reducer in REDUCERS:
        inputs = draws(graph, CHANNELS, edges=True, param=learns(reducer))
        checks.against_reference(f"aggregate, {reducer}, {name}", op_on(graph, reducer), *inputs)
    x, weight = torch.randn(graph.num_nodes, 3, CHANNELS).double(), torch.randn(graph.num_edges, 3).double()

    def weighted(t: dict[str, Tensor], backend: str | None) -> Tensor:
        return propagate(t["x"], graph, t["weight"], backend=backend)

    def normalised(t: dict[str, Tensor], backend: str | None) -> Tensor:
        return edge_softmax(t["scores"], graph, backend=backend)

    checks.against_reference(f"propagate, {name}", weighted, {"x": x, "weight": weight})
    if graph.num_edges:
        checks.against_reference(f"edge_softmax, {name}", normalised, {"scores": weight})


def check_bfloat16(checks: Checks, name: str, graph: Graph) -> None:
    """Check that `aggregate` in bfloat16 is computed in float32 and rounded once."""
    for reducer in REDUCERS:

        def rounded_once(reducer: str = reducer) -> None:
            inputs = draws(graph, CHANNELS, edges=True, param=learns(reducer))[0]
            half = {key: t.to(checks.device, torch.bfloat16) for key, t in inputs.items()}
            op = op_on(graph, reducer)
            out, wide = op(half, "gpu"), op({key: t.float() for key, t in half.items()}, "gpu")
            assert torch.equal(out, wide.bfloat16()), "not float32 rounded once"

        checks.run(f"aggregate, {reducer}, {name}, bfloat16", rounded_once)


def run_tests(*arguments: str) -> str:
    """Run the tests marked `gpu` and return the last line that pytest printed.

    Raises:
        AssertionError: if a test failed.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *arguments]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    print(done.stdout[-4000:])
    if done.returncode:
        raise AssertionError(f"tests marked gpu failed (pytest returned {done.returncode})")
    return done.stdout.strip().splitlines()[-1]
