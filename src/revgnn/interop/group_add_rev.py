"""A drop-in replacement of PyTorch Geometric's reversible layer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.stack import AdditiveCoupling, Backprop, PerGroup, Reversible, Stack
from revgnn.stack.recompute import RecomputedLayers
from revgnn.stack.stack import StateKind

SEPARATE_LAYERS = (
    "a reversible layer follows another one. Separate layers each keep their output, so memory grows with depth: 112 layers of "
    "{example} need {separate} MB where one stack of them needs {together} MB. Call revgnn.interop.convert(model), or build a "
    "revgnn.ReversibleStack."
).format(example="1,000 nodes and 128 channels", separate=61, together=12)


class GroupAddRev(nn.Module):
    r"""A grouped reversible layer (Li et al. 2021, arXiv:2106.07476) with the interface of
    `torch_geometric.nn.GroupAddRev`: arguments, names of parameters, `inverse`.

    $y_0 = x_2 + \ldots + x_G$ and $y_i = x_i + f_i(y_{i-1})$ for $i = 1 \ldots G$, where $f_i$ are the convolutions.

    What is different:

    - Gradients are exact: bit for bit those of storing every activation, with dropout, batch norm and autocast inside the
      convolutions. To that end the state is kept on a grid (`state="grid"`): values differ from PyTorch Geometric's by the
      rounding of the input and of each $f_i$ to multiples of $2^{-14}$. With `state="plain"` values are its values to the last
      bit, and gradients as near as rounding allows.
    - The storage of the input is not emptied: it can be read afterwards, and autograd may have saved it. The price is that separate
      layers need memory that grows with depth; `revgnn.interop.convert` makes one stack of them.
    - Batch norm updates its statistics once a step. Unused parameters, and layers without one that learns, are allowed.
    - Any number of backward passes is possible, so `num_bwd_passes` has no effect.
    - A tensor of one value for each edge is passed on whole, even if there are as many edges as channels.

    Further arguments of `forward` and `inverse` are treated as PyTorch Geometric treats them: a tensor whose size along
    `split_dim` is the number of channels is cut into one piece for each group, anything else goes to all groups.

    Args:
        conv: a convolution, which is copied for each group with parameters of its own; or the convolutions, as a `ModuleList`.
        split_dim: the dimension that is cut into groups.
        num_groups: the number of groups, G; needed with a single convolution.
        disable: store every activation, as plain backpropagation does. The value stays the same.
        num_bwd_passes: accepted and not used.
        state: "grid", "float64" or "plain"; see `revgnn.Stack`.

    Attributes:
        convs: the convolutions.
        coarsened: by how many bits the grid has become coarser, see `revgnn.Stack`. Unlike there it is not saved, since the names
            of what is saved are PyTorch Geometric's.

    Raises:
        ValueError: for fewer than two groups, or a number of groups that does not fit the convolutions.
    """

    def __init__(
        self,
        conv: nn.Module | nn.ModuleList,
        split_dim: int = -1,
        num_groups: int | None = None,
        disable: bool = False,
        num_bwd_passes: int = 1,
        *,
        state: StateKind = "grid",
    ) -> None:
        super().__init__()
        self.split_dim = split_dim
        self.disable = disable
        self.num_bwd_passes = num_bwd_passes
        self.state: StateKind = state
        self.coarsened = 0
        self.convs = conv if isinstance(conv, nn.ModuleList) else _copies(conv, num_groups)
        if num_groups not in (None, len(self.convs)):
            raise ValueError(f"there are {len(self.convs)} convolutions, one for each group, but num_groups={num_groups}.")
        self._stack()  # refuses fewer than two groups, and an unknown state

    @property
    def num_groups(self) -> int:
        """The number of groups, G."""
        return len(self.convs)

    def reset_parameters(self) -> None:
        """Draw the parameters of every convolution anew."""
        for conv in self.convs:
            conv.reset_parameters()  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor, edge_index: Any, *args: Any) -> Tensor:
        """Return the state after the layer, of the shape of `x`. `x` is not changed.

        Args:
            x: the state, usually (N, D); its size along `split_dim` is a multiple of the groups.
            edge_index: what the convolutions take after their input; it is never cut.
            args: what they take after that; see the class.
        """
        if not self.disable and isinstance(getattr(x.grad_fn, "recomputation", None), RecomputedLayers):
            warnings.warn(SEPARATE_LAYERS, stacklevel=2)
        return self._apply_stack(x, edge_index, args, inverse=False)

    def inverse(self, y: Tensor, edge_index: Any, *args: Any) -> Tensor:
        """Return the state before the layer, for the state after it and the other arguments of `forward`; see `Stack.inverse`.

        Its gradients, if they are enabled, are those of plain backpropagation.
        """
        return self._apply_stack(y, edge_index, args, inverse=True)

    def capture_obstacle(self) -> str:
        """Return why a step cannot be recorded as a CUDA graph."""
        return (
            "a GroupAddRev starts its random numbers on the host in each call; build a revgnn.ReversibleStack of its convolutions."
        )

    def _apply_stack(self, state: Tensor, edge_index: Any, args: tuple[Any, ...], *, inverse: bool) -> Tensor:
        split = split_by_group(state, edge_index, args, self.num_groups, self.split_dim)
        dim = self.split_dim % state.dim()
        is_matrix = state.dim() == 2 and dim == 1
        stack = self._stack() if is_matrix else self._stack(state.shape, dim)
        stack.coarsened = self.coarsened
        apply = stack.inverse if inverse else stack
        if is_matrix:
            out = apply(state, edge_index, *split)
        else:
            moved = state.movedim(dim, -1)
            out = apply(moved.reshape(-1, moved.shape[-1]), edge_index, *split).view(moved.shape).movedim(-1, dim)
        self.coarsened = stack.coarsened
        return out

    def _stack(self, shape: torch.Size | None = None, dim: int = -1) -> Stack:
        """Return the layer as a stack of one: of the convolutions, or of what gives them a state of this shape."""
        blocks = self.convs if shape is None else [_Reshaped(conv, shape, dim) for conv in self.convs]
        return Stack([AdditiveCoupling(blocks)], gradient=Backprop() if self.disable else Reversible(), state=self.state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.convs[0]}, num_groups={self.num_groups})"


def split_by_group(x: Tensor, edge_index: Any, args: Sequence[Any], groups: int, dim: int) -> list[Any]:
    """Return the further arguments of a layer: those with as many channels as `x` as `PerGroup`, the others as they are.

    Args:
        x: the state.
        edge_index: says how many edges there are. A tensor (E,) is never cut.
        args: the further arguments.
        groups: the number of groups.
        dim: the dimension that is cut.
    """
    channels = x.shape[dim]
    edges = edge_index.num_edges if isinstance(edge_index, Graph) else None
    if isinstance(edge_index, Tensor) and edge_index.layout == torch.strided and edge_index.dim() == 2:
        edges = edge_index.shape[1]

    def piece(arg: Any) -> Any:
        if not isinstance(arg, Tensor) or not -arg.dim() <= dim < arg.dim() or arg.shape[dim] != channels:
            return arg
        if arg.shape == (edges,):
            return arg
        return PerGroup(arg.chunk(groups, dim=dim))

    return [piece(arg) for arg in args]


class _Reshaped(nn.Module):
    """A convolution of states of any shape, as a block of a stack, whose state is a matrix."""

    def __init__(self, conv: nn.Module, shape: torch.Size, dim: int) -> None:
        super().__init__()
        self.conv = conv
        self.rest = [size for n, size in enumerate(shape) if n != dim]
        self.dim = dim

    def forward(self, y: Tensor, *args: Any) -> Tensor:
        out = self.conv(y.view(*self.rest, -1).movedim(-1, self.dim), *args)
        return out.movedim(self.dim, -1).reshape(y.shape[0], -1)


def _copies(conv: nn.Module, num_groups: int | None) -> nn.ModuleList:
    """Return the convolution and, for the other groups, copies of it with parameters drawn anew."""
    if num_groups is None:
        raise ValueError("how many groups are there? Pass num_groups, or the convolutions as a ModuleList.")
    convs = nn.ModuleList([conv])
    for _ in range(num_groups - 1):
        other = copy.deepcopy(conv)
        reset = getattr(other, "reset_parameters", None)
        if reset is not None:
            reset()
        convs.append(other)
    return convs
