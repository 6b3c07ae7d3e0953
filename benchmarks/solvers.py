"""How near 30 evaluations bring each solver to the equilibrium of the paper's block, ours beside torchdeq's.

    python -m benchmarks solvers

A solver is given the whole graph as one vector. Each initialisation is another graph, input and set of weights, the same for all
solvers. torchdeq takes part if it is installed (it is no dependency): in float32, with tolerance 0, its own defaults, and the best
residual it reports. Residuals of ours are computed again from the returned state; if one differs from what the solver reported,
nothing is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import harness
from revgnn.equilibrium.solvers import AbstractSolver, Anderson, Broyden, FixedPoint, Step
from revgnn.graph import Graph
from revgnn.models import EquilibriumBlock
from revgnn.nn import GENConv

AGGREGATIONS = ("max", "mean", "softmax")
QUICK = {"nodes": 100, "edges": 800, "channels": 8, "steps": 8, "initialisations": 1}

Contestant = Callable[[Step, Tensor], float]
"""Function that solves z = f(z) from an initial state (N, C) and returns the relative residual it reached."""


def problem(args: argparse.Namespace, aggregation: str, seed: int) -> tuple[Step, Tensor]:
    """Return the block of a new network on a new random graph, and the initial state: 0, or random with --random-start."""
    torch.manual_seed(seed)
    nodes, edges, channels, features = args.nodes, args.edges, args.channels, args.edge_features
    attr = torch.rand(edges, features) if features else None
    graph = Graph.from_edge_index(torch.randint(0, nodes, (2, edges)), nodes, attr)
    convs = [
        GENConv(channels, channels, aggregation, norm="layer", bias=True, edge_dim=features or None, map_edges=True)
        for _ in range(2)
    ]
    block = EquilibriumBlock(convs[0], convs[1], (nn.LayerNorm(channels), nn.LayerNorm(channels)))
    encoded = torch.randn(nodes, channels)
    rest = () if graph.edge_attr is None else (graph.edge_attr,)
    start = torch.randn(nodes, channels) if args.random_start else torch.zeros(nodes, channels)
    return lambda z: block(z, encoded, graph, *rest), start


def ours(solver: AbstractSolver) -> Contestant:
    """Return a contestant that solves with one of our solvers, and raises `AssertionError` if it reports a wrong residual."""

    def solve(f: Step, z0: Tensor) -> float:
        solution = solver.solve(f, z0)
        image = f(solution.z)
        found = float((image - solution.z).norm() / image.norm())
        # both evaluations of the state agree bit for bit; only the norms are summed in another precision
        if abs(found - solution.residual) > 1e-3 * found:
            raise AssertionError(f"{type(solver).__name__} states a residual of {solution.residual:.3g}, but it is {found:.3g}.")
        return found

    return solve


def torchdeq_solver(name: str, steps: int) -> Contestant:
    """Return a contestant that solves with one of torchdeq's solvers, "anderson" or "broyden"."""
    import torchdeq.solver.anderson  # pyright: ignore[reportMissingImports]
    import torchdeq.solver.broyden  # pyright: ignore[reportMissingImports]

    # torchdeq's Broyden evaluates f once before it begins to count
    solver, limit = {
        "anderson": (torchdeq.solver.anderson.anderson_solver, steps),
        "broyden": (torchdeq.solver.broyden.broyden_solver, steps - 1),
    }[name]

    def solve(f: Step, z0: Tensor) -> float:
        _, _, info = solver(lambda z: f(z[0])[None], z0[None], max_iter=limit, tol=0.0, stop_mode="rel")
        return float(info["rel_lowest"])

    return solve


def contestants(steps: int) -> dict[str, Contestant]:
    """Return every solver with its default settings, limited to `steps` evaluations, with tolerance 0."""
    entries = {
        "revgnn fixed point": ours(FixedPoint(steps, rtol=0.0)),
        "revgnn Anderson": ours(Anderson(steps, rtol=0.0)),
        "revgnn Broyden": ours(Broyden(steps, rtol=0.0)),
    }
    if importlib.util.find_spec("torchdeq"):
        entries["torchdeq Anderson"] = torchdeq_solver("anderson", steps)
        entries["torchdeq Broyden"] = torchdeq_solver("broyden", steps)
    return entries


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("solvers", __doc__)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--edges", type=int, default=40_000)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--edge-features", type=int, default=0)
    parser.add_argument("--random-start", action="store_true", help="start from normally distributed states instead of 0")
    parser.add_argument("--steps", type=int, default=30, help="evaluations of the block")
    parser.add_argument("--initialisations", type=int, default=5, help="graphs, inputs and sets of weights")
    return harness.parse(parser, argv, QUICK)


def solve_all(
    args: argparse.Namespace,
    entries: Mapping[str, Contestant],
    residuals: dict[str, dict[str, list[float]]],
    seconds: dict[str, list[float]],
) -> None:
    """Fill in residuals and seconds as they are measured.

    Raises:
        AssertionError: if one of our solvers reports a residual that its state does not have.
    """
    total = len(AGGREGATIONS) * args.initialisations * len(entries)
    with torch.no_grad(), harness.progress("solvers", total, quiet=args.quick) as tick:
        for how in AGGREGATIONS:
            for seed in range(args.initialisations):
                f, z0 = problem(args, how, seed)
                f(z0)  # compiles the kernels for this width
                for name, solve in entries.items():
                    start = time.perf_counter()
                    residuals[name][how].append(solve(f, z0))
                    seconds[name].append(time.perf_counter() - start)
                    tick(name)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    entries = contestants(args.steps)
    keys = ("nodes", "edges", "channels", "edge_features", "random_start", "steps")
    residuals: dict[str, dict[str, list[float]]] = {name: {how: [] for how in AGGREGATIONS} for name in entries}
    seconds: dict[str, list[float]] = {name: [] for name in entries}
    # only solving shows whether a residual is wrong, so nothing is written before all problems are solved
    if not harness.checks_pass(lambda: solve_all(args, entries, residuals, seconds)):
        return 1
    with harness.result_line("solvers", {**{key: getattr(args, key) for key in keys}, "dtype": "float32"}, args) as result:
        result |= {"residuals": residuals, "seconds": seconds}
        if not args.json:
            print(show(result, args))
    return 0


def show(result: dict[str, Any], args: argparse.Namespace) -> str:
    """Return the table and what is above it."""
    rows = [
        [
            name,
            *(harness.Spread.of(residuals[how]).text(2) for how in AGGREGATIONS),
            f"{statistics.median(result['seconds'][name]):.2f}",
        ]
        for name, residuals in result["residuals"].items()
    ]
    sizes = "{nodes:,} nodes, {edges:,} edges, {channels} channels, {edge_features} edge features".format(**result)
    return "\n".join(
        [
            f"Relative residual after {args.steps} evaluations of the paper's block; {sizes}, float32.",
            f"Median (range) of {args.initialisations} initialisations. {result['cpu']}, torch {torch.__version__}.\n",
            harness.table(["", *AGGREGATIONS, "seconds"], rows),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
