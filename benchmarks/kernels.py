"""Every aggregation kernel, forward and backward, beside plain torch and the bounds of the machine.

    revgnn bench kernels --channels 16 32 64 128 --edge-features 0 8

The shape is that of one training batch of ogbn-proteins. Before anything is timed, value and all gradients are checked
against the definition on a part of the graph. Three bounds stand beside each figure, measured in the same run:

- operations: a message takes K multiply-adds a channel, the gradient of the weight K more; softmax takes one exponential of
  it, power an exponential and a logarithm, in either direction. Each divided by the rate of its like from registers, our own
  vector functions, on all threads;
- bytes: each input and output moved once, with the messages' sources cached; divided by the rate of a large copy;
- gather: the time it takes to read the rows a message needs, in the graph's own order, with nothing done but to sum them.

"times the bound" is our time over the largest of the three.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import bounds, harness
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.ops.aggregate import Max, Mean, Power, Reducer, Softmax, Sum, aggregate
from revgnn.testing import assert_close_to_truth

REDUCERS: dict[str, Reducer] = {str(how): how for how in (Max(), Sum(), Mean(), Softmax(1.0), Power(2.0))}
QUICK = {"nodes": 300, "edges": 6001, "channels": [16], "edge_features": [8], "repeats": 3, "torch_repeats": 2}


class Case(NamedTuple):
    """One operator on one shape."""

    graph: Graph
    channels: int
    how: Reducer

    def __str__(self) -> str:
        return f"{self.how}, {self.channels} channels, {self.graph.num_edge_features} edge features"


def tensors(case: Case, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    """x, weight and bias; without edge features x and bias."""
    torch.manual_seed(seed)
    features = case.graph.num_edge_features
    shapes = [(case.graph.num_nodes, case.channels), *([(features, case.channels)] if features else []), (case.channels,)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def forward(case: Case, leaves: list[Tensor], backend: str | None) -> Tensor:
    x, *weight, bias = leaves
    graph = case.graph
    return aggregate(x, graph, graph.edge_attr, weight[0] if weight else None, bias, how=case.how, backend=backend)


DRAWS = 4
"""Of what a check is judged by."""


def check(case: Case) -> None:
    """Value and gradients on a part of the graph, by the tolerance rule: it measures how far plain torch is off, and several draws,
    judged together, make that a steady figure.

    Raises:
        AssertionError: if a kernel is wrong; then nothing is timed.
    """
    part = case.graph.subgraph(torch.arange(min(1500, case.graph.num_nodes)))
    edge_attr = part.edge_attr
    results = []
    for backend, dtype in ((None, torch.float32), ("reference", torch.float32), ("reference", torch.float64)):
        cast = case._replace(graph=part if edge_attr is None else part.with_edge_attr(edge_attr.to(dtype)))
        draws = []
        for seed in range(DRAWS):
            leaves = tensors(cast, dtype, seed)
            upstream = torch.randn(part.num_nodes, case.channels, generator=torch.Generator().manual_seed(seed))
            out = forward(cast, leaves, backend)
            draws.append([out.detach(), *torch.autograd.grad(out, leaves, upstream.to(dtype))])
        results.append([torch.stack(same) for same in zip(*draws, strict=True)])
    names = ("value", "x", *(("weight",) if edge_attr is not None else ()), "bias")
    for name, ours, plain, truth in zip(names, *results, strict=True):
        assert_close_to_truth(ours, plain, truth, f"{case}: {name}")


class Work(NamedTuple):
    """What a direction must do at least."""

    operations: int
    """Multiply-adds."""
    exponentials: int
    logarithms: int
    moved: int
    """Bytes."""
    rows: int
    """Rows of C channels that each message reads."""

    def seconds(self, rates: bounds.Rates) -> float:
        """From registers."""
        return self.operations / rates.multiply_add + self.exponentials / rates.exponential + self.logarithms / rates.logarithm


def least_work(case: Case) -> dict[str, Work]:
    """Of forward and backward."""
    graph, channels = case.graph, case.channels
    nodes, edges, features = graph.num_nodes, graph.num_edges, graph.num_edge_features
    message = edges * features * channels
    state, structure = 4 * nodes * channels, edges * (4 + 4 * features)
    kind = str(case.how)
    saved = {"max": 1, "softmax": 2, "power": 1}.get(kind, 0)
    each = edges * channels
    exponentials, logarithms = each if kind in ("softmax", "power") else 0, each if kind == "power" else 0
    walk = Work(message, exponentials, logarithms, structure + (2 + saved) * state, 1)
    if kind == "max":  # only winners matter on the way back: N x C single numbers, and no rows
        return {"forward": walk, "backward": Work(nodes * channels * features, 0, 0, 3 * state, 0)}
    if features == 0 and kind == "power":  # by source, where a message is the same for all edges
        exponentials = logarithms = nodes * channels
    # whichever end a walk gathers by, a message reads a row of the other
    back = Work(2 * message, exponentials, logarithms, structure + (3 + saved) * state, 1)
    return {"forward": walk, "backward": back}


def gather_bounds(graph: Graph, channels: int) -> dict[str, float]:
    """Seconds to read one row a message: forward by destination, backward by source."""
    x = torch.randn(graph.num_nodes, channels)
    out = graph.by_source
    return {
        "forward": bounds.gather_seconds(x, graph.indptr, graph.src),
        "backward": bounds.gather_seconds(x, out.indptr, out.dst),
    }


def check_gather(graph: Graph, channels: int) -> None:
    """The kernel that gives a bound must read every row: its sums are those of torch.

    Raises:
        AssertionError: if not.
    """
    # whole numbers: any order of summation gives the same bits
    x = torch.randint(-9, 10, (graph.num_nodes, min(channels, bounds.WIDEST))).float()
    truth = torch.zeros_like(x).index_add_(0, graph.dst.long(), x[graph.src.long()])
    if not torch.equal(bounds.gather_sums(x, graph.indptr, graph.src), truth):
        raise AssertionError(f"rows of {channels} channels, read in the graph's order, do not add up to what torch finds")


def contestants(case: Case, backend: str | None) -> dict[str, Callable[[], object]]:
    leaves = tensors(case)
    out = forward(case, leaves, backend)
    upstream = torch.randn_like(out)
    return {
        "forward": lambda: forward(case, leaves, backend),
        "backward": lambda: torch.autograd.grad(out, leaves, upstream, retain_graph=True),
    }


def measure(
    case: Case, args: argparse.Namespace, rates: bounds.Rates, bandwidth: float, gather: dict[str, float], tick: Callable[..., None]
) -> list[dict[str, Any]]:
    """One entry a direction."""
    ours, plain = contestants(case, None), contestants(case, "reference")
    entries = []
    for direction, least in least_work(case).items():
        ours[direction]()
        plain[direction]()
        alone = harness.interleaved({"ours": ours[direction]}, args.repeats)["ours"]
        turns = harness.interleaved({"ours": ours[direction], "torch": plain[direction]}, args.torch_repeats)
        by_bound = {"operations": least.seconds(rates), "bytes": least.moved / bandwidth}
        if least.rows:
            by_bound["gather"] = least.rows * gather[direction]
        binding = max(by_bound, key=lambda name: by_bound[name])
        milliseconds = harness.Spread.of([1e3 * s for s in alone])
        entries.append(
            {
                "how": str(case.how), "direction": direction, "channels": case.channels,
                "edge_features": case.graph.num_edge_features, "milliseconds": milliseconds._asdict(),
                "bounds_milliseconds": {name: 1e3 * s for name, s in by_bound.items()}, "binding": binding,
                "bound_milliseconds": 1e3 * by_bound[binding], "times_the_bound": milliseconds.median / (1e3 * by_bound[binding]),
                "torch_milliseconds": 1e3 * harness.Spread.of(turns["torch"]).median,
                "times_faster": harness.ratios(turns["torch"], turns["ours"])._asdict(),
            }
        )  # fmt: skip
        tick(f"{case}, {direction}")
    return entries


def show(entries: Sequence[dict[str, Any]]) -> str:
    def row(entry: dict[str, Any]) -> list[str]:
        bound = entry["bounds_milliseconds"]
        bounds_text = [
            f"{bound[name]:.2g}{' *' if entry['binding'] == name else ''}" if name in bound else "-"
            for name in ("operations", "bytes", "gather")
        ]
        return [
            entry["how"], entry["direction"], str(entry["channels"]), str(entry["edge_features"]),
            harness.Spread(**entry["milliseconds"]).text(), *bounds_text, f"{entry['times_the_bound']:.2g}",
            f"{entry['torch_milliseconds']:.4g}", harness.Spread(**entry["times_faster"]).text(),
        ]  # fmt: skip

    header = ["reducer", "direction", "C", "K", "ours, ms", "operations, ms", "bytes, ms", "gather, ms", "times the bound"]
    return harness.table([*header, "plain torch, ms", "times faster"], map(row, entries))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("kernels", __doc__)
    parser.add_argument("--channels", type=int, nargs="+", default=[32], help="channels of a group, say 16 32 64 128")
    parser.add_argument("--edge-features", type=int, nargs="+", default=[8], help="features of an edge, say 0 8 16")
    parser.add_argument("--reducers", nargs="+", choices=REDUCERS, default=list(REDUCERS))
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--repeats", type=int, default=20, help="rounds of ours")
    parser.add_argument("--torch-repeats", type=int, default=3, help="rounds of ours and plain torch in turns")
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    graphs = {features: proteins_shaped(args.nodes, args.edges, features) for features in args.edge_features}
    cases = [
        Case(graph, channels, REDUCERS[name]) for graph in graphs.values() for channels in args.channels for name in args.reducers
    ]
    any_graph = next(iter(graphs.values()))
    right = harness.all_right(
        *(lambda case=case: check(case) for case in cases), *(lambda c=c: check_gather(any_graph, c) for c in args.channels)
    )
    if not right:
        return 1
    rounds = 4_000 if args.quick else 400_000
    rates, bandwidth = bounds.rates(rounds), bounds.bytes_a_second(2**22 if args.quick else 2**28)
    shape = {"nodes": args.nodes, "edges": args.edges, "dtype": "float32"}
    with harness.result_line("kernels", shape, args) as result:
        result |= {f"{name}s_a_second": rate for name, rate in rates._asdict().items()}
        result |= {"bytes_a_second": bandwidth, "kernels": []}
        gather = {}
        with harness.progress("kernels", 2 * len(cases), quiet=args.quick) as tick:
            for case in cases:
                width = case.channels, case.graph.num_edge_features
                if width not in gather:
                    gather[width] = gather_bounds(case.graph, case.channels)
                result["kernels"] += measure(case, args, rates, bandwidth, gather[width], tick)
        if not args.json:
            print(f"{args.nodes:,} nodes, {args.edges:,} edges, float32; C channels, K edge features. * is the bound that binds.")
            print(
                f"{rates.multiply_add / 1e9:,.0f} G multiply-adds, {rates.exponential / 1e9:,.1f} G exponentials, "
                f"{rates.logarithm / 1e9:,.1f} G logarithms and {bandwidth / 1e9:,.1f} GB a second on "
                f"{torch.get_num_threads()} threads; operations are each over its rate, added up.\n"
            )
            print(show(result["kernels"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
