"""The paper's networks in PyTorch Geometric, written with its own parts as its users would write them.

They are the same functions of the same parameters as `revgnn.models`: weights can be carried over and results compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import DeepGCNLayer, GENConv, Linear
from torch_geometric.nn.models import GroupAddRev

Family = Literal["reversible", "residual"]
Edges = Literal["shared", "raw"]
T = TypeVar("T")


class Variant(NamedTuple):
    """Set-up of PyTorch Geometric. `str()` gives what `Variant.of` reads, such as "raw+EdgeIndex+compiled"."""

    edges: Edges = "shared"
    """Which edge features a convolution gets; see `PyGNet`."""
    edge_index: Literal["sorted", "EdgeIndex"] = "sorted"
    """A plain tensor sorted by destination, or a `torch_geometric.EdgeIndex` that records the order, its cache filled."""
    compiled: bool = False
    """Whether blocks are compiled by `torch.compile`. `GroupAddRev` cannot be: it resizes storages, which breaks the graph."""
    storing: bool = False
    """Whether the activations of every layer are stored and nothing is recomputed: faster, but memory grows with depth."""

    @classmethod
    def of(cls, text: str) -> Variant:
        """Return the variant that words joined by "+" describe.

        Raises:
            ValueError: if a word is not one of shared, raw, EdgeIndex, compiled, storing, or if both or neither of shared and raw
                are given.
        """
        words = text.split("+")
        unknown = set(words) - {"shared", "raw", "EdgeIndex", "compiled", "storing"}
        if unknown or ("shared" in words) == ("raw" in words):
            raise ValueError(f"a peer is shared or raw, and any of +EdgeIndex, +compiled, +storing; got {text!r}.")
        return cls(
            "raw" if "raw" in words else "shared",
            "EdgeIndex" if "EdgeIndex" in words else "sorted",
            "compiled" in words,
            "storing" in words,
        )

    def __str__(self) -> str:
        extras = (self.edge_index == "EdgeIndex", "EdgeIndex"), (self.compiled, "compiled"), (self.storing, "storing")
        return "+".join([self.edges, *(word for chosen, word in extras if chosen)])

    def title(self, family: Family) -> str:
        """Return the description in a table."""
        layers = "`GroupAddRev`" if family == "reversible" else "`DeepGCNLayer`"
        recomputing = "reversing" if family == "reversible" else "checkpointing every layer"
        edges = "shared edge encoder" if self.edges == "shared" else "raw edge features: a smaller network"
        words = [layers, "storing every layer" if self.storing else recomputing, edges, self.edge_index]
        return f"PyTorch Geometric: {', '.join([*words, *(['torch.compile'] if self.compiled else [])])}"


VARIANTS = tuple(
    Variant.of(f"{edges}{extra}")
    for edges in ("shared", "raw")
    for extra in ("", "+EdgeIndex", "+compiled", "+storing", "+compiled+storing")
)
"""The variants among which the fastest is searched. `EdgeIndex` is tried once for each kind of edges: it changes little, because
`GENConv` does not fuse its message passing."""


class PyGNet(nn.Module):
    """Encoder, layers and head for multi-label node classification with edge features.

    Args:
        family: "reversible" stacks `GroupAddRev`; "residual" stacks `DeepGCNLayer` ("res+", checkpointing every layer).
        edges: "shared" is the paper's network: one Linear(K -> D) for all layers, then a linear map in each convolution.
            "raw" gives the K features directly to each `GENConv`: a smaller network, and the fastest in PyTorch Geometric.
        storing: store the activations: no reversing, no checkpoints.
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
        storing: bool = False,
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
            self.layers = nn.ModuleList([GroupAddRev(group, disable=storing) for group in blocks])
        else:
            self.first = gen_conv(channels, edge_dim)
            self.layers = nn.ModuleList([residual_layer(channels, edge_dim, dropout, storing) for _ in range(depth - 1)])
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, out_channels)

    def compile_blocks(self) -> None:
        """Compile what works on edges by `torch.compile`: the blocks of reversible layers, the convolutions of residual ones."""
        for module in self.modules():
            if isinstance(module, ReversibleBlock) or (self.first is not None and isinstance(module, GENConv)):
                module.compile()

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, species: Tensor) -> Tensor:
        """Return logits (N, T) from x (N, F), edge_index (2, E), edge_attr (E, K), species (N,)."""
        one_hot = nn.functional.one_hot(species, self.num_species).to(x.dtype)
        h = self.features(torch.cat([x, self.species(one_hot)], dim=1))
        e = edge_attr if self.edges is None else self.edges(edge_attr)
        if self.first is None:
            mask = torch.empty_like(h).bernoulli_(1 - self.dropout) / (1 - self.dropout) if self.training and self.dropout else None
            # GroupAddRev splits a side input whose last size equals that of the state; a last size of 1 prevents that
            e = e.unsqueeze(-1)
            for layer in self.layers:
                h = layer(h, edge_index, e, mask)
        else:
            h = self.first(h, edge_index, e)
            for layer in self.layers:
                h = layer(h, edge_index, e)
        return self.head(nn.functional.dropout(self.norm(h).relu(), self.dropout, self.training))


class ReversibleBlock(nn.Module):
    """Block that `GroupAddRev` applies to one group: norm, ReLU, the dropout mask that all layers share, convolution."""

    def __init__(self, width: int, edge_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = gen_conv(width, edge_dim)

    def forward(self, x: Tensor, edge_index: Tensor, edges: Tensor, mask: Tensor | None) -> Tensor:
        h = self.norm(x).relu()
        return self.conv(h if mask is None else h * mask, edge_index, edges.squeeze(-1))


def residual_layer(channels: int, edge_dim: int, dropout: float, storing: bool) -> DeepGCNLayer:
    """Return a pre-activation residual layer around `gen_conv`."""
    conv = gen_conv(channels, edge_dim)
    return DeepGCNLayer(conv, nn.LayerNorm(channels), nn.ReLU(), block="res+", dropout=dropout, ckpt_grad=not storing)


def gen_conv(width: int, edge_dim: int) -> GENConv:
    """Return the paper's convolution."""
    conv = GENConv(width, width, aggr="max", norm="layer", num_layers=2, bias=True, edge_dim=edge_dim)
    if edge_dim == width:
        # GENConv then omits the linear map of edges; the paper's network has it
        conv.lin_edge = Linear(edge_dim, width)
    return conv


def edge_index_of(variant: Variant, edge_index: Tensor, num_nodes: int) -> Tensor:
    """Return `edge_index` (2, E), sorted by destination, in the form that the variant takes."""
    if variant.edge_index == "sorted":
        return edge_index
    return EdgeIndex(edge_index, sparse_size=(num_nodes, num_nodes), sort_order="col").fill_cache_()  # pyright: ignore[reportCallIssue]


def fold_edges(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of a `PyGNet` with raw edges that is the same function as one with shared edges.

    Nothing is between the shared linear map and that of each convolution, so their product replaces both.
    """
    folded = {}
    for name, value in state.items():
        if name.endswith("lin_edge.weight"):
            folded[name] = value @ state["edges.weight"]
        elif name.endswith("lin_edge.bias"):
            folded[name] = value + state[name.removesuffix("bias") + "weight"] @ state["edges.bias"]
        elif not name.startswith("edges."):
            folded[name] = value
    return folded


def carry_over(state: Mapping[str, T]) -> dict[str, T]:
    """Return parameters or gradients of a `revgnn.models.DeepGNN` under the names of a `PyGNet` with shared edges."""
    reversible = any(".blocks.1." in name for name in state)
    renamed = [
        (r"^nodes\.", ""),
        (r"^stack\.layers\.(\d+)\.blocks\.(\d+)\.", r"layers.\1.convs.\2." if reversible else r"layers.\1."),
        (r"(^first|\.conv)\.edge\.", r"\1.lin_edge."),
        (r"\.mlp\.3\.", ".mlp.4."),  # PyTorch Geometric has a dropout of rate 0 before the last linear layer
    ]
    carried = {}
    for name, value in state.items():
        for pattern, new in renamed:
            name = re.sub(pattern, new, name)
        carried[name] = value
    return carried
