r"""GraphSAGE's convolution as one node of the autograd graph: aggregation along the edges and both linear maps.

It runs the kernels of `propagate` and torch's products. Each product is added in place to what is there, in the value and in the
gradient of the state, so that nothing of N x C is written only to be added. What stands between operators is saved too: argument
checks, and a node of the autograd graph for each. `SAGEConv` takes this path where `fits` allows it, and otherwise the operators.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from revgnn.graph import Graph
from revgnn.kernels.backends import check_unchanged, choose, needs_dispatcher
from revgnn.ops.operator import Kernels
from revgnn.ops.propagate import contract, cpu


class Maps(NamedTuple):
    """Of neighbours (C_out, C_in), the bias (C_out,) or None, and of the node's own state (C_out, C_in)."""

    neighbours: Tensor
    bias: Tensor | None
    own: Tensor


def fits(x: Tensor, graph: Graph, maps: Maps) -> bool:
    """Whether `sage` takes these tensors: of matching shapes, all float32 or all float64, on a device with kernels, with nothing
    active that has to see each operator or changes dtypes."""
    out_channels, in_channels = maps.neighbours.shape
    wanted: list[tuple[Tensor, tuple[int, ...]]] = [
        (x, (graph.num_nodes, in_channels)),
        (maps.neighbours, (out_channels, in_channels)),
        (maps.own, (out_channels, in_channels)),
    ]
    if maps.bias is not None:
        wanted.append((maps.bias, (out_channels,)))
    return (
        choose(None, x.device) != "reference"
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and graph.src.device == x.device
        and all(t.shape == shape and t.dtype == x.dtype and t.device == x.device for t, shape in wanted)
        and not torch.is_autocast_enabled(x.device.type)
        and not needs_dispatcher(tuple(t for t, _ in wanted))
    )


def sage(x: Tensor, graph: Graph, maps: Maps, *, mean: bool) -> Tensor:
    r"""Return $\mathrm{AGG}_{j \to i}\, W_l x_j + b + W_r x_i$ of tensors that `fits` accepts; differentiable once in all of them.

    The narrower state moves along the edges: $x_j$, or $W_l x_j$ if that has fewer channels.

    Args:
        x: (N, C_in).
        mean: whether the sum over neighbours is divided by their number.

    Returns:
        (N, C_out), dtype of `x`.
    """
    return _SAGE.apply(_Constants(_kernels(choose(None, x.device)), graph, mean), x, *maps)


@functools.cache
def _kernels(backend: str) -> Kernels:
    """Return the kernels of a backend; those of the GPU are imported only here."""
    if backend == "cpu":
        return cpu
    from revgnn.ops.propagate import gpu

    return gpu


class _Constants(NamedTuple):
    kernels: Kernels
    graph: Graph
    mean: bool

    def gather(self, x: Tensor) -> Tensor:
        """Return what each node gets from its neighbours."""
        graph = self.graph
        check_unchanged(graph.versions, indptr=graph.indptr, src=graph.src)
        inputs = contract.Inputs(x.contiguous(), None, graph.indptr, graph.src, None, None, None)
        return self.kernels.forward(inputs, contract.Spec(self.mean))[0]

    def give_back(self, grad: Tensor) -> Tensor:
        """Return the gradient of the states, from that of what nodes got."""
        graph = self.graph
        inputs: Any = (None, None, graph.indptr, graph.src, *graph.by_source)
        spec = contract.Spec(self.mean, ("x",))
        return self.kernels.backward(grad.contiguous(), contract.Inputs(*inputs), contract.Saved(), spec).x


class _SAGE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, constants: _Constants, x: Tensor, neighbours: Tensor, bias: Tensor | None, own: Tensor) -> Tensor:
        ctx.constants = constants
        if _maps_first(neighbours):
            out, gathered = constants.gather(x @ neighbours.t()), None
            out = out if bias is None else out.add_(bias)
        else:
            gathered = constants.gather(x)
            out = gathered @ neighbours.t() if bias is None else torch.addmm(bias, gathered, neighbours.t())
        ctx.save_for_backward(x, gathered, neighbours, own)
        return out.addmm_(x, own.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        constants: _Constants = ctx.constants
        x, gathered, neighbours, own = ctx.saved_tensors
        _, wants_x, wants_neighbours, wants_bias, wants_own = ctx.needs_input_grad
        grad_x = grad_neighbours = None
        if _maps_first(neighbours):
            if wants_x or wants_neighbours:
                along = constants.give_back(grad)
                grad_neighbours = along.t() @ x if wants_neighbours else None
                grad_x = along @ neighbours if wants_x else None
        else:
            grad_neighbours = grad.t() @ gathered if wants_neighbours else None
            grad_x = constants.give_back(grad @ neighbours) if wants_x else None
        if grad_x is not None:
            grad_x.addmm_(grad, own)
        return None, grad_x, grad_neighbours, grad.sum(0) if wants_bias else None, grad.t() @ x if wants_own else None


def _maps_first(neighbours: Tensor) -> bool:
    """Whether states are mapped before they move along the edges: if that makes them narrower."""
    return neighbours.shape[0] < neighbours.shape[1]
