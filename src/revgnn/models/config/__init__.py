"""The configuration of each family of networks. Imports no torch."""

from revgnn.models.config.base import Family, ModelConfig, Norm, all_settings
from revgnn.models.config.convolution import Aggregation, Conv, ConvConfig, GATConfig, GCNConfig, GENConfig, SAGEConfig
from revgnn.models.config.deep_gnn import ResidualConfig, ReversibleConfig
from revgnn.models.config.equilibrium import EquilibriumConfig
from revgnn.models.config.revgat import RevGATConfig
from revgnn.models.config.solver import SolverConfig
from revgnn.models.config.stack import Gradient, GroupsConfig, StackConfig, State

__all__ = [
    "Aggregation",
    "Conv",
    "ConvConfig",
    "EquilibriumConfig",
    "Family",
    "GATConfig",
    "GCNConfig",
    "GENConfig",
    "Gradient",
    "GroupsConfig",
    "ModelConfig",
    "Norm",
    "ResidualConfig",
    "RevGATConfig",
    "ReversibleConfig",
    "SAGEConfig",
    "SolverConfig",
    "StackConfig",
    "State",
    "all_settings",
]
