"""Models made of separate reversible layers, as users of PyTorch Geometric and of the authors' code write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.nn import GroupAddRev as PyGGroupAddRev
from torch_geometric.nn import SAGEConv


class Block(nn.Module):
    """Norm, ReLU, a dropout mask in training, SAGE."""

    def __init__(self, channels: int, norm: type[nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.conv = SAGEConv(channels, channels)

    def reset_parameters(self) -> None:
        self.norm.reset_parameters()
        self.conv.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.norm(x).relu()
        return self.conv(x * mask if self.training and mask is not None else x, edge_index)


class Coupling(nn.Module):
    """The coupling of the authors' code, by its names: every tensor after the edges is cut into groups."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.Fms = blocks
        self.split_dim = -1

    def forward(self, x: Tensor, edge_index: Tensor, *args: Tensor) -> Tensor:
        groups = len(self.Fms)
        xs, pieces = x.chunk(groups, -1), list(zip(*(a.chunk(groups, -1) for a in args), strict=True)) or [()] * groups
        y, out = sum(xs[1:]), []
        for x_i, block, own in zip(xs, self.Fms, pieces, strict=True):
            y = x_i + block(y, edge_index, *own)
            out.append(y)
        return torch.cat(out, -1)


class Wrapper(nn.Module):
    """What the authors' code puts around a coupling, without its memory savings."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self._fn = Coupling(blocks)

    def forward(self, *args: Tensor) -> Tensor:
        return self._fn(*args)


Make = Callable[[nn.ModuleList], nn.Module]


class Looping(nn.Module):
    """PyTorch Geometric's example: a loop over the list."""

    def __init__(self, make: Make = PyGGroupAddRev, depth: int = 5, groups: int = 2, norm: type[nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(6, 16), nn.Linear(16, 3)
        self.convs = nn.ModuleList(make(nn.ModuleList(Block(16 // groups, norm) for _ in range(groups))) for _ in range(depth))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.lin1(x)
        mask = torch.zeros_like(x).bernoulli_(0.8) / 0.8 if self.training else None
        for conv in self.convs:
            x = conv(x, edge_index, mask)
        return self.lin2(x)


class Counting(Looping):
    """The authors' model: the layers by their numbers."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.lin1(x)
        mask = torch.zeros_like(h).bernoulli_(0.8) / 0.8
        h = self.convs[0](h, edge_index, mask)
        for layer in range(1, len(self.convs)):
            h = self.convs[layer](h, edge_index, mask)
        return self.lin2(h)
