"""Seconds a layer and peak memory of a training step against depth, from 3 layers to 10,000, and against the number of groups.

    python -m benchmarks depth --plot

Three curves: reversing, storing every layer (for the depths that fit in memory), and PyTorch Geometric's `GroupAddRev` (for a few
depths). Gradients are checked first.

The speed of a machine drifts by a tenth within a minute, and steps of very different length never run under the same conditions. So
networks are timed in rounds, and every turn is between two turns of one reference network (reversible, `--reference` layers): each
figure is compared with the mean of its two neighbours. Shallow networks take several steps a turn. A straight line through the
networks up to the reference depth separates the time of a layer from that of encoder, head and loss. Deeper networks do not enter
the line, they are compared with it. "Over the reference" is a layer's time over that of a layer of the reference next to it: the
row of the reference itself shows how far that figure can be trusted. A network of 10,000 layers takes one step.

Peak is live tensor bytes above weights and inputs. It contains the gradients of the parameters, which grow with depth under every
strategy; their size is given beside it. Memory is measured in a step of its own, because observing every operator makes a step
slower (`watched_seconds` in the result). Nothing is extrapolated. Each figure is written to disk as soon as it is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import harness
from benchmarks.checks import check_aggregate, check_same_network, check_strategies
from benchmarks.depth.curves import add_curves, expected_bytes
from benchmarks.depth.networks import PEER, PEER_WEIGHT, REVERSIBLE, STORED, Network, num_rounds, take_turns, total_work
from benchmarks.networks import Batch, Shape, add_size_options, index_by_source
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph

DEPTHS = (3, 7, 14, 28, 56, 112, 1001, 10_000)
PEER_DEPTHS = (3, 7, 14)
GROUPS = (2, 4, 8, 16)
OBSERVED_WEIGHT = 1.3
"""Time of a layer whose memory is measured over that of a layer, roughly, for the estimate of the time left."""
QUICK = {
    "nodes": 120, "edges": 800, "channels": 16, "depths": [1, 2], "peer_depths": [1], "groups_sweep": [2, 4],
    "sweep_depth": 1, "repeats": 2, "reference": 2,
}  # fmt: skip


def check(args: argparse.Namespace, graph: Graph) -> None:
    """Check that every strategy gives the gradients of `Backprop`, the aggregation, and that the peer is the same network.

    Raises:
        AssertionError: if one of them is wrong.
    """
    shape = Shape(args.channels, args.groups, depth=3)
    check_aggregate(shape.width, graph)
    check_strategies(shape, graph)
    if args.peer_depths:
        check_same_network(shape)


class Chosen(NamedTuple):
    """A network to measure, and the list of the result that its point goes to."""

    curve: str
    shape: Shape
    into: str

    @property
    def weight(self) -> float:
        """Time of the step that measures memory, roughly, in layers of ours."""
        return self.shape.depth * (PEER_WEIGHT if self.curve == PEER else OBSERVED_WEIGHT)


def choose(args: argparse.Namespace) -> list[Chosen]:
    """Return the networks to measure, shallow ones first."""
    found = []
    for depth in sorted({*args.depths, *args.peer_depths}):
        curves = [REVERSIBLE, STORED] if depth in args.depths else []
        curves += [PEER] if depth in args.peer_depths else []
        found += [Chosen(curve, Shape(args.channels, args.groups, depth), "depths") for curve in curves]
    sweep = [Shape(args.channels, groups, args.sweep_depth) for groups in args.groups_sweep]
    return found + [Chosen(REVERSIBLE, shape, "groups") for shape in sweep]


def measure_memory(
    args: argparse.Namespace, wanted: Sequence[Chosen], batch: Batch, limit: int | None, result: harness.Result
) -> list[Network]:
    """Make the networks and measure their memory. Add a point each to `result`, or the reason why there is none."""
    networks = []
    with harness.progress("memory", sum(chosen.weight for chosen in wanted), quiet=args.quick) as tick:
        for chosen in wanted:
            depth = chosen.shape.depth
            expected = expected_bytes(result["depths"], depth) if chosen.curve == STORED else None
            if expected is not None and limit is not None and expected >= limit:
                left_out = {"curve": chosen.curve, "depth": depth, "expected_bytes": expected, "limit_bytes": limit}
                result["left_out"].append(left_out)
                tick(f"{depth:,} layers, {chosen.curve}: left out", by=chosen.weight)
                continue
            if depth > 4 * args.reference:
                tick(f"{depth:,} layers, {chosen.curve}", by=0)
            gc.collect()
            network = Network.make(chosen.shape, chosen.curve, batch)
            network.measure_memory()
            networks.append(network)
            result[chosen.into].append(network.point)
            result.save_partial()
            tick(str(network), by=chosen.weight)
    return networks


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("depth", __doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2, help="of the networks whose depth varies")
    parser.add_argument("--depths", type=int, nargs="*", default=list(DEPTHS), help="layers; the deepest take minutes")
    parser.add_argument(
        "--peer-depths", type=int, nargs="*", default=list(PEER_DEPTHS), help="layers of PyTorch Geometric's networks"
    )
    parser.add_argument("--groups-sweep", type=int, nargs="*", default=list(GROUPS), help="numbers of groups, at --sweep-depth")
    parser.add_argument("--sweep-depth", type=int, default=7)
    add_size_options(parser)
    parser.add_argument("--reference", type=int, default=112, help="layers of the network that runs between all turns")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; networks of more than 1,000 layers take part in fewer")
    parser.add_argument("--limit-gb", type=float, help="memory that storing networks may take; default: 60 percent of what is free")
    parser.add_argument("--plot", action="store_true", help="draw depth.svg and groups.svg")
    parser.add_argument("--redraw", action="store_true", help="draw the last line of the results again; measure nothing")
    parser.add_argument("--figures", type=Path, help="folder of the plots; default: docs/figures, with --quick the results' folder")
    args = harness.parse(parser, argv, QUICK)
    bad = [g for g in {args.groups, *args.groups_sweep} if g < 2 or args.channels % g]
    if bad:
        parser.error(f"--channels must be a multiple of the groups, which are 2 or more; {args.channels} does not go with {bad}")
    if any(depth < 1 for depth in (*args.depths, *args.peer_depths, args.sweep_depth, args.reference)):
        parser.error("a network has one layer or more")
    if args.figures is None:
        args.figures = harness.FIGURES if not args.quick else args.results
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.redraw:
        last = json.loads((args.results / "depth.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        add_curves(last)
        draw(last, args)
        return 0
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    batch = Batch.on(graph)
    if not harness.checks_pass(lambda: check(args, graph)):
        return 1
    index_by_source(graph)
    free = harness.available_bytes()
    limit = round(args.limit_gb * 1e9) if args.limit_gb else None if free is None else round(0.6 * free)
    sizes = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "repeats", "reference")}
    with harness.result_line("depth", {**sizes, "dtype": "float32"}, args) as result:
        result |= {"depths": [], "groups": [], "left_out": []}
        reference = Network.make(Shape(args.channels, args.groups, args.reference), REVERSIBLE, batch)
        reference.turn(1)
        try:
            # steps that take minutes come when all other figures are on disk
            for deep in (False, True):
                wanted = [c for c in choose(args) if (num_rounds(c.shape.depth, args.repeats) < args.repeats) == deep]
                networks = measure_memory(args, wanted, batch, limit, result)
                total = total_work(networks, args.reference, args.repeats)
                with harness.progress("time", total, quiet=args.quick) as tick:
                    take_turns(networks, reference, args.repeats, tick, result.save_partial)
        finally:
            add_curves(result)
        if not args.json:
            print(show(result))
        if args.plot:
            draw(result, args)
    return 0


def draw(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Draw the plots. Only this needs matplotlib."""
    from benchmarks.depth import plots

    for path in (plots.by_depth(result, args.figures), plots.by_groups(result, args.figures)):
        if not args.json:
            print(f"drew {path}")


def show(result: dict[str, Any]) -> str:
    """Return the tables and what surrounds them."""

    def row(p: dict[str, Any]) -> list[str]:
        layer = harness.Spread.of([1e3 * s for s in p["layer_seconds"]])
        return [
            p["curve"], f"{p['depth']:,}", str(p["groups"]), harness.Spread.of(p["seconds"]).text(), layer.text(),
            harness.Spread.of(p["over_reference"]).text(), harness.megabytes(p["peak_bytes"]),
            harness.megabytes(p["parameter_bytes"]),
        ]  # fmt: skip

    header = [
        "",
        "layers",
        "groups",
        "seconds a step, median (range)",
        "ms a layer",
        "over the reference",
        "peak",
        "of it gradients",
    ]
    sizes = "{nodes:,} nodes, {edges:,} edges, {channels} channels, float32".format(**result)
    turns = "{repeats} rounds; the reference is Reversible, {reference} layers, before and after every turn".format(**result)
    lines = [f"A training step; {sizes}; {turns}.\n", harness.table(header, map(row, result["depths"]))]
    for curve, line in result["lines"].items():
        lines.append(
            f"{curve}: {1e3 * line['seconds_a_layer']:.3g} ms (line up to {result['reference']} layers) and "
            f"{line['bytes_a_layer'] / 1e6:.3g} MB a layer, {1e3 * line['seconds_outside']:.3g} ms outside the layers"
        )
    lines += [
        f"left out: {p['curve']}, {p['depth']:,} layers, which would need about {p['expected_bytes'] / 1e9:,.0f} GB"
        for p in result["left_out"]
    ]
    if result["groups"]:
        lines.append("\n" + harness.table(header, map(row, result["groups"])))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
