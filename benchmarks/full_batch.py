"""One step on the whole of ogbn-proteins' shape at once, layer by layer: forward, loss and backward, or inference alone.

    revgnn bench full-batch                # RevGNN-80, 112 layers: forward and backward
    revgnn bench full-batch --inference    # RevGNN-Deep, 1,001 layers of 80 channels: forward, in one part

The paper trains on ten parts of this graph, and evaluates on three or more. Nothing is timed before the aggregation and the
gradients are found right on a part of it. Stated are the seconds of each layer, the peak of live tensor bytes within the step, the
bytes of graph, inputs and weights, and the most memory the process ever had. Ctrl-C, or a signal to end, keeps the layers that were
done, and says how long they took; should the process be killed, the next run finds them.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import harness, strategies
from benchmarks.step import SPECIES, TASKS, Batch, check_aggregate, our_model
from revgnn.data.generated.full_size import full_size
from revgnn.data.readers.edges import features_of
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import num_parameters
from revgnn.stack import Stack
from revgnn.train.datasets import scaled

NODES, EDGES = 132_534, 79_122_504
"""Of ogbn-proteins, edges directed."""
BACKWARD = 3
"""Weight of a layer's backward pass in the estimate of the time left: evaluated once more, and differentiated."""
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 3}


KEPT_EVERY = 30.0
"""Seconds between two times that the layers done so far are put on disk."""


class LayerClock:
    """Notes when each layer has been evaluated, in the forward and again in the backward pass, and says so.

    Args:
        stack: whose blocks are watched, by hooks.
        passes: where the seconds of each layer go, a list a pass. Backward, a layer's gradient falls to the one after it.
        tick: told what is done; forward layers weigh 1, backward ones `BACKWARD`.

    Attributes:
        reruns: how often the forward pass began anew, because the state had outgrown its grid. `passes` has the last one's layers.
    """

    def __init__(self, stack: Stack, passes: dict[str, list[float]], tick: Callable[..., None]) -> None:
        self._passes = passes
        self._tick = tick
        self._depth, self._groups = len(stack.sequence), stack.groups
        self.reruns = 0
        self.start("forward")
        self._hooks = [block.register_forward_hook(self._evaluated) for layer in stack.layers for block in layer.blocks]  # pyright: ignore[reportAttributeAccessIssue, reportGeneralTypeIssues]

    def start(self, direction: str) -> None:
        """Begin to count a pass."""
        self._direction = direction
        self._blocks = 0
        self._last = time.perf_counter()

    def stop(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _evaluated(self, *_: Any) -> None:
        self._blocks += 1
        layers, inside = divmod(self._blocks, self._groups)
        if inside:
            return
        now = time.perf_counter()
        by = 1 if self._direction == "forward" else BACKWARD
        seconds = self._passes[self._direction]
        if layers > self._depth:
            self.reruns += 1
            seconds.clear()
            self._blocks, layers = self._groups, 1
            by -= self._depth * by  # the bar goes back, too
        seconds.append(now - self._last)
        self._last = now
        again = ", again on a coarser grid" if self.reruns and self._direction == "forward" else ""
        self._tick(f"{self._direction}, layer {layers} of {self._depth}{again}", by=by)


def needed_bytes(nodes: int, edges: int, channels: int, features: int = 8) -> int:
    """Roughly, at most: the features, 60 bytes an edge while the graph is made, and the step."""
    return edges * (4 * features + 60) + 16 * 4 * nodes * (channels + TASKS)


def process_peak_bytes() -> int:
    """The most memory this process has had so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def graph_bytes(graph: Graph) -> int:
    """Of the tensors that the forward and backward pass of max aggregation read."""
    return sum(t.nbytes for t in (graph.indptr, graph.src, graph.edge_attr) if t is not None)


def check(args: argparse.Namespace, graph: Graph) -> None:
    """
    Raises:
        AssertionError: if the aggregation is wrong on a part of the graph, or reversing differs from storing.
    """
    network = argparse.Namespace(family="reversible", channels=args.channels, groups=args.groups, depth=3)
    check_aggregate(network, graph)
    if not args.inference:
        strategies.check(network, Batch.on(graph.subgraph(torch.arange(min(1000, graph.num_nodes)))))


def run(
    args: argparse.Namespace,
    graph: Graph,
    model: nn.Module,
    inputs: tuple[Tensor, Tensor, Tensor],
    result: dict[str, Any],
    keep: Callable[[], None] = lambda: None,
) -> None:
    """The step. Fills `result` as it goes, and calls `keep` now and then."""
    x, species, y = inputs
    stack = next(m for m in model.modules() if isinstance(m, Stack))
    title = "inference" if args.inference else "forward and backward"
    total = args.depth * (1 if args.inference else 1 + BACKWARD)
    with harness.progress(title, total, quiet=args.quick) as tick, PeakMemory() as memory:
        kept = time.monotonic()

        def tick_and_keep(note: str, by: float) -> None:
            nonlocal kept
            if time.monotonic() - kept > KEPT_EVERY:
                kept = time.monotonic()
                keep()
            tick(note, by=by)

        clock = LayerClock(stack, result["layer_seconds"], tick_and_keep)
        try:
            start = time.perf_counter()
            clock.start("forward")
            with torch.set_grad_enabled(not args.inference):
                out = model(graph, x, species)
                if not args.inference:
                    loss = nn.functional.binary_cross_entropy_with_logits(out, y)
            result["forward_seconds"] = time.perf_counter() - start
            if args.inference:
                result["peak_bytes"] = memory.peak_bytes  # the loss is a check here, no part of what is measured
                with torch.no_grad():
                    result["loss"] = float(nn.functional.binary_cross_entropy_with_logits(out, y))
            else:
                result["loss"] = float(loss.detach())
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
    parser.add_argument("--inference", action="store_true", help="forward only; 1,001 layers unless --depth says otherwise")
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
    wanted, free = needed_bytes(args.nodes, args.edges, args.channels), harness.available_bytes()
    if free is not None and wanted > free:
        raise ValueError(
            f"a graph of {args.edges:,} edges takes about {wanted / 1e9:.1f} GB to make, and {free / 1e9:.1f} GB are free; "
            f"try --nodes {args.nodes // 10} --edges {args.edges // 100}, one of ten parts."
        )
    start = time.perf_counter()
    if not args.quick:
        print(f"making a graph of {args.nodes:,} nodes and {args.edges:,} edges", file=sys.stderr)
    graph = full_size(args.nodes, args.edges, edge_storage=args.edge_storage)
    making = time.perf_counter() - start
    if not harness.all_right(lambda: check(args, graph)):
        return 1
    torch.manual_seed(0)
    network = argparse.Namespace(family="reversible", channels=args.channels, groups=args.groups, depth=args.depth)
    model = our_model(network, graph).train(not args.inference)
    nodes = graph.num_nodes
    # as they are, sums over some 600 edges would take the state beyond its grid, and the first step would run twice
    inputs = scaled(features_of(graph), "standard"), torch.randint(SPECIES, (nodes,)), torch.randint(2, (nodes, TASKS)).float()
    keys = ("nodes", "edges", "edge_storage", "channels", "groups", "depth", "inference")
    with harness.result_line("full-batch", {**{key: getattr(args, key) for key in keys}, "dtype": "float32"}, args) as result:
        result["layer_seconds"] = {"forward": []} if args.inference else {"forward": [], "backward": []}
        try:
            run(args, graph, model, inputs, result, result.keep)
        except BaseException:
            print(so_far(result), file=sys.stderr)
            raise
        finally:
            result |= {
                "graph_seconds": making,
                "graph_bytes": graph_bytes(graph),
                "input_bytes": sum(t.nbytes for t in inputs),
                "parameter_bytes": 4 * num_parameters(model),
                "process_peak_bytes": process_peak_bytes(),
            }
        if not args.json:
            print(show(result))
    return 0


def so_far(result: dict[str, Any]) -> str:
    """What an interrupted step came to."""
    done = [
        f"{direction} {len(seconds)} of {result['depth']} layers, {harness.Spread.of(seconds).text()} s each"
        for direction, seconds in result["layer_seconds"].items()
        if seconds
    ]
    return "\n" + "; ".join(done or ["no layer was done"])


def show(result: dict[str, Any]) -> str:
    rows = []
    for direction, seconds in result["layer_seconds"].items():
        total = result[f"{direction}_seconds"]
        rows.append([direction, f"{total:.4g}", harness.Spread.of(seconds).text()])
    held = {name: result[f"{name}_bytes"] for name in ("graph", "input", "parameter")}
    parts = ", ".join(f"{name} {harness.megabytes(count)}" for name, count in held.items())
    sizes = "{nodes:,} nodes, {edges:,} edges, {depth} layers of {channels} channels, {groups} groups, float32".format(**result)
    again = "\nthe state outgrew its grid: the forward pass began anew on a coarser one, and its seconds hold both"
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
