"""What the kernels of `edge_softmax` are given and return, on every device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """Tensors, contiguous.

    Attributes:
        scores: (E, H), float32 or float64, in the order of the graph. None in the backward pass, which does not read them.
        indptr: (N + 1,), int64: where the edges into each node begin.
    """

    scores: Tensor
    indptr: Tensor


class Spec(NamedTuple):
    """Settings: only the names of the inputs that want a gradient."""

    wanted: tuple[str, ...] = ()


class Saved(NamedTuple):
    """The softmax itself, (E, H): all that the backward pass needs."""

    out: Tensor
