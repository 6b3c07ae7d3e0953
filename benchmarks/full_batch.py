"""One step on the whole of ogbn-proteins' shape at once, layer by layer: forward, loss and backward, or inference alone.

    python -m benchmarks full-batch                # RevGNN-80, 112 layers: forward and backward
    python -m benchmarks full-batch --inference    # RevGNN-Deep, 1,001 layers of 80 channels: forward, in one part

The paper trains on ten parts of this graph, and evaluates on three or more. Before anything is timed, the aggregation and the
gradients are checked on a part of it. Reported are the seconds of each layer, the peak of live tensor bytes within the step, the
bytes of graph, inputs and weights, and the most memory the process ever had. After Ctrl-C or a request to end, the finished layers
are kept and reported; if the process is killed, the next run adds them.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.checks import check_aggregate, check_strategies
from benchmarks.layer_clock import BACKWARD_WEIGHT, LayerClock
from benchmarks.networks import SPECIES, TASKS, Shape, revgnn_model
from revgnn.data.generated.full_size import full_size
from revgnn.data.node_features import default_node_features
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import num_parameters
from revgnn.stack import Stack
from revgnn.train.datasets import scaled

NODES, EDGES = 132_534, 79_122_504
"""Size of ogbn-proteins, edges directed."""
SAVE_INTERVAL = 30.0
"""Seconds after which the finished layers are written to disk again."""
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 3}


def needed_bytes(nodes: int, edges: int, channels: int, features: int = 8) -> int:
    """Return roughly the most memory that is used: features, 60 bytes an edge while the graph is made, and the step."""
    return edges * (4 * features + 60) + 16 * 4 * nodes * (channels + TASKS)


def process_peak_bytes() -> int:
    """Return the most memory this process has had so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def graph_bytes(graph: Graph) -> int:
    """Return the bytes of the graph that forward and backward pass of max aggregation read."""
    return sum(t.nbytes for t in (graph.indptr, graph.src, graph.edge_attr) if t is not None)


def check(args: argparse.Namespace, graph: Graph) -> None:
    """Check the aggregation and, unless only inference is measured, the gradients of every strategy.

    Raises:
        AssertionError: if one of them is wrong on a part of the graph.
    """
    shape = Shape(args.channels, args.groups, depth=3)
    check_aggregate(shape.width, graph)
    if not args.inference:
        check_strategies(shape, graph)


class Inputs(NamedTuple):
    """Features (N, F), species (N,) and labels (N, TASKS) of all nodes."""

    x: Tensor
    species: Tensor
    y: Tensor


def run(
    args: argparse.Namespace,
    graph: Graph,
    model: nn.Module,
    inputs: Inputs,
    result: dict[str, Any],
    save: Callable[[], None] = lambda: None,
) -> None:
    """Run the step. Fill in `result` as layers finish, and call `save` every `SAVE_INTERVAL` seconds."""
    stack = next(m for m in model.modules() if isinstance(m, Stack))
    title = "inference" if args.inference else "forward and backward"
    total = args.depth * (1 if args.inference else 1 + BACKWARD_WEIGHT)
    with harness.progress(title, total, quiet=args.quick) as tick, PeakMemory() as memory:
        saved = time.monotonic()

        def tick_and_save(note: str = "", by: float = 1) -> None:
            nonlocal saved
            if time.monotonic() - saved > SAVE_INTERVAL:
                saved = time.monotonic()
                save()
            tick(note, by=by)

        clock = LayerClock(stack, result["layer_seconds"], tick_and_save)
        try:
            start = time.perf_counter()
            clock.start("forward")
            with torch.set_grad_enabled(not args.inference):
                out = model(graph, inputs.x, inputs.species)
            if args.inference:
                result["forward_seconds"] = time.perf_counter() - start
                result["peak_bytes"] = memory.peak_bytes  # before the loss, which is not part of inference
            loss = nn.functional.binary_cross_entropy_with_logits(out, inputs.y)
            result["loss"] = float(loss.detach())
            if not args.inference:
                result["forward_seconds"] = time.perf_counter() - start
                start = time.perf_counter()
                clock.start("backward")
                loss.backward()
                result["backward_seconds"] = time.perf_counter() - start
        finally:
            clock.stop()
            result["forward_reruns"] = clock.reruns
            result.setdefault("peak_bytes", memory.peak_bytes)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("full-batch", __doc__)
    parser.add_argument("--inference", action="store_true", help="forward only; 1,001 layers unless --depth is given")
    parser.add_argument("--channels", type=int, default=80)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--depth", type=int, help="layers; default 112, or 1001 with --inference")
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--edges", type=int, default=EDGES)
    parser.add_argument("--edge-storage", choices=["float32", "int16"], default="float32", help="of edge features")
    args = harness.parse(parser, argv, QUICK)
    args.depth = args.depth or (1001 if args.inference else 112)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    needed, free = needed_bytes(args.nodes, args.edges, args.channels), harness.available_bytes()
    if free is not None and needed > free:
        raise ValueError(
            f"a graph of {args.edges:,} edges takes about {needed / 1e9:.1f} GB to make, and {free / 1e9:.1f} GB are free; "
            f"try --nodes {args.nodes // 10} --edges {args.edges // 100}, one of ten parts."
        )
    start = time.perf_counter()
    if not args.quick:
        print(f"making a graph of {args.nodes:,} nodes and {args.edges:,} edges", file=sys.stderr)
    graph = full_size(args.nodes, args.edges, edge_storage=args.edge_storage)
    graph_seconds = time.perf_counter() - start
    if not harness.checks_pass(lambda: check(args, graph)):
        return 1
    torch.manual_seed(0)
    model = revgnn_model(Shape.of(args), graph).train(not args.inference)
    nodes = graph.num_nodes
    # unscaled, sums over some 600 edges exceed the range of the grid, and the first forward pass would run twice
    x = scaled(default_node_features(graph), "standard")
    inputs = Inputs(x, torch.randint(SPECIES, (nodes,)), torch.randint(2, (nodes, TASKS)).float())
    keys = ("nodes", "edges", "edge_storage", "channels", "groups", "depth", "inference")
    with harness.result_line("full-batch", {**{key: getattr(args, key) for key in keys}, "dtype": "float32"}, args) as result:
        result["layer_seconds"] = {"forward": []} if args.inference else {"forward": [], "backward": []}
        try:
            run(args, graph, model, inputs, result, result.save_partial)
        except BaseException:
            print(finished_layers(result), file=sys.stderr)
            raise
        finally:
            result |= {
                "graph_seconds": graph_seconds,
                "graph_bytes": graph_bytes(graph),
                "input_bytes": sum(t.nbytes for t in inputs),
                "parameter_bytes": 4 * num_parameters(model),
                "process_peak_bytes": process_peak_bytes(),
            }
        if not args.json:
            print(show(result))
    return 0


def finished_layers(result: dict[str, Any]) -> str:
    """Return how far an interrupted step came."""
    done = [
        f"{direction} {len(seconds)} of {result['depth']} layers, {harness.Spread.of(seconds).text()} s each"
        for direction, seconds in result["layer_seconds"].items()
        if seconds
    ]
    return "\n" + "; ".join(done or ["no layer was finished"])


def show(result: dict[str, Any]) -> str:
    """Return the table and what surrounds it."""
    rows = []
    for direction, seconds in result["layer_seconds"].items():
        total = result[f"{direction}_seconds"]
        rows.append([direction, f"{total:.4g}", harness.Spread.of(seconds).text()])
    held = {name: result[f"{name}_bytes"] for name in ("graph", "input", "parameter")}
    parts = ", ".join(f"{name} {harness.megabytes(count)}" for name, count in held.items())
    sizes = "{nodes:,} nodes, {edges:,} edges, {depth} layers of {channels} channels, {groups} groups, float32".format(**result)
    again = "\nthe state left the range of its grid: the forward pass began anew on a coarser one; its seconds include both"
    return "\n".join(
        [
            f"The whole graph at once; {sizes}.\n",
            harness.table(["", "seconds", "a layer, median (range)"], rows) + (again if result["forward_reruns"] else ""),
            f"\npeak within the step {harness.megabytes(result['peak_bytes'])}, beside {parts}: "
            f"{harness.megabytes(result['peak_bytes'] + sum(held.values()))} in all",
            f"the process never had more than {harness.megabytes(result['process_peak_bytes'])}, making the graph included",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
