"""From raw features to the state of the stack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.gen import EdgeEncoding
from revgnn.ops.dropout import dropout


class NodeEncoder(nn.Module):
    r"""$h = W [x \Vert S\, \mathrm{onehot}(s)] + b$ (Li et al. 2021, arXiv:2106.07476): features, joined with a linear map
    of the species, if there are species.

    Args:
        in_channels: F, node features; may be 0 if there are species.
        channels: D.
        num_species: number of categories, or 0. A single species carries no information and is not used.
        dropout: rate on the features.
    """

    def __init__(self, in_channels: int, channels: int, num_species: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        num_species = num_species if num_species > 1 else 0
        if in_channels + num_species == 0:
            raise ValueError("nodes have neither features nor species; give the data set an x, say the degree of each node.")
        self.in_channels = in_channels
        self.num_species = num_species
        self.dropout = dropout
        self.species = nn.Linear(num_species, num_species) if num_species else None
        self.features = nn.Linear(in_channels + num_species, channels)

    def forward(self, x: Tensor | None, species: Tensor | None = None) -> Tensor:
        """Map features to (N, D).

        Args:
            x: (N, F), floating point; None if F is 0.
            species: (N,), int64 below `num_species`; None if there are no species.

        Raises:
            ValueError: if species are missing, or the features do not have the width the encoder was made for.
        """
        parts = [] if x is None or self.in_channels == 0 else [dropout(x, self.dropout, self.training) if self.dropout else x]
        if self.species is not None:
            if species is None:
                raise ValueError(f"this model was built for {self.num_species} species: pass species, (N,) of int64.")
            parts.append(self.species(one_hot(species, self.num_species, self.species.weight.dtype)))
        inputs = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        if inputs.shape[1] != self.features.in_features:
            raise ValueError(
                f"x must have {self.in_channels} features a node, as the model was built for; got shape {tuple(inputs.shape)}."
            )
        return self.features(inputs)


def one_hot(species: Tensor, num_species: int, dtype: torch.dtype) -> Tensor:
    """Return (N, S) from int64 (N,): as `nn.functional.one_hot`, but with the same operators on every device and without reading a
    value on the host."""
    return torch.zeros(len(species), num_species, dtype=dtype, device=species.device).scatter_(1, species.unsqueeze(1), 1.0)


class EdgeEncoder(nn.Linear):
    """The linear map of edge features that all layers share, from K to D: passed on as a map, never built as E x D.

    Features in 16 bits stay in 16 bits; the scale of integers is multiplied into the weight.
    """

    def forward(self, graph: Graph) -> EdgeEncoding:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the edge features of the graph with the map."""
        if graph.edge_attr is None or graph.edge_attr.shape[1] != self.in_features:
            raise ValueError(
                f"this model was built for {self.in_features} edge features, but the graph has {graph.num_edge_features}."
            )
        weight = self.weight.t()
        if graph.edge_scale != 1.0:
            # (A s) W = A (s W): K x D products instead of E x K, and kernels only convert integers to floating point
            weight = weight * graph.edge_scale
        return EdgeEncoding(graph.edge_attr, weight, self.bias)
