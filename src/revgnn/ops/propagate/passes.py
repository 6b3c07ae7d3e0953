"""The backward pass of `propagate`, made of two kernels that each device has.

The gradient of `x` is the weighted sum along the reversed edges, so one kernel serves both passes. The gradient of `weight` is a
dot product for each edge.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from revgnn.ops.operator import gradients
from revgnn.ops.propagate.contract import Inputs, Spec


class WeightedSum(Protocol):
    """The kernel of both passes.

    `out[i]` is the sum of `weight[edge[q]] * x[neighbour[q]]` over the entries q of row i, from `indptr[i]` to `indptr[i + 1]`,
    divided by their number if `mean`. Without `edge`, entry q has weight q. Without `weight`, weights are 1.
    """

    def __call__(
        self, x: Tensor, indptr: Tensor, neighbour: Tensor, edge: Tensor | None, weight: Tensor | None, mean: bool
    ) -> Tensor: ...


class DotProducts(Protocol):
    """The kernel for the gradient of the weights.

    `out[e]` is, for each head, the dot product of `grad[i]` and `x[j]`, where e is the edge from j to i.
    """

    def __call__(self, grad: Tensor, x: Tensor, indptr: Tensor, src: Tensor) -> Tensor: ...


def backward_pass(grad: Tensor, inputs: Inputs, spec: Spec, weighted_sum: WeightedSum, dot_products: DotProducts) -> Inputs:
    """Return the gradients of `x` and `weight`, computed by the kernels of a device."""
    x, weight, indptr, src, source_indptr, source_dst, source_edge = inputs
    if spec.mean:
        grad = grad / indptr.diff().clamp(min=1).to(grad.dtype).view(-1, *[1] * (grad.dim() - 1))
    grad_x = grad_weight = None
    if "x" in spec.wanted:
        assert source_indptr is not None
        assert source_dst is not None
        grad_x = weighted_sum(grad, source_indptr, source_dst, source_edge, weight, False)
    if "weight" in spec.wanted:
        grad_weight = dot_products(grad, x, indptr, src)
    return gradients(Inputs, x=grad_x, weight=grad_weight)
