"""Open a cached set, cut an epoch and do a training step; `test_larger_than_memory.py` runs this in a process of its own.

    python larger_than_memory.py SOURCE PARTS

Prints as JSON the memory that each stage needs in addition: `anonymous`, the peak of memory without a file behind it, which must
fit; and `mapped`, pages of files in use at the end, which the system can release at any time.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

import torch

from revgnn import ModelConfig, build_model
from revgnn.data import NodeDataset, RandomPartition, cache, generate
from revgnn.data.cache import cached
from revgnn.data.generated.full_size import full_size


def status() -> dict[str, int]:
    """Return the memory of the process in bytes, by kind."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {kind: int(lines[kind].split()[0]) * 1024 for kind in ("RssAnon", "RssFile")}


class MemoryIncrease:
    """Context manager: memory above that at entry, sampled every millisecond by a thread."""

    def __enter__(self) -> MemoryIncrease:
        self.before, self.peak, self.ended = status(), 0, threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self) -> None:
        while not self.ended.wait(0.001):
            self.peak = max(self.peak, status()["RssAnon"])

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        now = status()
        self.anonymous = max(self.peak, now["RssAnon"]) - self.before["RssAnon"]
        self.mapped = now["RssFile"] - self.before["RssFile"]


def train_on_the_first_part(data: NodeDataset, parts: int) -> int:
    """Cut all parts of one epoch, train on the first, and return the number of edges in all parts."""
    torch.manual_seed(0)
    config = ModelConfig(depth=3, channels=16)
    model = build_model(
        config, in_channels=data.in_channels, out_channels=data.num_outputs, num_edge_features=8, num_species=data.num_species
    )
    optimizer = torch.optim.Adam(model.parameters())
    edges = 0
    with RandomPartition(data.graph, parts) as partition:
        for index, part in enumerate(partition.prefetching(0)):
            edges += part.graph.num_edges
            if index == 0:
                logits = model(part.graph, data.x[part.nodes], None if data.species is None else data.species[part.nodes])
                torch.nn.functional.binary_cross_entropy_with_logits(logits, data.y[part.nodes]).backward()
                optimizer.step()
    return edges


def main(source: Path, parts: int) -> None:
    def never() -> NodeDataset:
        raise AssertionError("the set must come from the cache")

    torch.set_num_threads(1)
    for edge_storage in ("float32", "int16"):  # memory of compiled code is not that of the graph
        train_on_the_first_part(replace(generate(300), graph=full_size(300, 3000, edge_storage=edge_storage)), 2)
    found = {}
    cache._SETTLED_NS = 0
    data = None
    for stage in ("verifying", "opening"):
        del data
        with MemoryIncrease() as increase:
            data = cached(never, source, [source], {})
        found[stage] = {"anonymous": increase.anonymous, "mapped": increase.mapped}
    with MemoryIncrease() as increase:
        edges = train_on_the_first_part(data, parts)
    found["training"] = {"anonymous": increase.anonymous, "mapped": increase.mapped}
    found["edges"] = edges
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
