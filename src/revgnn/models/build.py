"""`build_model`: from a configuration to a network."""

from __future__ import annotations

from typing import Literal

from torch import nn

from revgnn.models.base import AbstractModel
from revgnn.models.config import EquilibriumConfig, ModelConfig, ResidualConfig, ReversibleConfig, RevGATConfig
from revgnn.models.deep_gnn import build_residual, build_reversible
from revgnn.models.equilibrium import build_equilibrium_gnn
from revgnn.models.layers import DataShape
from revgnn.models.revgat import build_revgat
from revgnn.models.target_model import GraphHead, TargetModel
from revgnn.nn.pair_decoder import PairDecoder
from revgnn.nn.readout import Readout


def build_model(
    config: ModelConfig,
    *,
    in_channels: int,
    out_channels: int,
    num_edge_features: int = 0,
    num_species: int = 0,
    rows: Literal["node", "graph", "pair"] = "node",
) -> AbstractModel:
    """Return the network of a configuration for one data set.

    Args:
        in_channels: F, features of a node.
        out_channels: T, logits of a node: classes, or tasks; 1 for a binary target.
        num_edge_features: K, features of an edge; 0 if there are none. Only GEN uses them, unless its `edge_features` is off.
        num_species: categories of nodes, given beside the features; 0 if there are none.
        rows: what the logits belong to: nodes, or graphs or pairs of nodes (`TargetModel`).

    Raises:
        ValueError: if nodes have neither features nor species.
    """
    if rows != "node":
        trunk = build_model(
            config,
            in_channels=in_channels,
            out_channels=config.channels,
            num_edge_features=num_edge_features,
            num_species=num_species,
        )
        if rows == "pair":
            return TargetModel(trunk, PairDecoder(config.decoder, config.channels, out_channels))
        return TargetModel(trunk, GraphHead(Readout(config.readout, config.channels), nn.Linear(config.channels, out_channels)))
    data = DataShape(in_channels, out_channels, num_edge_features, num_species)
    match config:
        case ResidualConfig():
            return build_residual(config, data)
        case ReversibleConfig():
            return build_reversible(config, data)
        case EquilibriumConfig():
            return build_equilibrium_gnn(config, data)
        case RevGATConfig():
            return build_revgat(config, data)
    raise TypeError(f"{type(config).__name__} is the configuration of no known family.")


def num_parameters(model: nn.Module) -> int:
    """Return how many numbers are learned. Tied parameters count once."""
    return sum(p.numel() for p in model.parameters())
