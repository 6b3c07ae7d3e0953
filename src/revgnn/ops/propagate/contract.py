"""What the kernels of `propagate` are given and return, on every device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """Tensors, contiguous. The operator is linear in `x`, so the backward pass reads it for the gradient of `weight` only.

    Attributes:
        x: (N, H, C), float32 or float64.
        weight: (E, H), in the order of the graph, or None for weights of 1.
        indptr, src: the graph by destination, (N + 1,) and (E,).
        source_indptr, source_dst, source_edge: the graph by source, (N + 1,), (E,) and (E,); None where x wants no gradient.
    """

    x: Tensor | None
    weight: Tensor | None
    indptr: Tensor
    src: Tensor
    source_indptr: Tensor | None
    source_dst: Tensor | None
    source_edge: Tensor | None


class Spec(NamedTuple):
    """Settings.

    Attributes:
        mean: divide by the number of edges into the node.
        wanted: names of the inputs that want a gradient.
    """

    mean: bool
    wanted: tuple[str, ...] = ()


class Saved(NamedTuple):
    """Nothing beside the inputs."""


def gradients(grad: Tensor, inputs: Inputs, spec: Spec, weighted_sum, dot_products) -> Inputs:
    """Return the gradients of x and weight, of the two sums that every device has kernels for.

    The gradient of x is the same weighted sum along the reversed edges; that of the weight is a dot product for each edge.

    Args:
        weighted_sum: from (x, indptr, neighbour, edge, weight, mean) to the sums of each row, (N, H, C).
        dot_products: from (grad, x, indptr, src) to (E, H).
    """
    if spec.mean:
        grad = grad / inputs.indptr.diff().clamp(min=1).to(grad.dtype).view(-1, 1, 1)
    grad_x = grad_weight = None
    if "x" in spec.wanted:
        grad_x = weighted_sum(grad, inputs.source_indptr, inputs.source_dst, inputs.source_edge, inputs.weight, False)
    if "weight" in spec.wanted:
        grad_weight = dot_products(grad, inputs.x, inputs.indptr, inputs.src)
    return Inputs(grad_x, grad_weight, None, None, None, None, None)  # pyright: ignore[reportArgumentType]
