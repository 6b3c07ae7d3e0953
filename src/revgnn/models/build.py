"""`build_model`: from a configuration to a network."""

from __future__ import annotations

import copy

from torch import nn

from revgnn.models.config import ModelConfig
from revgnn.models.deep_gnn import DeepGNN
from revgnn.models.equilibrium import EquilibriumBlock, EquilibriumGNN
from revgnn.models.revgat import RevGAT, attention
from revgnn.nn import GATConv, GCNConv, GENConv, PreActivation, SAGEConv
from revgnn.nn.encoder import EdgeEncoder, NodeEncoder
from revgnn.nn.norm import make_norm
from revgnn.ops.aggregate import Mean, Sum
from revgnn.stack import AbstractLayer, AdditiveCoupling, Backprop, Checkpoint, GradientStrategy, Residual, Reversible, Stack


def build_model(
    config: ModelConfig, *, in_channels: int, out_channels: int, num_edge_features: int = 0, num_species: int = 0
) -> DeepGNN | EquilibriumGNN | RevGAT:
    """A network for one data set.

    Args:
        config: depth, width, convolution and so on.
        in_channels: F, features of a node.
        out_channels: T, logits of a node: classes, or tasks; 1 for a binary target.
        num_edge_features: K, features of an edge; 0 if there are none. Used by `gen` unless `config.edge_features` is off.
        num_species: categories of nodes given beside the features; 0 if there are none.
    """
    uses_edges = config.edge_features and num_edge_features > 0 and config.conv == "gen"
    width = config.channels
    edges = EdgeEncoder(num_edge_features, width) if uses_edges else None
    edge_dim = width if uses_edges else None
    if config.family == "equilibrium":
        return EquilibriumGNN(
            config=config,
            nodes=NodeEncoder(in_channels, width, num_species, config.input_dropout),
            edges=edges,
            block=EquilibriumBlock(
                make_conv(config, edge_dim),
                make_conv(config, edge_dim),
                (make_norm(config.norm, width), make_norm(config.norm, width)),
            ),
            head=nn.Linear(width, out_channels),
        )

    def block() -> PreActivation:
        conv = make_conv(config, edge_dim)
        return PreActivation(conv, config.norm, channels=config.block_channels, dropout=config.dropout)

    def layer() -> AbstractLayer:
        if config.is_residual:
            return Residual(block())
        blocks = [block() for _ in range(config.groups)]
        return AdditiveCoupling([copy.deepcopy(blocks[0]) for _ in blocks] if config.identical_groups else blocks)

    if config.family == "revgat":
        inputs = in_channels + (num_species if num_species > 1 else 0)
        if inputs == 0:
            raise ValueError("nodes have neither features nor species; give the data set an x, say the degree of each node.")
        inner = [layer() for _ in range(config.depth - 2)]
        return RevGAT(
            config=config,
            first=attention(config, inputs, width, heads=config.heads),
            stack=Stack(inner, gradient=make_gradient(config), state=config.state) if inner else None,
            norm=make_norm(config.norm, width),
            last=attention(config, width, out_channels, heads=1, concat=False, bias=True),
            num_species=num_species,
        )

    first: nn.Module | None = None
    norm: nn.Module | None = None
    repeats = 1
    if config.tied and config.unit == "pair":
        # the residual unit's first norm also is the last one: 56 repeats of a unit leave off where the 57th would begin
        layers, repeats = [layer(), layer()], config.depth // 2
        if config.family == "residual":
            norm = layers[0].blocks[0].norm  # pyright: ignore[reportAssignmentType]
    elif config.family == "residual":
        # the first layer is a bare convolution: no norm before it, nothing added to it
        first = make_conv(config, edge_dim)
        tied = layer() if config.tied else None
        layers = [tied or layer() for _ in range(config.depth - 1)]
    elif config.tied:
        tied = layer()
        layers = [layer(), *[tied] * (config.depth - 1)]
    else:
        layers = [layer() for _ in range(config.depth)]
    stack = Stack(layers, gradient=make_gradient(config), state=config.state, repeats=repeats)
    return DeepGNN(
        config=config,
        nodes=NodeEncoder(in_channels, width, num_species, config.input_dropout),
        edges=edges,
        first=first,
        stack=stack,
        norm=norm or make_norm(config.norm, width),
        head=nn.Linear(width, out_channels),
    )


def make_gradient(config: ModelConfig) -> GradientStrategy:
    """The strategy that a configuration names, or the one that fits its layers."""
    match config.gradient or ("checkpoint" if config.is_residual else "reversible"):
        case "reversible":
            return Reversible(config.segments)
        case "checkpoint":
            return Checkpoint(config.checkpoint_every)
        case _:
            return Backprop()


def make_conv(config: ModelConfig, edge_dim: int | None) -> nn.Module:
    """One convolution of the width of a group."""
    width = config.block_channels
    match config.conv:
        case "gen":
            return GENConv(
                width,
                width,
                aggregation=config.aggregation,
                initial=config.aggregation_init,
                learn=config.learn_aggregation,
                edge_dim=edge_dim,
                norm=config.norm,
                mlp_layers=config.mlp_layers,
                message_norm=config.message_norm,
            )
        case "gcn":
            return GCNConv(width, width)
        case "sage":
            return SAGEConv(width, width, how=Sum() if config.aggregation == "sum" else Mean())
        case "gat":
            if config.family == "revgat":
                return attention(config, width, width, heads=config.heads)
            return GATConv(
                width,
                width // config.heads,
                heads=config.heads,
                dropout=config.attention_dropout,
                edge_dropout=config.edge_dropout,
                destination=config.destination,
                symmetric=config.symmetric,
                residual=config.residual_map,
            )


def num_parameters(model: nn.Module) -> int:
    """Learned numbers, tied ones once."""
    return sum(p.numel() for p in model.parameters())
