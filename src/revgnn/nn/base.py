"""The interface of our convolutions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from revgnn.nn.neighbours import Adjacency

_MESSAGE_PASSING = {"flow": "source_to_target", "node_dim": -2, "decomposed_layers": 1, "aggr_kwargs": None}
"""Options of PyTorch Geometric's `MessagePassing` that its convolutions pass on, with the only value that ours have."""

_ADVICE = {
    "flow": "use flip(0) of the edge_index for the reverse edges",
    "decomposed_layers": "no message is built here, so there is nothing to decompose",
}


class AbstractConv(nn.Module, ABC):
    """A map of node states along the edges: `conv(x, edge_index) -> (N, C_out)`. It keeps no state between calls.

    Constructors and calls have PyTorch Geometric's argument names, order and defaults; what is ours alone follows by name. The
    second argument of a call is a `Graph`, an `edge_index` (2, E), an `EdgeIndex`, or a sparse matrix (N_dst, N_src) of torch,
    SciPy or torch_sparse. Tensors are converted once and remembered (`revgnn.graph.remembered`). Per-edge values are in the order
    of what they come with. A call takes no argument that it does not use.
    """

    in_channels: int | tuple[int, int]
    out_channels: int

    @property
    def flow(self) -> str:
        """Direction of the messages: always from sources to destinations, as PyTorch Geometric's default."""
        return "source_to_target"

    @flow.setter
    def flow(self, value: str) -> None:
        refuse_options(type(self).__name__, {"flow": value})

    @abstractmethod
    def forward(self, x: Any, edge_index: Adjacency, *args: Any) -> Any:
        """Map states (N, C_in) to states (N, C_out)."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw all learned parameters anew."""

    @abstractmethod
    def output_parameters(self) -> list[Tensor]:
        """Return the parameters of the last maps: the output, without a norm after it, is multiplied by what they are multiplied
        by. Of attention, the values; its scores change too."""


def refuse_options(conv: str, options: dict[str, Any], **defaults: Any) -> None:
    """Raise unless the further options are those of PyTorch Geometric's `MessagePassing` with their default values.

    Args:
        defaults: further names with the only value that is accepted.

    Raises:
        TypeError: for an unknown name.
        ValueError: for another value.
    """
    for name, value in options.items():
        known = {**_MESSAGE_PASSING, **defaults}
        if name not in known:
            raise TypeError(f"{conv} has no option {name!r}.")
        if value != known[name]:
            advice = _ADVICE.get(name, "leave it out")
            raise ValueError(f"{conv} supports only {name}={known[name]!r}, got {value!r}; {advice}.")


def check_rate(name: str, value: float) -> None:
    """Raise `ValueError` unless a dropout rate lies in [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must lie in [0, 1), got {value}.")
