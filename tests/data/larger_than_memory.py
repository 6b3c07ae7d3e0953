"""Run by `test_beyond_memory.py` in a process of its own: opens a cached set, cuts an epoch and takes a training step.

    python beyond_memory.py SOURCE PARTS

Prints as JSON the memory that each stage took above what was there before: `anonymous`, memory that has no file behind it and so
must fit, at its peak; and `mapped`, pages of files in use at the end, which the system takes back when it needs to.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import torch

from revgnn import ModelConfig, build_model
from revgnn.data import NodeDataset, RandomPartition, cache, generate
from revgnn.data.cache import cached


def status() -> dict[str, int]:
    """Bytes of the process, by kind."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {kind: int(lines[kind].split()[0]) * 1024 for kind in ("RssAnon", "RssFile")}


class Watch:
    """Memory above what there was at entry: looked at a thousand times a second, while kernels run without the interpreter lock."""

    def __enter__(self) -> Watch:
        self.before, self.peak, self.over = status(), 0, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self) -> None:
        while not self.over.wait(0.001):
            self.peak = max(self.peak, status()["RssAnon"])

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        now = status()
        self.anonymous = max(self.peak, now["RssAnon"]) - self.before["RssAnon"]
        self.mapped = now["RssFile"] - self.before["RssFile"]


def train_on_the_first_part(data: NodeDataset, parts: int) -> int:
    """Walk one epoch, step on its first part; returns the edges met."""
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
    train_on_the_first_part(generate(300), 2)  # what is compiled and kept is not the graph's
    found = {}
    cache._SETTLED_NS = 0
    data = None
    for stage in ("verifying", "opening"):
        del data
        with Watch() as watch:
            data = cached(never, source, [source], {})
        found[stage] = {"anonymous": watch.anonymous, "mapped": watch.mapped}
    with Watch() as watch:
        edges = train_on_the_first_part(data, parts)
    found["training"] = {"anonymous": watch.anonymous, "mapped": watch.mapped}
    found["edges"] = edges
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
