"""Checks of the kernels on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.ops import edge_softmax, propagate
from revgnn.testing import NamedGraph, awkward_graphs
from revgnn.testing.comparison import DRAWS, assert_matches_reference
from revgnn.testing.operators import REDUCERS, aggregate_leaves, call_perceptron, learns, perceptron_leaves, with_exact_messages
from revgnn.testing.operators import aggregate_on as op_on

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
            layers = [perceptron_leaves(rows, *widths, seed) for seed in range(DRAWS if rows < 1000 else 3)]
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
        count = DRAWS if graph.num_edges < 10_000 else 4
        inputs = [aggregate_leaves(graph, CHANNELS, edges=True, param=learns(reducer), seed=seed) for seed in range(count)]
        if "power" in reducer:
            inputs = [with_exact_messages(leaves) for leaves in inputs]
        checks.against_reference(f"aggregate, {reducer}, {name}", op_on(graph, reducer), *inputs)
    rng = torch.Generator().manual_seed(0)
    x, weight = (
        [torch.randn(*shape, generator=rng).double() for _ in range(DRAWS)]
        for shape in ((graph.num_nodes, 3, CHANNELS), (graph.num_edges, 3))
    )

    def weighted(t: dict[str, Tensor], backend: str | None) -> Tensor:
        return propagate(t["x"], graph, t["weight"], backend=backend)

    def normalised(t: dict[str, Tensor], backend: str | None) -> Tensor:
        return edge_softmax(t["scores"], graph, backend=backend)

    leaves = [{"x": each, "weight": w} for each, w in zip(x, weight, strict=True)]
    checks.against_reference(f"propagate, {name}", weighted, *leaves)
    if graph.num_edges:
        checks.against_reference(f"edge_softmax, {name}", normalised, *({"scores": w} for w in weight))


def check_bfloat16(checks: Checks, name: str, graph: Graph) -> None:
    """Check that `aggregate` in bfloat16 is computed in float32 and rounded once."""
    for reducer in REDUCERS:

        def rounded_once(reducer: str = reducer) -> None:
            leaves = aggregate_leaves(graph, CHANNELS, edges=True, param=learns(reducer), seed=0)
            half = {key: t.to(checks.device, torch.bfloat16) for key, t in leaves.items()}
            op = op_on(graph, reducer)
            out, wide = op(half, "gpu"), op({key: t.float() for key, t in half.items()}, "gpu")
            assert torch.equal(out, wide.bfloat16()), "not float32 rounded once"

        checks.run(f"aggregate, {reducer}, {name}, bfloat16", rounded_once)


class Tests:
    """The tests marked `gpu`, running in processes of their own, in some side by side if pytest-xdist is there."""

    FOLDERS = ("tests/testing", "tests")
    """The longest test first."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *self.FOLDERS]
        if importlib.util.find_spec("xdist") is not None:
            command += ["-n", str(max(1, min(10, (os.cpu_count() or 1) - 4)))]
        searched = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(searched)}
        self.output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by `finish`
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.output, stderr=subprocess.STDOUT)

    def finish(self) -> str:
        """Wait for the tests and return the last line that pytest printed.

        Raises:
            AssertionError: if a test failed.
        """
        status = self.process.wait()
        with self.output:
            self.output.seek(0)
            printed = self.output.read()
        print(printed[-4000:] if status == 0 else printed)
        if status:
            raise AssertionError(f"tests marked gpu failed (pytest returned {status})")
        return printed.strip().splitlines()[-1].strip("= ")
