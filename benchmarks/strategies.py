"""The cost of a gradient strategy, of an exact state and of its checksum: one training step of the same network, in turns.

    python -m benchmarks strategies --depth 7

Before anything is timed, every strategy must give the gradients of `Backprop`, bit for bit, on a part of the graph.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from benchmarks import harness
from benchmarks.checks import STRATEGIES_ON_THE_GRID, check_strategies
from benchmarks.networks import Batch, Shape, add_shape_options, revgnn_logits, revgnn_model, training_step
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.stack import Reversible, Stack

CONTESTANTS: dict[str, dict[str, Any]] = {
    "Reversible, grid": STRATEGIES_ON_THE_GRID["Reversible, grid"],
    "Reversible, grid, unverified": {"verify": False},
    "Reversible, plain": {"state": "plain"},
    "Reversible, float64": {"state": "float64"},
    "Checkpoint, grid": STRATEGIES_ON_THE_GRID["Checkpoint, grid"],
    "Backprop, grid": STRATEGIES_ON_THE_GRID["Backprop, grid"],
}
BASELINES = ("Reversible, grid, unverified", "Reversible, plain", "Backprop, grid")
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 2, "repeats": 2}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("strategies", __doc__)
    add_shape_options(parser)
    parser.add_argument("--repeats", type=int, default=20, help="timed rounds; a round is one step of each")
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    shape = Shape.of(args)
    batch = Batch.on(proteins_shaped(args.nodes, args.edges))
    if not harness.checks_pass(lambda: check_strategies(shape, batch.graph)):
        return 1
    work: dict[str, Callable[[], None]] = {}
    for name, changes in CONTESTANTS.items():
        torch.manual_seed(0)
        work[name] = training_step(build(shape, batch.graph, **changes), revgnn_logits, batch)
    sizes = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "groups", "depth")}
    with harness.result_line("strategies", sizes, args) as result:
        result["peak_bytes"] = harness.peak_memory(work)
        result["seconds_of_each_step"] = seconds = {}
        with harness.progress("strategies", args.repeats * len(work), quiet=args.quick) as tick:
            harness.interleaved(work, args.repeats, into=seconds, tick=tick)
        result["seconds"] = {name: harness.Spread.of(s)._asdict() for name, s in seconds.items()}
        result["ratios"] = {
            name: {base: harness.ratios(seconds[name], seconds[base])._asdict() for base in BASELINES} for name in work
        }
        if not args.json:
            print(show(result))
    return 0


def build(shape: Shape, graph: Graph, *, verify: bool = True, **changes: Any) -> nn.Module:
    """Return the network. `verify=False` turns the checksum of its state off; `changes` are fields of its configuration."""
    model = revgnn_model(shape, graph, **changes)
    if not verify:
        assert isinstance(model.stack, Stack)
        model.stack.gradient = Reversible(verify=False)
    return model


def show(result: dict[str, Any]) -> str:
    """Return the table."""
    rows = [
        [
            name,
            harness.Spread(**seconds).text(),
            harness.megabytes(result["peak_bytes"][name]),
            *(harness.Spread(**ratio).text() for ratio in result["ratios"][name].values()),
        ]
        for name, seconds in result["seconds"].items()
    ]
    return harness.table(["", "seconds, median (range)", "peak", *(f"over {base}" for base in BASELINES)], rows)


if __name__ == "__main__":
    sys.exit(main())
