"""RevGAT: reversible graph attention for one large graph with node features (Li et al. 2021, arXiv:2106.07476)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.models.config import ModelConfig
from revgnn.models.noise import step_noise
from revgnn.nn import GATConv
from revgnn.nn.encoder import one_hot
from revgnn.stack import Stack


class RevGAT(nn.Module):
    r"""Node classification by L attention layers, of which the inner L - 2 are reversible (arXiv:2106.07476, on ogbn-arxiv).

    $h = \mathrm{GAT}_1(\mathrm{Dropout}(x))$: from the features to H heads side by side, D channels

    $h = \mathrm{Stack}(h)$, of blocks $\mathrm{GAT}(M \odot \mathrm{ReLU}(\mathrm{Norm}(h)))$ that keep the D / C channels of a
    group in H heads, with one dropout mask $M$ for all layers

    $\mathrm{logits} = \mathrm{GAT}_L(\mathrm{Dropout}(\mathrm{ReLU}(\mathrm{Norm}(h)))) + b$: one head, T channels

    Each GAT has a linear residual map; none but the last has a bias. With edge dropout the groups of a layer leave out the same
    edges, and each layer others. With one group the layers are residual: ResGAT.

    Deviations from the authors' code: the groups of a layer start with weights of their own (there as copies,
    `identical_groups`); a node without edges is legal.

    Args:
        config: how it was built.
        first: the attention that encodes the features.
        stack: the inner layers; None for L = 2.
        norm: the last norm.
        last: the attention that makes the logits.
        num_species: categories of nodes; where there are more than one, the features are joined with their one-hot vector.
    """

    def __init__(
        self, config: ModelConfig, first: GATConv, stack: Stack | None, norm: nn.Module, last: GATConv, num_species: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.first = first
        self.stack = stack
        self.norm = norm
        self.last = last
        self.num_species = num_species if num_species > 1 else 0

    def forward(self, graph: Graph, x: Tensor | None, species: Tensor | None = None) -> Tensor:
        """Logits (N, T).

        Args:
            graph: N nodes; edge features are not used.
            x: (N, F), floating point; None if there are none.
            species: (N,), int64, or None.

        Raises:
            ValueError: if features do not have the width the model was built for.
        """
        config = self.config
        inputs = nn.functional.dropout(self._inputs(x, species), config.input_dropout, self.training)
        h = self.first(inputs, graph)
        if self.stack is not None:
            h = self.stack(h, graph, **self._noise(self.stack, h))
        h = torch.relu(self.norm(h))
        return self.last(nn.functional.dropout(h, config.dropout, self.training), graph)

    def _noise(self, stack: Stack, h: Tensor) -> dict[str, object]:
        if not self.training:
            return {}
        dropout = self.config.dropout if self.config.shared_dropout else 0.0
        return step_noise(stack, h, dropout=dropout, edge_dropout=self.config.edge_dropout)

    def _inputs(self, x: Tensor | None, species: Tensor | None) -> Tensor:
        parts = [] if x is None else [x]
        if self.num_species:
            if species is None:
                raise ValueError(f"this model was built for {self.num_species} species: pass species, (N,) of int64.")
            parts.append(one_hot(species, self.num_species, x.dtype if x is not None else self.first.lin.weight.dtype))
        width = sum(part.shape[1] for part in parts)
        if width != self.first.in_channels:
            raise ValueError(
                f"x must have {self.first.in_channels - self.num_species} features a node, as the model was built for; "
                f"got {'none' if x is None else f'shape {tuple(x.shape)}'}."
            )
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def attention(
    config: ModelConfig, in_channels: int, out_channels: int, *, heads: int, concat: bool = True, bias: bool = False
) -> GATConv:
    """One attention of a RevGAT, with the options its configuration names.

    It starts as in the authors' code: maps and attention vectors normal, after Glorot and Bengio 2010 with the gain of a ReLU.
    """
    conv = GATConv(
        in_channels,
        out_channels // heads if concat else out_channels,
        heads=heads,
        concat=concat,
        dropout=config.attention_dropout,
        edge_dropout=config.edge_dropout,
        destination=config.destination,
        symmetric=config.symmetric,
        residual=config.residual_map,
        bias=bias,
    )
    for name, parameter in conv.named_parameters():
        if name != "bias":
            nn.init.xavier_normal_(parameter, nn.init.calculate_gain("relu"))
    return conv
