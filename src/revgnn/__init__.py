"""Training very deep graph neural networks in memory that does not grow with depth."""

from revgnn._version import __version__
from revgnn.blocks import AdditiveCoupling, PreActivation, Residual, ResidualStack, ReversibleStack, Stack, shared_dropout_mask
from revgnn.convs import EdgeEncoding, GATConv, GCNConv, GENConv, SAGEConv
from revgnn.gradients import Backprop, Checkpoint, PerGroup, Reversible, StateRangeError, run_stack
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import ModelConfig, build_model, num_parameters

__all__ = [
    "AdditiveCoupling",
    "Backprop",
    "Checkpoint",
    "EdgeEncoding",
    "GATConv",
    "GCNConv",
    "GENConv",
    "Graph",
    "ModelConfig",
    "PeakMemory",
    "PerGroup",
    "PreActivation",
    "Residual",
    "ResidualStack",
    "Reversible",
    "ReversibleStack",
    "SAGEConv",
    "Stack",
    "StateRangeError",
    "__version__",
    "build_model",
    "num_parameters",
    "run_stack",
    "shared_dropout_mask",
]
