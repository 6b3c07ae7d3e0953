"""Cutting a graph of ogbn-proteins' full size into ten random parts, beside PyTorch Geometric's `RandomNodeLoader`, in turns.

    revgnn bench partition
    revgnn bench partition --storage auto --nodes 20000 --edges 2000000

First it must be right: the parts have every node once, and are the sub-graphs that PyTorch Geometric makes of their nodes; else
nothing is timed. Then an epoch of parts is made by each in turn; and a network is trained on parts that are made in the
background, to see how long it waits for them and how much they slow its steps.

The bound is the bytes that must move (each source read once; of the features that stay, the cache lines they lie in; the part
written), divided by the rate of a large copy.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import RandomNodeLoader
from torch_geometric.utils import subgraph

from benchmarks import bounds, harness
from revgnn.data import Part, RandomPartition
from revgnn.data.generated.full_size import full_size
from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model

QUICK = {"nodes": 500, "edges": 20_000, "parts": 4, "repeats": 2, "depth": 2, "channels": 16}
LINE = 64
"""Bytes that memory hands out at a time."""


def check_parts(graph: Graph, data: Data, parts: int) -> None:
    """Each node is in one part, parts are of one size, and the first and last are what PyTorch Geometric makes of their nodes.

    Raises:
        AssertionError: if not; then nothing is timed.
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
    assert data.edge_index is not None
    edges, features = subgraph(part.nodes, data.edge_index, data.edge_attr, relabel_nodes=True, num_nodes=data.num_nodes)
    # Both keep the order of the whole: by destination, since that is how `data` was made.
    if not torch.equal(part.graph.edge_index, edges):
        raise AssertionError(f"part {index} does not have the edges among its nodes")
    if features is not None and not torch.equal(_stored(part.graph), features):
        raise AssertionError(f"part {index} does not have the features of its edges")


def _stored(graph: Graph) -> torch.Tensor:
    assert graph.edge_attr is not None
    return graph.edge_attr


def walk(parts: Iterable[object]) -> None:
    for _ in parts:
        pass


def moved_bytes(graph: Graph, parts: int) -> int:
    """What one epoch must read and write at least, about."""
    kept = graph.num_edges // parts
    row = graph.num_edge_features * (graph.edge_attr.element_size() if graph.edge_attr is not None else 0)
    index = graph.src.element_size()
    # One row in P stays, so that few of them share a line: a line is read for each, but never more lines than there are.
    features = min(kept * max(row, LINE), graph.num_edges * row) if row else 0
    return graph.num_edges * index + features + kept * (row + index)


class AnonymousPeak:
    """Peak of memory without a file behind it, above that at entry; looked at two hundred times a second. Zero where /proc is not.

    Counted for the whole process, as parts are made in NumPy's memory and PyTorch Geometric's in torch's.
    """

    peak_bytes = 0

    def __enter__(self) -> AnonymousPeak:
        gc.collect()
        # What the allocator keeps of memory that was freed would be used again unseen.
        if sys.platform == "linux":
            getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
        self._before, self._over = _anonymous(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self.peak_bytes = max(self.peak_bytes, _anonymous() - self._before)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _anonymous() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


# --- beside a training step -------------------------------------------------------------------------------------------------


def training_step(args: argparse.Namespace, graph: Graph) -> Callable[[Part], None]:
    """A step of RevGNN on a part, with node degrees as features."""
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
    """Seconds of each step on parts that are there already (`alone`); of each step while the next part is made (`beside`); and
    of each wait for a part, over two epochs less the very first part, which nobody could have prepared."""
    step = training_step(args, graph)
    found: dict[str, list[float]] = {"alone": [], "beside": [], "wait": []}
    for index, part in enumerate(RandomPartition(graph, args.parts).epoch(0)):
        step(part)
        if index == 0:
            continue  # compiled, warm
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


# --- the command ------------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("partition", __doc__)
    parser.add_argument("--nodes", type=int, default=132_534)
    parser.add_argument("--edges", type=int, default=79_122_504)
    parser.add_argument("--features", type=int, default=8, help="edge features, in [0, 1] with 3 decimals")
    parser.add_argument("--storage", choices=["float32", "int16"], default="float32", help="of the edge features, for both")
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; a round is an epoch of each")
    parser.add_argument("--depth", type=int, default=7, help="layers of the network that is trained beside")
    parser.add_argument("--channels", type=int, default=64)
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    graph = full_size(args.nodes, args.edges, args.features, edge_storage=args.storage)
    data = Data(edge_index=graph.edge_index, edge_attr=graph.edge_attr, num_nodes=graph.num_nodes)
    if not harness.all_right(lambda: check_parts(graph, data, args.parts)):
        return 1
    keys = ("nodes", "edges", "features", "storage", "parts", "repeats", "depth", "channels")
    with harness.result_line("partition", {key: getattr(args, key) for key in keys}, args) as result:
        ours, theirs = RandomPartition(graph, args.parts), RandomNodeLoader(data, num_parts=args.parts, shuffle=True)
        contestants = {"revgnn": lambda: walk(ours.epoch(0)), "PyG RandomNodeLoader": lambda: walk(theirs)}
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
    rows = [
        [
            name,
            harness.Spread.of(seconds).text(),
            harness.megabytes(result["peak_bytes"][name]),
            harness.Spread(**result["speed_up"]).text() if name != "revgnn" else "",
        ]
        for name, seconds in result["seconds"].items()
    ]
    shape = "{nodes:,} nodes, {edges:,} directed edges, {features} edge features ({storage}), {parts} parts".format(**result)
    found = {name: harness.Spread.of(seconds).text() for name, seconds in result["overlap"].items()}
    longest = max(result["overlap"]["wait"])
    lines = [
        f"All parts of an epoch, {shape}; {result['repeats']} rounds in turns.",
        f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}, commit {result['commit']}\n",
        harness.table(["", "seconds an epoch, median (range)", "peak memory", "revgnn is faster by, median (range)"], rows),
        f"\nBound: {result['moved_bytes'] / 1e9:.3g} GB to move, {result['bound_seconds']:.3g} s at the rate of a large copy.",
        f"A step of {result['depth']} layers of {result['channels']} channels on a part: {found['alone']} s alone, "
        f"{found['beside']} s while the next part is made. It waited {found['wait']} s for a part, {longest:.2g} s at most.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
