"""What a strategy and an exact state cost: one training step of the same network, in turns.

    revgnn bench strategies --depth 7

Before anything is timed, every strategy must give the gradients of `Backprop`, bit for bit, on a part of the graph.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.step import Batch, our_logits, our_model, step
from revgnn.data.generated.synthetic import proteins_shaped

CONTESTANTS: dict[str, dict[str, Any]] = {
    "Reversible, grid": {},
    "Reversible, plain": {"state": "plain"},
    "Reversible, float64": {"state": "float64"},
    "Checkpoint, grid": {"gradient": "checkpoint"},
    "Backprop, grid": {"gradient": "backprop"},
}
BASELINES = ("Reversible, plain", "Backprop, grid")
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 2, "repeats": 2}


def gradients(model: nn.Module, batch: Batch) -> list[Tensor]:
    torch.manual_seed(0)
    step(model, our_logits, batch)()
    return [p.grad for p in model.parameters() if p.grad is not None]


def check(args: argparse.Namespace, batch: Batch) -> None:
    """
    Raises:
        AssertionError: if a strategy on the grid differs from backpropagation; then nothing is timed.
    """
    part = Batch.on(batch.graph.subgraph(torch.arange(min(1000, batch.graph.num_nodes))))
    found = []
    for name, changes in CONTESTANTS.items():
        if name.endswith("grid"):
            torch.manual_seed(0)
            found.append((name, gradients(our_model(args, part.graph, **changes), part)))
    _, truth = found[-1]
    for name, ours in found:
        # the shared edge encoder is summed piece by piece under checkpointing, in another order
        equal = torch.allclose if name.startswith("Checkpoint") else torch.equal
        if not all(equal(a, b) for a, b in zip(ours, truth, strict=True)):
            raise AssertionError(f"{name} does not give the gradients of Backprop")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("strategies", __doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--repeats", type=int, default=20)
    args = harness.parse(parser, argv, QUICK)
    args.family = "reversible"
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    batch = Batch.on(proteins_shaped(args.nodes, args.edges))
    if not harness.all_right(lambda: check(args, batch)):
        return 1
    work: dict[str, Callable[[], None]] = {}
    for name, changes in CONTESTANTS.items():
        torch.manual_seed(0)
        work[name] = step(our_model(args, batch.graph, **changes), our_logits, batch)
    shape = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "groups", "depth")}
    with harness.result_line("strategies", shape, args) as result:
        result["peak_bytes"] = harness.memory(work)
        result["seconds_of_each_step"] = seconds = {}
        with harness.progress("strategies", args.repeats * len(work), quiet=args.quick) as tick:
            harness.interleaved(work, args.repeats, into=seconds, tick=tick)
        over = {name: {base: harness.ratios(seconds[name], seconds[base]) for base in BASELINES} for name in work}
        result["seconds"] = {name: harness.Spread.of(s)._asdict() for name, s in seconds.items()}
        result["ratios"] = {name: {base: r._asdict() for base, r in ratios.items()} for name, ratios in over.items()}
        if not args.json:
            rows = [
                [
                    name,
                    harness.Spread.of(seconds[name]).text(),
                    harness.megabytes(result["peak_bytes"][name]),
                    *(ratio.text() for ratio in over[name].values()),
                ]
                for name in work
            ]
            print(harness.table(["", "seconds, median (range)", "peak", *(f"over {base}" for base in BASELINES)], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
