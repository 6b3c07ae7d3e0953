"""The parts that the networks are built of, as their configurations describe them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from revgnn.models.config import GATConfig, GCNConfig, GENConfig, GroupsConfig, ModelConfig, SAGEConfig, StackConfig
from revgnn.nn import GATConv, GCNConv, GENBlock, GENConv, PreActivation, SAGEConv
from revgnn.nn.base import AbstractConv
from revgnn.nn.encoder import EdgeEncoder, NodeEncoder
from revgnn.stack import AbstractLayer, AdditiveCoupling, Backprop, Checkpoint, Residual, Reversible, Stack


@dataclass(frozen=True)
class DataShape:
    """The sizes of a network that its data set determines."""

    in_channels: int
    """F, features of a node."""
    out_channels: int
    """T, logits of a node."""
    num_edge_features: int
    """K, features of an edge; 0 if there are none."""
    num_species: int
    """Categories of nodes, given beside the features; 0 if there are none."""


def make_edge_encoder(config: ModelConfig, data: DataShape) -> EdgeEncoder | None:
    """Return the encoder of edge features, or None if there are none or the convolution does not use them."""
    uses_edges = isinstance(config.convolution, GENConfig) and config.convolution.edge_features and data.num_edge_features > 0
    return EdgeEncoder(data.num_edge_features, config.channels) if uses_edges else None


def make_node_encoder(config: ModelConfig, data: DataShape) -> NodeEncoder:
    """Return the encoder of node features and species."""
    return NodeEncoder(data.in_channels, config.channels, data.num_species, config.input_dropout)


def make_conv(config: ModelConfig, edges: EdgeEncoder | None) -> AbstractConv:
    """Return one convolution of the width of a group. Convolutions other than GEN take no edge features."""
    width, settings = config.block_channels, config.convolution
    match settings:
        case GENConfig():
            power = "power" in settings.aggregation
            return GENConv(
                width,
                width,
                aggr=settings.aggregation,
                t=settings.aggregation_init,
                learn_t=settings.learn_aggregation and not power,
                p=settings.aggregation_init,
                learn_p=settings.learn_aggregation and power,
                msg_norm=settings.message_norm,
                learn_msg_scale=settings.learn_message_scale,
                norm=config.norm,
                num_layers=settings.mlp_layers,
                bias=True,
                edge_dim=None if edges is None else edges.out_features,
                map_edges=True,
                degree_init=settings.degree_init,
                learn_degree=settings.learn_degree,
                clamp_power=settings.clamp_power,
            )
        case GCNConfig():
            return GCNConv(width, width, add_self_loops=False)
        case SAGEConfig():
            return SAGEConv(width, width, aggr=settings.aggregation)
        case GATConfig():
            return make_attention(settings, width, width // settings.heads, heads=settings.heads)


def make_attention(
    settings: GATConfig, in_channels: int, head_channels: int, *, heads: int, concat: bool = True, bias: bool = True
) -> GATConv:
    """Return one graph attention with `heads` heads of `head_channels` channels."""
    return GATConv(
        in_channels,
        head_channels,
        heads=heads,
        concat=concat,
        dropout=settings.attention_dropout,
        add_self_loops=False,
        edge_dropout=settings.edge_dropout,
        destination=settings.destination,
        symmetric=settings.symmetric,
        residual=settings.residual_map,
        bias=bias,
    )


@torch.no_grad()
def scale_output(conv: AbstractConv, factor: float) -> None:
    """Multiply the output of a convolution by a factor, by its weights.

    The more layers, the larger the state of a stack whose blocks all start alike; with blocks of 0 it starts as the identity (for
    residual networks Zhang et al. 2019, arXiv:1901.09321).
    """
    for parameter in conv.output_parameters():
        parameter.mul_(factor)


def make_layer(config: StackConfig, conv: Callable[[], AbstractConv]) -> AbstractLayer:
    """Return one residual or reversible layer.

    Args:
        conv: makes the convolution of a block.
    """

    def block() -> nn.Module:
        inner = conv()
        if config.block_factor != 1.0:
            scale_output(inner, config.block_factor)
        if isinstance(inner, GENConv):
            return GENBlock(inner, config.norm, dropout=config.dropout)
        return PreActivation(inner, config.norm, channels=config.block_channels, dropout=config.dropout)

    if config.is_residual:
        return Residual(block())
    assert isinstance(config, GroupsConfig)
    blocks = [block() for _ in range(config.groups)]
    return AdditiveCoupling([copy.deepcopy(blocks[0]) for _ in blocks] if config.identical_groups else blocks)


def make_stack(config: StackConfig, layers: list[AbstractLayer], *, repeats: int = 1) -> Stack:
    """Return the stack of these layers, applied `repeats` times, under the gradient strategy of the configuration."""
    match config.effective_gradient:
        case "reversible":
            assert isinstance(config, GroupsConfig)
            gradient = Reversible(config.segments)
        case "checkpoint":
            gradient = Checkpoint(config.checkpoint_every)
        case "backprop":
            gradient = Backprop()
    return Stack(layers, gradient=gradient, state=config.state, repeats=repeats)
