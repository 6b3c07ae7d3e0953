"""The paper's networks made of PyTorch Geometric's own parts, as one of its users would write them.

The same functions with the same parameters as `revgnn.models`, so that weights can be carried over and results compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch_geometric.nn import DeepGCNLayer, GENConv, Linear
from torch_geometric.nn.models import GroupAddRev

Family = Literal["reversible", "residual"]
Edges = Literal["shared", "raw"]
T = TypeVar("T")


class PyGNet(nn.Module):
    """Encoder, layers, head for multi-label node classification with edge features.

    Args:
        family: "reversible" stacks `GroupAddRev`; "residual" stacks `DeepGCNLayer` ("res+", checkpointing every layer).
        edges: "shared" is the paper's network, one Linear(K -> D) for all layers and then a linear map in each convolution;
            "raw" gives the K features straight to each `GENConv`: a smaller network, and PyTorch Geometric's fastest.
    """

    def __init__(
        self,
        *,
        family: Family = "reversible",
        edges: Edges = "shared",
        depth: int,
        channels: int,
        groups: int = 2,
        dropout: float = 0.1,
        in_channels: int,
        out_channels: int,
        num_edge_features: int,
        num_species: int,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.num_species = num_species
        self.species = nn.Linear(num_species, num_species)
        self.features = nn.Linear(in_channels + num_species, channels)
        self.edges = nn.Linear(num_edge_features, channels) if edges == "shared" else None
        edge_dim = channels if edges == "shared" else num_edge_features
        if family == "reversible":
            width = channels // groups
            self.first = None
            blocks = [nn.ModuleList([ReversibleBlock(width, edge_dim) for _ in range(groups)]) for _ in range(depth)]
            self.layers = nn.ModuleList([GroupAddRev(group) for group in blocks])
        else:
            self.first = gen_conv(channels, edge_dim)
            self.layers = nn.ModuleList([residual_layer(channels, edge_dim, dropout) for _ in range(depth - 1)])
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, species: Tensor) -> Tensor:
        """Logits (N, T) from x (N, F), edge_index (2, E), edge_attr (E, K), species (N,)."""
        one_hot = nn.functional.one_hot(species, self.num_species).to(x.dtype)
        h = self.features(torch.cat([x, self.species(one_hot)], dim=1))
        e = edge_attr if self.edges is None else self.edges(edge_attr)
        if self.first is None:
            mask = torch.empty_like(h).bernoulli_(1 - self.dropout) / (1 - self.dropout) if self.training and self.dropout else None
            # GroupAddRev cuts a side input to pieces if its last size is that of the state: give it a last size of 1.
            e = e.unsqueeze(-1)
            for layer in self.layers:
                h = layer(h, edge_index, e, mask)
        else:
            h = self.first(h, edge_index, e)
            for layer in self.layers:
                h = layer(h, edge_index, e)
        return self.head(nn.functional.dropout(self.norm(h).relu(), self.dropout, self.training))


class ReversibleBlock(nn.Module):
    """Norm, ReLU, the dropout mask that all layers share, convolution: what `GroupAddRev` applies to one group."""

    def __init__(self, width: int, edge_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = gen_conv(width, edge_dim)

    def forward(self, x: Tensor, edge_index: Tensor, edges: Tensor, mask: Tensor | None) -> Tensor:
        h = self.norm(x).relu()
        return self.conv(h if mask is None else h * mask, edge_index, edges.squeeze(-1))


def residual_layer(channels: int, edge_dim: int, dropout: float) -> DeepGCNLayer:
    conv = gen_conv(channels, edge_dim)
    return DeepGCNLayer(conv, nn.LayerNorm(channels), nn.ReLU(), block="res+", dropout=dropout, ckpt_grad=True)


def gen_conv(width: int, edge_dim: int) -> GENConv:
    conv = GENConv(width, width, aggr="max", norm="layer", num_layers=2, bias=True, edge_dim=edge_dim)
    if not hasattr(conv, "lin_edge"):
        # Where the widths agree GENConv leaves the layer out; the paper's network has it all the same.
        conv.lin_edge = Linear(edge_dim, width)
    return conv


def carry_over(state: Mapping[str, T]) -> dict[str, T]:
    """Parameters or gradients by name of a `revgnn.models.DeepGNN`, under the names of a `PyGNet` with shared edges."""
    reversible = any(".blocks.1." in name for name in state)
    renamed = [
        (r"^nodes\.", ""),
        (r"^stack\.layers\.(\d+)\.blocks\.(\d+)\.", r"layers.\1.convs.\2." if reversible else r"layers.\1."),
        (r"(^first|\.conv)\.edge\.", r"\1.lin_edge."),
        (r"\.mlp\.3\.", ".mlp.4."),  # a dropout of rate 0 stands before PyTorch Geometric's last linear layer
    ]
    carried = {}
    for name, value in state.items():
        for pattern, new in renamed:
            name = re.sub(pattern, new, name)
        carried[name] = value
    return carried
