"""Cutting a graph of ogbn-proteins' full size into ten random parts, beside PyTorch Geometric's `RandomNodeLoader`, in turns.

    python -m benchmarks partition
    python -m benchmarks partition --storage int16 --nodes 20000 --edges 2000000

First the parts are checked: together they have every node once, and they are the sub-graphs that PyTorch Geometric makes of their
nodes; otherwise nothing is timed. Then each makes the parts of an epoch in turn. Last, a network is trained on parts that are made
in the background, to see how long it waits for them and how much they slow its steps.

The bound is the bytes that must move, divided by the rate of a large copy: each source is read once, of the features that are kept
the cache lines they lie in, and the part is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import RandomNodeLoader
from torch_geometric.utils import subgraph

from benchmarks import bounds, harness
from benchmarks.anonymous_memory import AnonymousPeak
from revgnn.data import Part, RandomPartition
from revgnn.data.generated.full_size import full_size
from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model

QUICK = {"nodes": 500, "edges": 20_000, "parts": 4, "repeats": 2, "depth": 2, "channels": 16}
CACHE_LINE = 64
"""Bytes that are read from memory at once."""


def check_parts(graph: Graph, data: Data, parts: int) -> None:
    """Check the parts: each node is in one, sizes differ by less than one node, first and last are as in PyTorch Geometric.

    Raises:
        AssertionError: if a part is wrong.
    """
    seen = torch.zeros(graph.num_nodes, dtype=torch.int64)
    for index, part in enumerate(RandomPartition(graph, parts).epoch(0)):
        seen[part.nodes] += 1
        if abs(part.nodes.numel() - graph.num_nodes / parts) >= 1:
            raise AssertionError(f"part {index} has {part.nodes.numel()} of {graph.num_nodes} nodes")
        if index in (0, parts - 1):
            _check_induced(part, data, index)
    if not bool((seen == 1).all()):
        raise AssertionError(f"node {int((seen != 1).nonzero()[0])} is in {int(seen[seen != 1][0])} parts")


def _check_induced(part: Part, data: Data, index: int) -> None:
    """Check edges and features of a part against PyTorch Geometric's `subgraph`."""
    assert data.edge_index is not None
    edges, features = subgraph(part.nodes, data.edge_index, data.edge_attr, relabel_nodes=True, num_nodes=data.num_nodes)
    # both keep the order of the whole graph, which is by destination
    if not torch.equal(part.graph.edge_index, edges):
        raise AssertionError(f"part {index} does not have the edges among its nodes")
    if features is not None and not torch.equal(_stored(part.graph), features):
        raise AssertionError(f"part {index} does not have the features of its edges")


def _stored(graph: Graph) -> torch.Tensor:
    assert graph.edge_attr is not None
    return graph.edge_attr


def make_all(parts: Iterable[object]) -> None:
    """Make all parts and drop them."""
    for _ in parts:
        pass


def moved_bytes(graph: Graph, parts: int) -> int:
    """Return about how many bytes one epoch must at least read and write."""
    kept = graph.num_edges // parts
    row = graph.num_edge_features * (graph.edge_attr.element_size() if graph.edge_attr is not None else 0)
    index = graph.src.element_size()
    # one row in P is kept, so that few rows share a cache line: one line is read for each, and at most all lines
    features = min(kept * max(row, CACHE_LINE), graph.num_edges * row) if row else 0
    return graph.num_edges * index + features + kept * (row + index)


def training_step(args: argparse.Namespace, graph: Graph) -> Callable[[Part], None]:
    """Return a function that trains RevGNN for one step on a part, with node degrees as features."""
    torch.manual_seed(0)
    features = graph.num_edge_features
    config = ModelConfig(depth=args.depth, channels=args.channels)
    model = build_model(config, in_channels=1, out_channels=1, num_edge_features=features, num_species=0)

    def step(part: Part) -> None:
        model.zero_grad(set_to_none=True)
        logits = model(part.graph, part.graph.in_degree.float().log1p().unsqueeze(1))
        nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)).backward()

    return step


def overlap(args: argparse.Namespace, graph: Graph) -> dict[str, list[float]]:
    """Return the seconds of each step on a part that exists (`alone`), of each step while the next part is made (`beside`), and of
    each wait for a part (`wait`): over two epochs, without the first part, which could not be made before."""
    step = training_step(args, graph)
    found: dict[str, list[float]] = {"alone": [], "beside": [], "wait": []}
    for index, part in enumerate(RandomPartition(graph, args.parts).epoch(0)):
        step(part)
        if index == 0:
            continue  # compiles the kernels
        found["alone"].append(_seconds(lambda part=part: step(part)))
    with RandomPartition(graph, args.parts) as partition:
        for epoch in range(2):
            parts = partition.prefetching(epoch)
            for index in range(args.parts):
                start = time.perf_counter()
                part = next(parts)
                if (epoch, index) != (0, 0):
                    found["wait"].append(time.perf_counter() - start)
                found["beside"].append(_seconds(lambda part=part: step(part)))
            parts.close()
    return found


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("partition", __doc__)
    parser.add_argument("--nodes", type=int, default=132_534)
    parser.add_argument("--edges", type=int, default=79_122_504)
    parser.add_argument("--features", type=int, default=8, help="edge features, in [0, 1] with 3 decimals")
    parser.add_argument("--storage", choices=["float32", "int16"], default="float32", help="of the edge features, for both")
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; a round is an epoch of each")
    parser.add_argument("--depth", type=int, default=7, help="layers of the network that is trained")
    parser.add_argument("--channels", type=int, default=64)
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    graph = full_size(args.nodes, args.edges, args.features, edge_storage=args.storage)
    data = Data(edge_index=graph.edge_index, edge_attr=graph.edge_attr, num_nodes=graph.num_nodes)
    if not harness.checks_pass(lambda: check_parts(graph, data, args.parts)):
        return 1
    keys = ("nodes", "edges", "features", "storage", "parts", "repeats", "depth", "channels")
    with harness.result_line("partition", {key: getattr(args, key) for key in keys}, args) as result:
        ours, theirs = RandomPartition(graph, args.parts), RandomNodeLoader(data, num_parts=args.parts, shuffle=True)
        contestants = {"revgnn": lambda: make_all(ours.epoch(0)), "PyG RandomNodeLoader": lambda: make_all(theirs)}
        result |= {"seconds": {}, "peak_bytes": {}}
        for name, work in contestants.items():
            with AnonymousPeak() as memory:
                work()
            result["peak_bytes"][name] = memory.peak_bytes
        with harness.progress("in turns", args.repeats * len(contestants), quiet=args.quick) as tick:
            harness.interleaved(contestants, args.repeats, into=result["seconds"], tick=tick)
        speed_up = harness.ratios(result["seconds"]["PyG RandomNodeLoader"], result["seconds"]["revgnn"])
        result["speed_up"] = speed_up._asdict()
        result["moved_bytes"] = moved_bytes(graph, args.parts)
        result["bound_seconds"] = result["moved_bytes"] / bounds.bytes_a_second(2**22 if args.quick else 2**28)
        result["overlap"] = overlap(args, graph)
        if not args.json:
            print(show(result))
    return 0


def show(result: Mapping[str, Any]) -> str:
    """Return the table and what surrounds it."""
    rows = [
        [
            name,
            harness.Spread.of(seconds).text(),
            harness.megabytes(result["peak_bytes"][name]),
            harness.Spread(**result["speed_up"]).text() if name != "revgnn" else "",
        ]
        for name, seconds in result["seconds"].items()
    ]
    sizes = "{nodes:,} nodes, {edges:,} directed edges, {features} edge features ({storage}), {parts} parts".format(**result)
    found = {name: harness.Spread.of(seconds).text() for name, seconds in result["overlap"].items()}
    longest = max(result["overlap"]["wait"])
    lines = [
        f"All parts of an epoch, {sizes}; {result['repeats']} rounds in turns.",
        f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}, commit {result['commit']}\n",
        harness.table(["", "seconds an epoch, median (range)", "peak memory", "revgnn is faster by, median (range)"], rows),
        f"\nBound: {result['moved_bytes'] / 1e9:.3g} GB to move, {result['bound_seconds']:.3g} s at the rate of a large copy.",
        f"A step of {result['depth']} layers of {result['channels']} channels on a part: {found['alone']} s alone, "
        f"{found['beside']} s while the next part is made. It waited {found['wait']} s for a part, {longest:.2g} s at most.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
