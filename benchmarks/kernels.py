"""Every aggregation kernel, forward and backward, beside plain torch and the bounds of the machine.

    python -m benchmarks kernels --channels 16 32 64 128 --edge-features 0 8

The shape is that of one training batch of ogbn-proteins. Before anything is timed, value and all gradients are checked
against the definition on a part of the graph. Three bounds stand beside each figure, measured in the same run:

- operations: multiply-adds, exponentials and logarithms, each divided by its rate from registers with our own vector functions on
  all threads, added up (`kernel_work` counts them);
- bytes: each input and output moved once, with the sources' rows cached, divided by the rate of a large copy;
- gather: the time to read the rows that messages need, in the graph's own order, and to sum them.

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
from benchmarks.kernel_work import Case, Work, check_gather, gather_seconds, least_work
from benchmarks.networks import add_size_options
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.ops.aggregate import Max, Mean, Power, Reducer, Softmax, Sum, aggregate
from revgnn.testing import assert_close_to_truth

REDUCERS: dict[str, Reducer] = {str(how): how for how in (Max(), Sum(), Mean(), Softmax(1.0), Power(2.0))}
QUICK = {"nodes": 300, "edges": 6001, "channels": [16], "edge_features": [8], "repeats": 3, "torch_repeats": 2}
DRAWS = 4
"""Random inputs that a check judges together, which makes the error of plain torch a steady figure."""


def tensors(case: Case, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    """Return x, weight and bias; without edge features x and bias."""
    torch.manual_seed(seed)
    features = case.graph.num_edge_features
    shapes = [(case.graph.num_nodes, case.channels), *([(features, case.channels)] if features else []), (case.channels,)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def forward(case: Case, leaves: list[Tensor], backend: str | None) -> Tensor:
    """Return the aggregation of what `tensors` returned."""
    x, *weight, bias = leaves
    graph = case.graph
    return aggregate(x, graph, graph.edge_attr, weight[0] if weight else None, bias, how=case.how, backend=backend)


def check(case: Case) -> None:
    """Check value and gradients on a part of the graph: no further from float64 than plain torch is, within the tolerance rule.

    Raises:
        AssertionError: if a kernel is wrong.
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


def contestants(case: Case, backend: str | None) -> dict[str, Callable[[], object]]:
    """Return the calls `forward` and `backward`."""
    leaves = tensors(case)
    out = forward(case, leaves, backend)
    upstream = torch.randn_like(out)
    return {
        "forward": lambda: forward(case, leaves, backend),
        "backward": lambda: torch.autograd.grad(out, leaves, upstream, retain_graph=True),
    }


class Machine(NamedTuple):
    """What the machine can do at best."""

    rates: bounds.Rates
    bytes_a_second: float


def measure(
    case: Case, args: argparse.Namespace, machine: Machine, gather: dict[str, float], tick: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return an entry for each direction."""
    ours, plain = contestants(case, None), contestants(case, "reference")
    entries = []
    for direction, work in least_work(case).items():
        ours[direction]()
        plain[direction]()
        alone = harness.interleaved({"ours": ours[direction]}, args.repeats)["ours"]
        turns = harness.interleaved({"ours": ours[direction], "torch": plain[direction]}, args.torch_repeats)
        milliseconds = harness.Spread.of([1e3 * s for s in alone])
        entries.append(
            {
                "how": str(case.how), "direction": direction, "channels": case.channels,
                "edge_features": case.graph.num_edge_features, "milliseconds": milliseconds._asdict(),
                **beside_bounds(milliseconds.median, work, machine, gather[direction]),
                "torch_milliseconds": 1e3 * harness.Spread.of(turns["torch"]).median,
                "times_faster": harness.ratios(turns["torch"], turns["ours"])._asdict(),
            }
        )  # fmt: skip
        tick(f"{case}, {direction}")
    return entries


def beside_bounds(milliseconds: float, work: Work, machine: Machine, gather_seconds: float) -> dict[str, Any]:
    """Return the bounds, the one that binds, and how many times longer `milliseconds` is."""
    seconds = {"operations": work.seconds(machine.rates), "bytes": work.moved / machine.bytes_a_second}
    if work.rows:
        seconds["gather"] = work.rows * gather_seconds
    binding = max(seconds, key=lambda name: seconds[name])
    return {
        "bounds_milliseconds": {name: 1e3 * s for name, s in seconds.items()},
        "binding": binding,
        "bound_milliseconds": 1e3 * seconds[binding],
        "times_the_bound": milliseconds / (1e3 * seconds[binding]),
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("kernels", __doc__)
    parser.add_argument("--channels", type=int, nargs="+", default=[32], help="channels of a group, such as 16 32 64 128")
    parser.add_argument("--edge-features", type=int, nargs="+", default=[8], help="features of an edge, such as 0 8 16")
    parser.add_argument("--reducers", nargs="+", choices=REDUCERS, default=list(REDUCERS))
    add_size_options(parser)
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
    right = harness.checks_pass(
        *(lambda case=case: check(case) for case in cases), *(lambda c=c: check_gather(any_graph, c) for c in args.channels)
    )
    if not right:
        return 1
    machine = Machine(bounds.rates(4_000 if args.quick else 400_000), bounds.bytes_a_second(2**22 if args.quick else 2**28))
    shape = {"nodes": args.nodes, "edges": args.edges, "dtype": "float32"}
    with harness.result_line("kernels", shape, args) as result:
        result |= {f"{name}s_a_second": rate for name, rate in machine.rates._asdict().items()}
        result |= {"bytes_a_second": machine.bytes_a_second, "kernels": []}
        gather = {}
        with harness.progress("kernels", 2 * len(cases), quiet=args.quick) as tick:
            for case in cases:
                width = case.channels, case.graph.num_edge_features
                if width not in gather:
                    gather[width] = gather_seconds(case.graph, case.channels)
                result["kernels"] += measure(case, args, machine, gather[width], tick)
        if not args.json:
            print(show(result))
    return 0


def show(result: dict[str, Any]) -> str:
    """Return the table and what is above it."""

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
    rate = {name: result[f"{name}_a_second"] / 1e9 for name in ("multiply_adds", "exponentials", "logarithms", "bytes")}
    return "\n".join(
        [
            f"{result['nodes']:,} nodes, {result['edges']:,} edges, float32; C channels, K edge features. "
            "* marks the largest bound.",
            f"{rate['multiply_adds']:,.0f} G multiply-adds, {rate['exponentials']:,.1f} G exponentials, "
            f"{rate['logarithms']:,.1f} G logarithms and {rate['bytes']:,.1f} GB a second on "
            f"{result['threads']} threads; the bound of operations adds up each kind over its rate.\n",
            harness.table([*header, "plain torch, ms", "times faster"], map(row, result["kernels"])),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
