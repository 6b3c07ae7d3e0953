"""Blocks as they are and the same blocks under `torch.compile`, in one reversible stack, in turns.

    revgnn bench compile --depth 7

Two kinds of block: ours around the fused aggregation, and one of plain torch operators as a user may write it. Before anything is
timed, reversing the compiled blocks must give, bit for bit, the gradients of storing them, and those of the blocks as they are
up to rounding. A stack that recomputes is not compiled as a whole: a compiler that saw both evaluations would merge them.
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
from benchmarks.step import same_gradients
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.nn import GENConv, PreActivation
from revgnn.stack import Backprop, GradientStrategy, Reversible, ReversibleStack

QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 2, "repeats": 2}


class PlainBlock(nn.Module):
    """Norm, linear, GELU, linear, a gate: element-wise work between two matrix products, which a compiler can fuse. It sees no
    edges."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """(N, C) to (N, C); what else a block is given is not used."""
        h = self.norm(x)
        return self.narrow(nn.functional.gelu(self.wide(h))) * torch.sigmoid(self.gate(h))


def make_block(kind: str, width: int, edge_features: int) -> nn.Module:
    if kind == "plain torch":
        return PlainBlock(width)
    return PreActivation(GENConv(width, width, edge_dim=edge_features))


KINDS = ("GENConv", "plain torch")


def cxx_compiler() -> str | None:
    """The C++ compiler that `torch.compile` will find on the CPU, or None."""
    names = [os.environ.get("CXX"), "g++", "clang++", "c++"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def make_stack(args: argparse.Namespace, kind: str, graph: Graph, *, compiled: bool, gradient: GradientStrategy) -> ReversibleStack:
    """The same weights every time."""
    torch.manual_seed(0)
    width = args.channels // args.groups
    blocks = [[make_block(kind, width, graph.num_edge_features) for _ in range(args.groups)] for _ in range(args.depth)]
    for block in (block for layer in blocks for block in layer):
        if compiled:
            block.compile()
    return ReversibleStack(blocks, gradient=gradient)


def make_step(stack: ReversibleStack, graph: Graph, h: Tensor) -> Callable[[], None]:
    def run() -> None:
        stack.zero_grad(set_to_none=True)
        stack(h, graph, graph.edge_attr).square().mean().backward()

    return run


def gradients(stack: ReversibleStack, graph: Graph, h: Tensor) -> dict[str, Tensor]:
    make_step(stack, graph, h)()
    return {name: p.grad for name, p in stack.named_parameters() if p.grad is not None}


def check(args: argparse.Namespace, kind: str, graph: Graph) -> None:
    """
    Raises:
        AssertionError: if reversing compiled blocks differs from storing them, or from the blocks as they are.
    """
    h = torch.randn(graph.num_nodes, args.channels, generator=torch.Generator().manual_seed(0))
    reversing = gradients(make_stack(args, kind, graph, compiled=True, gradient=Reversible()), graph, h)
    storing = gradients(make_stack(args, kind, graph, compiled=True, gradient=Backprop()), graph, h)
    for name, truth in storing.items():
        if not torch.equal(reversing[name], truth):
            raise AssertionError(f"{kind}: reversing compiled blocks does not give the gradient of {name} that storing them gives")
    plain = gradients(make_stack(args, kind, graph, compiled=False, gradient=Reversible()), graph, h)
    same_gradients(reversing, plain, f"{kind}, compiled")


def measure(args: argparse.Namespace, kind: str, graph: Graph, h: Tensor, result: dict[str, Any]) -> None:
    """Adds to `result`."""
    work = {}
    for how in ("as it is", "compiled"):
        stack = make_stack(args, kind, graph, compiled=how == "compiled", gradient=Reversible())
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
    rows = []
    for name, seconds in result["seconds"].items():
        kind, how = name.rsplit(", ", 1)
        gain = harness.Spread(**result["times_faster"][kind]).text() if how == "compiled" else ""
        rows.append([name, harness.Spread.of(seconds).text(), f"{result['warm_up_seconds'][name]:.1f}", gain])
    shape = "{depth} layers of {channels} channels, {groups} groups, {nodes:,} nodes, {edges:,} edges, float32".format(**result)
    table = harness.table(["", "seconds, median (range)", "first step, s", "compiling is faster by"], rows)
    return f"Forward and backward of a reversible stack, {shape}; {result['repeats']} rounds in turns.\n\n{table}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("compile", __doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--repeats", type=int, default=10)
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if cxx_compiler() is None:
        raise ValueError("torch.compile needs a C++ compiler, and there is none; install g++ or clang++, or name one in $CXX.")
    graph = proteins_shaped(args.nodes, args.edges)
    part = graph.subgraph(torch.arange(min(1000, graph.num_nodes)))
    if not harness.all_right(*(lambda kind=kind: check(args, kind, part) for kind in KINDS)):
        return 1
    torch.compiler.reset()  # what was compiled for the small graph would make the sizes of the large one variable
    h = torch.randn(graph.num_nodes, args.channels)
    shape = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "groups", "depth", "repeats")}
    with harness.result_line("compile", {**shape, "dtype": "float32"}, args) as result:
        result |= {"seconds": {}, "warm_up_seconds": {}, "times_faster": {}}
        for kind in KINDS:
            measure(args, kind, graph, h, result)
        if not args.json:
            print(show(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
