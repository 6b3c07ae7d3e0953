"""What each node gets from its neighbours and its gradient, for operators of several steps that are one node of autograd."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels.backends import check_unchanged, choose, needs_dispatcher
from revgnn.ops.operator import Kernels
from revgnn.ops.propagate import contract, cpu


class Gather(NamedTuple):
    """`propagate` without edge weights, by the kernels of a device."""

    kernels: Kernels
    graph: Graph
    mean: bool

    @classmethod
    def of(cls, graph: Graph, *, mean: bool) -> Gather:
        """Return it for a graph, on the device of the graph."""
        return cls(_kernels(choose(None, graph.src.device)), graph, mean)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums or means (N, C) of the states (N, C) of the neighbours."""
        graph = self.graph
        check_unchanged(graph.versions, indptr=graph.indptr, src=graph.src)
        inputs = contract.Inputs(x.contiguous(), None, graph.indptr, graph.src, None, None, None)
        return self.kernels.forward(inputs, contract.Spec(self.mean))[0]

    def backward(self, grad: Tensor) -> Tensor:
        """Return the gradient of the states, from that of the sums or means."""
        graph = self.graph
        inputs: Any = (None, None, graph.indptr, graph.src, *graph.by_source)
        spec = contract.Spec(self.mean, ("x",))
        return self.kernels.backward(grad.contiguous(), contract.Inputs(*inputs), contract.Saved(), spec).x


def fits(x: Tensor, graph: Graph, wanted: Iterable[tuple[Tensor, tuple[int, ...]]]) -> bool:
    """Whether states and weights can go through the kernels without what checks and converts them elsewhere.

    They can if all are float32 or all float64, on a device with kernels, with nothing active that changes dtypes or has to see each
    operator.

    Args:
        x: the states.
        wanted: states and weights, each with the shape that it must have.
    """
    wanted = tuple(wanted)
    return (
        choose(None, x.device) != "reference"
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and graph.src.device == x.device
        and all(t.shape == shape and t.dtype == x.dtype and t.device == x.device for t, shape in wanted)
        and not torch.is_autocast_enabled(x.device.type)
        and not needs_dispatcher(tuple(t for t, _ in wanted))
    )


@functools.cache
def _kernels(backend: str) -> Kernels:
    """Return the kernels of a backend; those of the GPU are imported only here."""
    if backend == "cpu":
        return cpu
    from revgnn.ops.propagate import gpu

    return gpu
