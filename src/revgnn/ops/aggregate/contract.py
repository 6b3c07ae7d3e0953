"""What the kernels of `aggregate` are given and return, on every device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from revgnn.ops.aggregate.reducers import Reducer


class Inputs(NamedTuple):
    """Tensors, contiguous.

    Attributes:
        x: (N, C), float32 or float64. None in the backward pass of a reducer that does not read it.
        edge_attr: $A$, (E, K), dtype of `x`, or on the CPU a 16-bit dtype; None without edge features.
        weight: $W$, (K, C), dtype of `x`; None without edge features.
        bias: $b$, (C,), dtype of `x`; or None.
        parameter: learned temperature or exponent, float64 (); None if it is a number or there is none.
        indptr, src: the graph by destination, (N + 1,) int64 and (E,) int32 or int64.
        source_indptr, source_dst, source_edge: the graph by source, (N + 1,), (E,) and (E,); None if no kernel reads it.
    """

    x: Tensor | None
    edge_attr: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    parameter: Tensor | None
    indptr: Tensor
    src: Tensor
    source_indptr: Tensor | None
    source_dst: Tensor | None
    source_edge: Tensor | None


class Spec(NamedTuple):
    """Settings.

    Attributes:
        how: the reducer. If the inputs hold a learned parameter, it replaces the one here.
        eps: added to each message.
        residual: return `x + out`.
        wanted: names of the inputs that want a gradient.
    """

    how: Reducer
    eps: float
    residual: bool = False
    wanted: tuple[str, ...] = ()


class Saved(NamedTuple):
    """What the forward pass keeps for the backward pass, (N, C) each; None if the reducer does not need it.

    Attributes:
        out: the aggregate, without `x` (softmax, power).
        winner: position of the edge with the largest message, -1 for none (max, if a gradient is wanted).
        peaks: the message with the largest score t m (softmax).
        scales: one over the sum of the exponentials of t (m - peak) (softmax).
        remainder: what rounding removed from `out` (power).
    """

    out: Tensor | None = None
    winner: Tensor | None = None
    peaks: Tensor | None = None
    scales: Tensor | None = None
    remainder: Tensor | None = None
