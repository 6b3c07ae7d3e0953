"""Where the time of a training step goes, part by part, and how far it is from the sum of its bounds.

    python -m benchmarks profile                   # RevGNN-64: 112 layers, 2 groups
    python -m benchmarks profile --shape wide      # RevGNN-224: 28 layers, 4 groups

On the shape of one training batch of ogbn-proteins, after results are checked. Three kinds of step take turns in one process: as it
is; with each kernel of the package timed; with each operator of torch timed. What the step as it is takes beyond kernels and
operators is Python, autograd and the launching of kernels. Encoder, head and loss are among torch's operators. The seconds of an
operator include a call from Python, some microseconds; autograd needs less for its calls.

Each part has a bound, measured in the same run: multiply-adds over the rate from registers, bytes over the rate of a
copy (of the size of a group's state, if the caches copy that faster), and for the aggregation the time to gather its rows; the
largest of them counts. An operator of torch is bounded by the bytes of its inputs and outputs: passes over memory that could be
fused count in full. The rest has no bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from benchmarks import bounds, harness
from benchmarks.checks import check_aggregate, check_strategies
from benchmarks.kernel_work import Case, check_gather, gather_seconds, least_work
from benchmarks.networks import Batch, Shape, add_shape_options, index_by_source, revgnn_logits, revgnn_model, training_step
from benchmarks.step_parts import REST, TORCH, Usage, Usages, measure
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.ops.aggregate import Max

SHAPES = {"narrow": {"channels": 64, "groups": 2, "depth": 112}, "wide": {"channels": 224, "groups": 4, "depth": 28}}
"""RevGNN-64 and RevGNN-224 of the paper."""
OTHERS = f"{TORCH}all others"
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "groups": 2, "depth": 3, "repeats": 2}


class Least(NamedTuple):
    """The least work of one evaluation of a part in a block, and the number of evaluations of each block in a step."""

    evaluations: int
    operations: int = 0
    moved: int = 0
    gather_seconds: float = 0.0


def least_of_parts(graph: Graph, width: int) -> dict[str, Least]:
    """Return the least work by part, for reversible blocks of `width` channels with an MLP twice as wide and a dropout mask.

    A block is evaluated in the forward pass and again in the backward pass. Multiply-adds of the perceptron: its two products; in
    the backward pass the first one again, and two for each gradient of a product.
    """
    nodes = graph.num_nodes
    state, product = 4 * nodes * width, nodes * width * 2 * width
    aggregation = least_work(Case(graph, width, Max()))
    gather = gather_seconds(graph, width)["forward"]
    forward, backward = aggregation["forward"], aggregation["backward"]
    return {
        # the first of the two evaluations saves no winners
        "aggregate, forward": Least(2, forward.operations, forward.moved - state, forward.rows * gather),
        "aggregate, backward": Least(1, backward.operations, backward.moved),
        "perceptron, forward": Least(2, 2 * product, 2 * state),
        "perceptron, backward": Least(1, 5 * product, 3 * state),
        "norm_relu, forward": Least(2, 0, 3 * state),
        "norm_relu, backward": Least(1, 0, 4 * state),
        "grid, forward and back": Least(2, 0, 3 * state),
    }


class Rates(NamedTuple):
    """What the machine can do at best."""

    multiply_adds_a_second: float
    bytes_a_second: float
    """Rate of a large copy."""
    cached_bytes_a_second: float
    """Rate of a copy as large as a group's state."""

    @classmethod
    def measured(cls, state_bytes: int, quick: bool) -> Rates:
        return cls(
            bounds.rates(4_000 if quick else 400_000).multiply_add,
            bounds.bytes_a_second(2**22 if quick else 2**28),
            bounds.bytes_a_second(state_bytes),
        )


def bounds_of(part: str, usage: Usage, least: dict[str, Least], blocks: int, rates: Rates) -> dict[str, float]:
    """Return the bounds of a part in seconds a step, by kind; empty for a part without a bound."""
    bandwidth = max(rates.bytes_a_second, rates.cached_bytes_a_second)
    if part.startswith(TORCH):
        return {"bytes": usage.moved / bandwidth}
    if part not in least:
        return {}
    work = least[part]
    times = blocks * work.evaluations
    found = {
        "operations": times * work.operations / rates.multiply_adds_a_second,
        "bytes": times * work.moved / bandwidth,
        "gather": times * work.gather_seconds,
    }
    return {name: seconds for name, seconds in found.items() if seconds}


def rows_of_parts(rounds: Sequence[Usages], most_operators: int) -> dict[str, list[str]]:
    """Return the parts of each row of the table: kernels, the longest operators of torch, all other operators as one, the rest."""
    names = list(dict.fromkeys(name for usages in rounds for name in usages))
    median = {name: harness.Spread.of([usages[name].seconds for usages in rounds]).median for name in names}
    kernels = sorted((n for n in names if not n.startswith(TORCH) and n != REST), key=lambda n: -median[n])
    operators = sorted((n for n in names if n.startswith(TORCH)), key=lambda n: -median[n])
    rows = {name: [name] for name in (*kernels, *operators[:most_operators])}
    if operators[most_operators:]:
        rows[OTHERS] = operators[most_operators:]
    rows[REST] = [REST]
    return rows


def entry_of(
    part: str, members: Sequence[str], rounds: Sequence[Usages], least: dict[str, Least], blocks: int, rates: Rates
) -> dict[str, Any]:
    """Return the entry of a row in the result. Calls and bytes are those of the last round."""
    usage = Usage(*map(sum, zip(*(rounds[-1][name] for name in members), strict=True)))
    bounds_seconds = bounds_of(part, usage, least, blocks, rates)
    binding = max(bounds_seconds, key=lambda name: bounds_seconds[name], default=None)
    bound = bounds_seconds[binding] if binding else 0.0
    seconds = harness.Spread.of([sum(usages[name].seconds for name in members) for usages in rounds])
    return {
        "part": part, "seconds": seconds._asdict(), "calls": usage.calls, "moved_bytes": usage.moved or None,
        "bounds_seconds": bounds_seconds, "binding": binding, "bound_seconds": bound,
        "times_the_bound": seconds.median / bound if bound else None,
    }  # fmt: skip


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("profile", __doc__)
    parser.add_argument("--shape", choices=SHAPES, help="sets channels, groups and depth: narrow is 64, 2, 112; wide is 224, 4, 28")
    add_shape_options(parser, depth=112)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; a round is three steps")
    parser.add_argument("--operators", type=int, default=10, help="number of torch's operators that are listed by name")
    args = harness.parse(parser, argv, QUICK)
    for key, value in SHAPES.get(args.shape, {}).items():
        setattr(args, key, value)
    if args.groups < 2 or args.channels % args.groups:
        parser.error(f"--channels must be a multiple of --groups, 2 or more; got {args.channels} and {args.groups}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    shape = Shape.of(args)
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    batch = Batch.on(graph)
    if not harness.checks_pass(
        lambda: check_aggregate(shape.width, graph),
        lambda: check_strategies(shape.at_most(3), graph),
        lambda: check_gather(graph, shape.width),
    ):
        return 1
    index_by_source(graph)
    torch.manual_seed(0)
    step = training_step(revgnn_model(shape, graph).train(), revgnn_logits, batch)
    sizes = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "groups", "depth", "repeats")}
    with harness.result_line("profile", {**sizes, "dtype": "float32"}, args) as result:
        rates = Rates.measured(4 * graph.num_nodes * shape.width, args.quick)
        result |= rates._asdict()
        least = least_of_parts(graph, shape.width)
        with harness.progress("profile", 3 * args.repeats, quiet=args.quick) as tick:
            result["seconds"], rounds = measure(step, args.repeats, tick)
        blocks = shape.depth * shape.groups
        rows = rows_of_parts(rounds, args.operators)
        result["parts"] = [entry_of(part, members, rounds, least, blocks, rates) for part, members in rows.items()]
        result["bound_seconds"] = bound = sum(entry["bound_seconds"] for entry in result["parts"])
        result["times_the_bound"] = harness.Spread.of([s / bound for s in result["seconds"]["as it is"]])._asdict()
        if not args.json:
            print(show(result))
    return 0


def show(result: dict[str, Any]) -> str:
    """Return the table and what surrounds it."""
    depth = result["depth"]
    whole = harness.Spread.of(result["seconds"]["as it is"])

    def row(entry: dict[str, Any]) -> list[str]:
        seconds = harness.Spread(**entry["seconds"])
        layer = harness.Spread(*(1e3 * s / depth for s in seconds))
        bound = f"{1e3 * entry['bound_seconds'] / depth:.3g} ({entry['binding']})" if entry["binding"] else ""
        times = f"{entry['times_the_bound']:.2g}" if entry["times_the_bound"] else ""
        calls = f"{entry['calls'] / depth:.3g}" if entry["calls"] else ""
        return [entry["part"], layer.text(), f"{100 * seconds.median / whole.median:.1f} %", calls, bound, times]

    header = ["", "ms a layer, median (range)", "of the step", "calls a layer", "bound, ms a layer", "times the bound"]
    sizes = "{depth} layers of {channels} channels, {groups} groups; {nodes:,} nodes, {edges:,} edges, float32".format(**result)
    timed = [f"{harness.Spread.of(s).text()} s with {kind}" for kind, s in result["seconds"].items() if kind != "as it is"]
    rate, copy, cached = (result[name] for name in Rates._fields)
    bound, times = result["bound_seconds"], harness.Spread(**result["times_the_bound"])
    return "\n".join(
        [
            f"A training step of {sizes}; {result['repeats']} rounds in turns.",
            f"{rate / 1e9:,.0f} G multiply-adds a second; {copy / 1e9:,.1f} GB a second in a large copy, "
            f"{cached / 1e9:,.1f} in a copy of the size of a group's state\n",
            harness.table(header, map(row, result["parts"])),
            f"\nthe step takes {whole.text()} s, {1e3 * whole.median / depth:.3g} ms a layer ({'; '.join(timed)})",
            f"the sum of the bounds is {bound:.3g} s, {1e3 * bound / depth:.3g} ms a layer: "
            f"the step takes {times.text()} times that",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
