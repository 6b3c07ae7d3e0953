"""Single convolutions beside PyTorch Geometric's layers of the same names, forward and backward, in turns.

    python -m benchmarks convolutions
    python -m benchmarks convolutions --nodes 13253 --edges 800000 --in-channels 64 --out-channels 64
    python -m benchmarks convolutions --nodes 2708 --in-channels 1433 --out-channels 16 --classes 7

Ours and the peer have the same weights, and are called with the same `edge_index`; ours also with a `Graph`. First values and
gradients are compared; if one differs, nothing is timed. It also measures what is done once for a new `edge_index`: the conversion
to a `Graph`, its self-loops, and its form by source.

The last column is the time of the products of states and weights alone, one call of torch each. Both libraries need them, so it
bounds what can be gained.

With 1,433 channels the input is a bag of words as Cora's: 18 ones a row, and no gradient of the input is asked for. Ours finds its
entries once; "new features" is a call that finds them again.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch_geometric.nn
from torch import Tensor, nn

import revgnn
from benchmarks import harness
from revgnn.graph import Graph
from revgnn.ops import sparse_features

HEADS = 8
BAG_OF_WORDS = 1_433
WORDS = 18
"""Ones in a row of Cora's features, on average."""
SHAPES = ((2_708, 10_556, 64, 64), (2_708, 10_556, BAG_OF_WORDS, 16))
"""Nodes, edges and channels that are measured by default: Cora's size, a hidden layer and the first layer."""
CLASSES = 7
"""Of Cora: the second layer of the networks that are measured by default."""
QUICK = {"nodes": 200, "edges": 800, "in_channels": 8, "out_channels": 8, "repeats": 2}


class Shape(NamedTuple):
    """Nodes, edges, and the channels of input and output."""

    nodes: int
    edges: int
    in_channels: int
    out_channels: int


class Contest(NamedTuple):
    """One layer in both libraries, with the same weights."""

    ours: nn.Module
    peer: nn.Module


class TwoLayers(nn.Module):
    """A network for nodes: two layers, with ReLU in between."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor, edges: Any) -> Tensor:
        return self.second(self.first(x, edges).relu(), edges)


def networks(shape: Shape, classes: int) -> dict[str, Contest]:
    """Return networks of two layers of both libraries by the name of their layers; `classes` are the channels of the second."""
    first, second = layers(shape), layers(shape._replace(in_channels=shape.out_channels, out_channels=classes))
    return {name: Contest(*(TwoLayers(*pair) for pair in zip(first[name], second[name], strict=True))) for name in first}


def layers(shape: Shape) -> dict[str, Contest]:
    """Return the layers of both libraries by name, with the peer's weights in both."""
    made = {}
    for name in ("GCNConv", "SAGEConv", "GATConv", "GENConv"):
        heads = HEADS if shape.out_channels % HEADS == 0 else 1
        width = shape.out_channels // heads if name == "GATConv" else shape.out_channels
        options: dict[str, Any] = {"heads": heads} if name == "GATConv" else {}
        peer = getattr(torch_geometric.nn, name)(shape.in_channels, width, **options)
        ours = getattr(revgnn, name)(shape.in_channels, width, **options)
        ours.load_state_dict(copy.deepcopy(peer.state_dict()))
        made[name] = Contest(ours, peer)
    return made


def make_inputs(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return node features (N, C) and a random edge_index (2, E)."""
    rng = torch.Generator().manual_seed(0)
    edge_index = torch.randint(0, shape.nodes, (2, shape.edges), generator=rng)
    if shape.in_channels == BAG_OF_WORDS:
        x = torch.zeros(shape.nodes, BAG_OF_WORDS)
        return x.scatter_(1, torch.randint(0, BAG_OF_WORDS, (shape.nodes, WORDS), generator=rng), 1.0), edge_index
    return torch.randn(shape.nodes, shape.in_channels, generator=rng).requires_grad_(), edge_index


def forward_and_backward(conv: nn.Module, x: Tensor, edges: Any) -> list[Tensor]:
    """Return the value, and the gradients of its sum of squares by the parameters and, if it wants one, by `x`."""
    wanted = [*([x] if x.requires_grad else []), *conv.parameters()]
    out = conv(x, edges)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), wanted)]


def products(conv: nn.Module, x: Tensor) -> list[Callable[[], object]]:
    """Return the products of states and weights of a layer, forward and backward, as calls."""
    calls: list[Callable[[], object]] = []
    linears = {name: module for name, module in conv.named_modules() if isinstance(module, nn.Linear)}
    for name, module in linears.items():
        is_first = module.in_features == x.shape[1] and "mlp" not in name
        states = x.detach() if is_first else torch.randn(x.shape[0], module.in_features)
        grad, weight = torch.randn(x.shape[0], module.out_features), module.weight.detach()
        calls += [partial(torch.mm, states, weight.t()), partial(torch.mm, grad.t(), states)]
        if not is_first or x.requires_grad:
            calls.append(partial(torch.mm, grad, weight))
    return calls


def run_all(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def check(contests: Mapping[str, Contest], x: Tensor, edge_index: Tensor) -> None:
    """Check that both libraries agree, in float64.

    Raises:
        AssertionError: naming the layer.
    """
    wide = x.detach().double().requires_grad_(x.requires_grad)
    for name, contest in contests.items():
        ours, theirs = (results(copy.deepcopy(conv).double(), wide, edge_index) for conv in contest)
        for what, expected in theirs.items():
            if not torch.allclose(ours[what], expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max())):
                raise AssertionError(f"{name}: the {what} differs from that of PyTorch Geometric's layer")


def results(conv: nn.Module, x: Tensor, edge_index: Tensor) -> dict[str, Tensor]:
    """Return the value and all gradients by name. Those of the weights, whose names differ, as one norm."""
    value, *grads = forward_and_backward(conv, x, edge_index)
    of_x = {"gradient of x": grads.pop(0)} if x.requires_grad else {}
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    return {"value": value, **of_x, "norm of the gradients of the weights": norm}


def with_new_features(conv: nn.Module, x: Tensor, graph: Graph) -> list[Tensor]:
    """Do what `forward_and_backward` does as if `x` had not been seen before."""
    sparse_features.forget()
    return forward_and_backward(conv, x, graph)


def preparations(edge_index: Tensor, nodes: int) -> dict[str, Callable[[], object]]:
    """Return what is done once for a new `edge_index`, as calls that do it again each time."""

    def fresh() -> Graph:
        return Graph(graph.indptr, graph.src, validate=False)

    graph = Graph.from_edge_index(edge_index, nodes)
    return {
        "conversion": lambda: Graph.from_edge_index(edge_index, nodes),
        "self-loops": lambda: fresh().with_self_loops(),
        "by source": lambda: fresh().by_source,
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("convolutions", __doc__)
    parser.add_argument("--nodes", type=int, help="default: the two shapes of Cora")
    parser.add_argument("--edges", type=int, default=10_556)
    parser.add_argument("--in-channels", type=int, default=64)
    parser.add_argument("--out-channels", type=int, default=64)
    parser.add_argument("--classes", type=int, default=0, help="measure networks of two layers, the second of so many channels")
    parser.add_argument("--repeats", type=int, default=100, help="timed rounds; a round is one call of each")
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.nodes is not None:
        return measure(Shape(args.nodes, args.edges, args.in_channels, args.out_channels), args.classes, args)
    return max(*(measure(Shape(*shape), 0, args) for shape in SHAPES), measure(Shape(*SHAPES[1]), CLASSES, args))


def measure(shape: Shape, classes: int, args: argparse.Namespace) -> int:
    """Measure one shape, layers or networks of two, add the result, and print it. Returns the exit code."""
    torch.manual_seed(0)
    contests, (x, edge_index) = networks(shape, classes) if classes else layers(shape), make_inputs(shape)
    if not harness.checks_pass(lambda: check(contests, x, edge_index)):
        return 1
    graph = Graph.from_edge_index(edge_index, shape.nodes)
    graph = Graph(graph.indptr, graph.src, validate=False)
    with harness.result_line("convolutions", {**shape._asdict(), "classes": classes, "repeats": args.repeats}, args) as result:
        result["seconds"], result["once"] = {}, {}
        total = args.repeats * (5 * len(contests) + 3)
        with harness.progress("convolutions", total, quiet=args.quick) as tick:
            for name, (ours, peer) in contests.items():
                work = {
                    "edge_index": partial(forward_and_backward, ours, x, edge_index),
                    "Graph": partial(forward_and_backward, ours, x, graph),
                    "PyTorch Geometric": partial(forward_and_backward, peer, x, edge_index),
                    "new features": partial(with_new_features, ours, x, graph),
                    "products": partial(run_all, products(ours, x)),
                }
                for warm_up in work.values():
                    warm_up()
                result["seconds"][name] = {}
                harness.interleaved(work, args.repeats, into=result["seconds"][name], tick=tick)
            harness.interleaved(preparations(edge_index, shape.nodes), args.repeats, into=result["once"], tick=tick)
        if not args.json:
            print(show(result))
    return 0


def show(result: Mapping[str, Any]) -> str:
    """Return the tables and what surrounds them."""

    def milliseconds(seconds: Sequence[float]) -> str:
        return harness.Spread.of([1e3 * s for s in seconds]).text()

    peer = "PyTorch Geometric"
    rows = [
        [
            name,
            *(milliseconds(found[key]) for key in (peer, "edge_index", "Graph", "new features")),
            harness.ratios(found[peer], found["Graph"]).text(2),
            milliseconds(found["products"]),
        ]
        for name, found in result["seconds"].items()
    ]
    head = ["", peer, "revgnn, edge_index", "revgnn, Graph", "and new features", f"{peer} / revgnn with a Graph", "products"]
    once = [[name, milliseconds(seconds)] for name, seconds in result["once"].items()]
    second = f" to {result['classes']}" if result["classes"] else ""
    shape = "{nodes:,} nodes, {edges:,} edges, {in_channels:,} to {out_channels:,}{0} channels; {repeats} rounds"
    shape = shape.format(second, **result)
    return "\n".join(
        [
            f"{shape}; forward and backward, milliseconds, median (range)",
            f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}, load average {result['load_average']:.1f}\n",
            harness.table(head, rows),
            "",
            harness.table(["once for a new edge_index", "ms"], once),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
