"""The least work of the aggregation kernels, and the time the machine needs for it: bounds that stand beside the measured times."""

from __future__ import annotations

from typing import NamedTuple

import torch

from benchmarks import bounds
from revgnn.graph import Graph
from revgnn.ops.aggregate import Reducer


class Case(NamedTuple):
    """One reducer on one graph."""

    graph: Graph
    channels: int
    how: Reducer

    def __str__(self) -> str:
        return f"{self.how}, {self.channels} channels, {self.graph.num_edge_features} edge features"


class Work(NamedTuple):
    """The least that one direction must do."""

    operations: int
    """Multiply-adds."""
    exponentials: int
    logarithms: int
    moved: int
    """Bytes read and written."""
    rows: int
    """Rows of C channels that each message reads."""

    def seconds(self, rates: bounds.Rates) -> float:
        """Return the time of all operations, each kind at its rate from registers."""
        return self.operations / rates.multiply_add + self.exponentials / rates.exponential + self.logarithms / rates.logarithm


def least_work(case: Case) -> dict[str, Work]:
    """Return the least work of `forward` and `backward`.

    A message takes K multiply-adds a channel, and the gradient of the weight K more. Softmax takes one exponential of it, power an
    exponential and a logarithm, in each direction. Bytes: each input and output once; the rows of the sources are cached.
    """
    graph, channels = case.graph, case.channels
    nodes, edges, features = graph.num_nodes, graph.num_edges, graph.num_edge_features
    message = edges * features * channels
    state, structure = 4 * nodes * channels, edges * (4 + 4 * features)
    kind = str(case.how)
    saved = {"max": 1, "softmax": 2, "power": 1}.get(kind, 0)
    each = edges * channels
    exponentials, logarithms = each if kind in ("softmax", "power") else 0, each if kind == "power" else 0
    forward = Work(message, exponentials, logarithms, structure + (2 + saved) * state, 1)
    if kind == "max":  # the backward pass reads the winners only: N x C single numbers, and no rows
        return {"forward": forward, "backward": Work(nodes * channels * features, 0, 0, 3 * state, 0)}
    if features == 0 and kind == "power":  # by source, where a message is the same for all edges
        exponentials = logarithms = nodes * channels
    # by destination or by source, a message reads a row of the other end
    backward = Work(2 * message, exponentials, logarithms, structure + (3 + saved) * state, 1)
    return {"forward": forward, "backward": backward}


def gather_seconds(graph: Graph, channels: int) -> dict[str, float]:
    """Return the seconds to read one row for each message: `forward` by destination, `backward` by source."""
    x = torch.randn(graph.num_nodes, channels)
    out = graph.by_source
    return {
        "forward": bounds.gather_seconds(x, graph.indptr, graph.src),
        "backward": bounds.gather_seconds(x, out.indptr, out.dst),
    }


def check_gather(graph: Graph, channels: int) -> None:
    """Check that the kernel behind `gather_seconds` reads every row: its sums are those of torch.

    Raises:
        AssertionError: if they are not.
    """
    # integers: every order of summation gives the same bits
    x = torch.randint(-9, 10, (graph.num_nodes, min(channels, bounds.WIDEST))).float()
    truth = torch.zeros_like(x).index_add_(0, graph.dst.long(), x[graph.src.long()])
    if not torch.equal(bounds.gather_sums(x, graph.indptr, graph.src), truth):
        raise AssertionError(f"sums of rows of {channels} channels, read in the graph's order, differ from torch's")
