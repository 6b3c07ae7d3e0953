"""Every aggregation kernel, forward and backward, beside plain torch and the bounds of the machine.

    python -m benchmarks.kernels --channels 32

The shape is that of one training batch of ogbn-proteins. Before anything is timed, value and all gradients are checked
against the definition on a part of the graph. Two bounds stand beside each figure, measured in the same run:

- operations: a message takes K multiply-adds a channel (softmax computes it twice), the gradient of the weight K more; divided
  by the rate of independent vector multiply-adds in registers, on all threads;
- bytes: each input and output moved once, with the messages' sources cached; divided by the rate of a large copy.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import harness
from revgnn.data.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.ops import simd
from revgnn.ops.aggregate import Max, Mean, Power, Reducer, Softmax, Sum, aggregate
from revgnn.ops.launch import kernel, next_block, run
from revgnn.ops.simd import fma, pointer, splat, store
from revgnn.testing import assert_close_to_truth

REDUCERS: tuple[Reducer, ...] = (Max(), Sum(), Mean(), Softmax(1.0), Power(2.0))
LANES = 16 * 12
"""Twelve independent accumulators hide the latency of a multiply-add."""


@functools.cache
def _multiply_add_kernel() -> Any:
    revision = simd.REVISION

    def chains(record):
        _ = revision
        out = pointer(record[3], np.float32)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            factor = splat(np.float32(0.999), LANES)
            acc = splat(np.float32(block), LANES)
            for _n in range(record[2]):
                acc = fma(acc, factor, factor)
            store(out, block * LANES, acc)

    return kernel(chains)


def multiply_adds_a_second() -> float:
    """float32 multiply-adds a second, on all threads, from registers."""
    blocks, rounds = 4 * torch.get_num_threads(), 400_000
    out = torch.empty(blocks, LANES)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        run(_multiply_add_kernel(), blocks, rounds, out)
        best = max(best, blocks * rounds * LANES / (time.perf_counter() - start))
    return best


def bytes_a_second() -> float:
    """Of a copy of 256 MB, reads and writes counted."""
    source = torch.ones(2**26)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - start))
    return best


def tensors(graph: Graph, channels: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(graph.num_nodes, channels), (graph.num_edge_features, channels), (channels,)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def forward(graph: Graph, leaves: list[Tensor], how: Reducer, backend: str | None) -> Tensor:
    x, weight, bias = leaves
    return aggregate(x, graph, graph.edge_attr, weight, bias, how=how, backend=backend)


def check(graph: Graph, channels: int, how: Reducer) -> None:
    """Value and gradients on a part of the graph, by the tolerance rule.

    Raises:
        AssertionError: if a kernel is wrong; then nothing is timed.
    """
    part = graph.subgraph(torch.arange(min(1500, graph.num_nodes)))
    results = []
    for backend, dtype in ((None, torch.float32), ("reference", torch.float32), ("reference", torch.float64)):
        cast = part.with_edge_attr(part.edge_attr.to(dtype))
        leaves = tensors(part, channels, dtype)
        out = forward(cast, leaves, how, backend)
        upstream = torch.ones_like(out)
        results.append([out.detach(), *torch.autograd.grad(out, leaves, upstream)])
    for name, ours, plain, truth in zip(("value", "x", "weight", "bias"), *results, strict=True):
        assert_close_to_truth(ours, plain, truth, f"{how}: {name}")


def bounds(graph: Graph, channels: int, how: Reducer) -> dict[str, tuple[int, int]]:
    """(multiply-adds, bytes) of forward and backward."""
    nodes, edges, features = graph.num_nodes, graph.num_edges, graph.num_edge_features
    message = edges * features * channels
    state, structure = 4 * nodes * channels, edges * (4 + 4 * features)
    saved = {"max": 1, "softmax": 2, "power": 1}.get(str(how), 0)
    if str(how) == "max":  # only winners matter: N x C of them
        return {"forward": (message, structure + 3 * state), "backward": (nodes * channels * features, 3 * state)}
    walks = 2 if str(how) == "softmax" else 1
    return {
        "forward": (walks * message, structure + (2 + saved) * state),
        "backward": (2 * message, structure + 4 * edges + (3 + saved) * state),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=32, help="channels of a group")
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print the JSON line instead of the table")
    args = parser.parse_args()

    graph = proteins_shaped(args.nodes, args.edges)
    for how in REDUCERS:
        check(graph, args.channels, how)
    rate, bandwidth = multiply_adds_a_second(), bytes_a_second()
    rows, results = [], []
    for how in REDUCERS:
        leaves = tensors(graph, args.channels)
        out = forward(graph, leaves, how, None)
        upstream = torch.randn_like(out)
        plain = forward(graph, leaves, how, "reference")
        work = {
            "forward": lambda how=how, leaves=leaves: forward(graph, leaves, how, None),
            "backward": lambda out=out, leaves=leaves, upstream=upstream: torch.autograd.grad(
                out, leaves, upstream, retain_graph=True
            ),
        }
        torch_work = {
            "forward": lambda how=how, leaves=leaves: forward(graph, leaves, how, "reference"),
            "backward": lambda plain=plain, leaves=leaves, upstream=upstream: torch.autograd.grad(
                plain, leaves, upstream, retain_graph=True
            ),
        }
        for direction, (operations, moved) in bounds(graph, args.channels, how).items():
            work[direction](), torch_work[direction]()
            ours = harness.Spread.of([1e3 * s for s in harness.interleaved({"ours": work[direction]}, args.repeats)["ours"]])
            seconds = harness.interleaved({"ours": work[direction], "torch": torch_work[direction]}, 3)
            gain = harness.ratios(seconds["torch"], seconds["ours"])
            bound = 1e3 * max(operations / rate, moved / bandwidth)
            rows.append(
                [
                    str(how),
                    direction,
                    ours.text(),
                    f"{1e3 * operations / rate:.2g}",
                    f"{1e3 * moved / bandwidth:.2g}",
                    f"{ours.median / bound:.1f}",
                    f"{1e3 * harness.Spread.of(seconds['torch']).median:.4g}",
                    gain.text(),
                ]
            )
            results.append(
                {
                    "how": str(how), "direction": direction, "milliseconds": ours._asdict(), "bound_milliseconds": bound,
                    "torch_milliseconds": 1e3 * harness.Spread.of(seconds["torch"]).median, "times_faster": gain._asdict(),
                }
            )  # fmt: skip
        del out, plain, work, torch_work
    line = {
        "benchmark": "kernels", "nodes": graph.num_nodes, "edges": graph.num_edges, "edge_features": graph.num_edge_features,
        "channels": args.channels, "multiply_adds_a_second": rate, "bytes_a_second": bandwidth, "kernels": results,
        **harness.record(),
    }  # fmt: skip
    path = harness.append_line(line, "kernels")
    if args.json:
        print(json.dumps(line))
        return
    header = ["reducer", "direction", "ours, ms", "operations, ms", "bytes, ms", "times the bound", "torch, ms", "times faster"]
    shape = f"{graph.num_nodes:,} nodes, {graph.num_edges:,} edges, {graph.num_edge_features} features"
    print(f"{shape}; {args.channels} channels")
    print(f"{rate / 1e9:,.0f} G multiply-adds and {bandwidth / 1e9:,.1f} GB a second on {torch.get_num_threads()} threads\n")
    print(harness.table(header, rows))
    print(f"\nadded to {path}")


if __name__ == "__main__":
    main()
