"""What the kernels of `propagate` are given and return, on every device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """Tensors, contiguous.

    Attributes:
        x: (N, C) or (N, H, C), float32 or float64. None in the backward pass if the weight wants no gradient: nothing else reads it
            there.
        weight: (E,) or (E, H) as x, in the order of the graph; None for weights of 1, and in the backward pass if x wants no
            gradient.
        indptr, src: the graph by destination, (N + 1,) and (E,).
        source_indptr, source_dst, source_edge: the graph by source, (N + 1,), (E,) and (E,); None if x wants no gradient.
    """

    x: Tensor
    weight: Tensor | None
    indptr: Tensor
    src: Tensor
    source_indptr: Tensor | None
    source_dst: Tensor | None
    source_edge: Tensor | None


def heads_and_channels(x: Tensor) -> tuple[int, int]:
    """Return H and C of a state, (N, C) or (N, H, C)."""
    return (1, x.shape[1]) if x.dim() == 2 else (x.shape[1], x.shape[2])


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
