"""RevGAT: reversible graph attention for one large graph with node features (Li et al. 2021, arXiv:2106.07476)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.models.base import AbstractStackModel
from revgnn.models.config import RevGATConfig
from revgnn.models.layers import DataShape, make_attention, make_layer, make_stack
from revgnn.models.randomness import capture_obstacle, draw_step_randomness, outer_dropout
from revgnn.nn import GATConv
from revgnn.nn.encoder import one_hot
from revgnn.nn.norm import make_norm
from revgnn.stack import Stack


class RevGAT(AbstractStackModel):
    r"""Node classification by L attention layers, of which the inner L - 2 are reversible (arXiv:2106.07476, on ogbn-arxiv).

    $h = \mathrm{GAT}_1(\mathrm{Dropout}(x))$: from the features to H heads side by side, D channels

    $h = \mathrm{Stack}(h)$, of blocks $\mathrm{GAT}(M \odot \mathrm{ReLU}(\mathrm{Norm}(h)))$ that map the D / G channels of a
    group to as many in H heads, with one dropout mask $M$ for all layers

    $\mathrm{logits} = \mathrm{GAT}_L(\mathrm{Dropout}(\mathrm{ReLU}(\mathrm{Norm}(h)))) + b$: one head, T channels

    Each GAT has a linear residual map; only the last has a bias. With edge dropout the groups of a layer leave out the same edges,
    and each layer leaves out others. With one group the layers are residual: ResGAT.

    Deviations from the authors' code: the groups of a layer start with weights of their own (there as copies,
    `identical_groups`); a node without edges is legal; the running statistics of batch norm in the stack move once a forward pass
    (there twice more in the backward pass, which evaluates a layer again in training mode).

    Args:
        config: the configuration it is built from.
        first: the attention that encodes the features.
        stack: the inner layers; None for L = 2.
        norm: the last norm.
        last: the attention that returns the logits.
        num_species: number of node categories; if there are more than one, their one-hot vector is joined to the features.
    """

    config: RevGATConfig
    encoder = ("first",)
    decoder = ("norm", "last")

    def __init__(
        self, config: RevGATConfig, first: GATConv, stack: Stack | None, norm: nn.Module, last: GATConv, num_species: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.first = first
        self.stack = stack
        self.norm = norm
        self.last = last
        self.num_species = _num_used(num_species)

    def forward(
        self,
        graph: Graph,
        x: Tensor | None,
        species: Tensor | None = None,
        *,
        nodes: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the logits (N, T); see `AbstractModel`. Edge features and `nodes` are not used."""
        h = self.encode(graph, x, species, ())
        if self.stack is not None:
            h = self.stack(h, graph, **draw_step_randomness(self.config, self.stack, h, mask, training=self.training))
        return self.decode(h, graph)

    def encode(self, graph: Graph, x: Tensor | None, species: Tensor | None, edges: tuple[Any, ...]) -> Tensor:
        inputs = outer_dropout(self._inputs(x, species), self.config.input_dropout, self.training)
        return self.first(inputs, graph)

    def decode(self, h: Tensor, graph: Graph) -> Tensor:
        h = torch.relu(self.norm(h))
        return self.last(outer_dropout(h, self.config.dropout, self.training), graph)

    def capture_obstacle(self) -> str | None:
        return capture_obstacle(self.config, training=self.training)

    def _inputs(self, x: Tensor | None, species: Tensor | None) -> Tensor:
        parts = [] if x is None else [x]
        if self.num_species:
            if species is None:
                raise ValueError(f"this model was built for {self.num_species} species: pass species, (N,) of int64.")
            parts.append(one_hot(species, self.num_species, x.dtype if x is not None else self.first.att_src.dtype))
        width = sum(part.shape[1] for part in parts)
        wanted = self.first.in_channels
        assert isinstance(wanted, int)
        if width != wanted:
            raise ValueError(
                f"x must have {wanted - self.num_species} features a node, as the model was built for; "
                f"got {'none' if x is None else f'shape {tuple(x.shape)}'}."
            )
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def build_revgat(config: RevGATConfig, data: DataShape) -> RevGAT:
    """Return RevGAT, or ResGAT if there is one group. The inner layers draw their weights first."""
    attention, channels = config.convolution, config.channels
    inputs = data.in_channels + _num_used(data.num_species)
    if inputs == 0:
        raise ValueError("nodes have neither features nor species; give the data set an x, for example the degree of each node.")

    def conv(in_channels: int, out_channels: int) -> GATConv:
        return _initialised(
            make_attention(attention, in_channels, out_channels // attention.heads, heads=attention.heads, bias=False)
        )

    width = config.block_channels
    inner = [make_layer(config, lambda: conv(width, width)) for _ in range(config.depth - 2)]
    return RevGAT(
        config,
        first=conv(inputs, channels),
        stack=make_stack(config, inner) if inner else None,
        norm=make_norm(config.norm, channels),
        last=_initialised(make_attention(attention, channels, data.out_channels, heads=1, concat=False)),
        num_species=data.num_species,
    )


def _num_used(num_species: int) -> int:
    """Return the number of species that enter the input: a single one carries no information."""
    return num_species if num_species > 1 else 0


def _initialised(conv: GATConv) -> GATConv:
    """Draw maps and attention vectors as the authors' code does: normal (Glorot and Bengio 2010), with the gain of a ReLU."""
    for name, parameter in conv.named_parameters():
        if name != "bias":
            nn.init.xavier_normal_(parameter, nn.init.calculate_gain("relu"))
    return conv
