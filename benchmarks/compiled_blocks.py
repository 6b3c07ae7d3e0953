"""Blocks as they are and the same blocks under `torch.compile`, in one reversible stack, in turns.

    python -m benchmarks compile --depth 7

Two kinds of block: ours around the fused aggregation, and one of plain torch operators as a user may write it. Before anything is
timed, reversing the compiled blocks must give, bit for bit, the gradients of storing them, and up to rounding the gradients of the
blocks as they are. A stack that recomputes is not compiled as a whole: a compiler that saw both evaluations would merge them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.checks import check_close_gradients
from benchmarks.networks import Shape, add_shape_options
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.nn import GENConv, PreActivation
from revgnn.stack import Backprop, GradientStrategy, Reversible, ReversibleStack

KINDS = ("GENConv", "plain torch")
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 2, "repeats": 2}


class PlainBlock(nn.Module):
    """Block without edges: norm, linear, GELU, linear, a gate. A compiler can fuse what is between its matrix products."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """Map (N, C) to (N, C). The graph and the edge features that every block gets are not used."""
        h = self.norm(x)
        return self.narrow(nn.functional.gelu(self.wide(h))) * torch.sigmoid(self.gate(h))


def make_block(kind: str, width: int, edge_features: int) -> nn.Module:
    """Return a block of one of `KINDS`."""
    if kind == "plain torch":
        return PlainBlock(width)
    return PreActivation(GENConv(width, width, aggr="max", norm="layer", bias=True, edge_dim=edge_features, map_edges=True))


def cxx_compiler() -> str | None:
    """Return the path of the C++ compiler that `torch.compile` uses on the CPU, or None if there is none."""
    names = [os.environ.get("CXX"), "g++", "clang++", "c++"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def make_stack(shape: Shape, kind: str, graph: Graph, *, compiled: bool, gradient: GradientStrategy) -> ReversibleStack:
    """Return a stack of blocks of this kind, with the same weights every time."""
    torch.manual_seed(0)
    blocks = [[make_block(kind, shape.width, graph.num_edge_features) for _ in range(shape.groups)] for _ in range(shape.depth)]
    for block in (block for layer in blocks for block in layer):
        if compiled:
            block.compile()
    return ReversibleStack(blocks, gradient=gradient)


def make_step(stack: ReversibleStack, graph: Graph, h: Tensor) -> Callable[[], None]:
    """Return a function that runs forward and backward pass from the state `h`."""

    def run() -> None:
        stack.zero_grad(set_to_none=True)
        stack(h, graph, graph.edge_attr).square().mean().backward()

    return run


def gradients(stack: ReversibleStack, graph: Graph, h: Tensor) -> dict[str, Tensor]:
    """Return the gradients of all parameters after one step."""
    make_step(stack, graph, h)()
    return {name: p.grad for name, p in stack.named_parameters() if p.grad is not None}


def check(shape: Shape, kind: str, graph: Graph) -> None:
    """Check that reversing compiled blocks gives the gradients of storing them, and of the blocks as they are.

    Raises:
        AssertionError: if it does not.
    """
    h = torch.randn(graph.num_nodes, shape.channels, generator=torch.Generator().manual_seed(0))
    reversing = gradients(make_stack(shape, kind, graph, compiled=True, gradient=Reversible()), graph, h)
    storing = gradients(make_stack(shape, kind, graph, compiled=True, gradient=Backprop()), graph, h)
    for name, truth in storing.items():
        if not torch.equal(reversing[name], truth):
            raise AssertionError(f"{kind}: reversing compiled blocks does not give the gradient of {name} that storing them gives")
    plain = gradients(make_stack(shape, kind, graph, compiled=False, gradient=Reversible()), graph, h)
    check_close_gradients(reversing, plain, f"{kind}, compiled")


def measure(args: argparse.Namespace, kind: str, graph: Graph, h: Tensor, result: dict[str, Any]) -> None:
    """Measure one kind of block and add it to `result`."""
    shape = Shape.of(args)
    work = {}
    for how in ("as it is", "compiled"):
        stack = make_stack(shape, kind, graph, compiled=how == "compiled", gradient=Reversible())
        work[f"{kind}, {how}"] = make_step(stack, graph, h)
    for name, run in work.items():
        start = time.perf_counter()
        run()
        result["warm_up_seconds"][name] = time.perf_counter() - start
    with harness.progress(kind, args.repeats * len(work), quiet=args.quick) as tick:
        seconds = harness.interleaved(work, args.repeats, tick=tick)
    result["seconds"] |= seconds
    plain, compiled = seconds.values()
    result["times_faster"][kind] = harness.ratios(plain, compiled)._asdict()


def show(result: dict[str, Any]) -> str:
    """Return the table and what is above it."""
    rows = []
    for name, seconds in result["seconds"].items():
        kind, how = name.rsplit(", ", 1)
        gain = harness.Spread(**result["times_faster"][kind]).text() if how == "compiled" else ""
        rows.append([name, harness.Spread.of(seconds).text(), f"{result['warm_up_seconds'][name]:.1f}", gain])
    sizes = "{depth} layers of {channels} channels, {groups} groups, {nodes:,} nodes, {edges:,} edges, float32".format(**result)
    table = harness.table(["", "seconds, median (range)", "first step, s", "compiling is faster by"], rows)
    return f"Forward and backward of a reversible stack, {sizes}; {result['repeats']} rounds in turns.\n\n{table}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("compile", __doc__)
    add_shape_options(parser)
    parser.add_argument("--repeats", type=int, default=10, help="timed rounds; a round is one step of each")
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if cxx_compiler() is None:
        raise ValueError("torch.compile needs a C++ compiler, and there is none; install g++ or clang++, or name one in $CXX.")
    graph = proteins_shaped(args.nodes, args.edges)
    part = graph.subgraph(torch.arange(min(1000, graph.num_nodes)))
    if not harness.checks_pass(*(lambda kind=kind: check(Shape.of(args), kind, part) for kind in KINDS)):
        return 1
    torch.compiler.reset()  # with code compiled for the small graph, torch would compile for variable sizes
    h = torch.randn(graph.num_nodes, args.channels)
    sizes = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "groups", "depth", "repeats")}
    with harness.result_line("compile", {**sizes, "dtype": "float32"}, args) as result:
        result |= {"seconds": {}, "warm_up_seconds": {}, "times_faster": {}}
        for kind in KINDS:
            measure(args, kind, graph, h, result)
        if not args.json:
            print(show(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
