"""Blocks, and the layers and stacks made of them."""

from revgnn.blocks.coupling import AdditiveCoupling
from revgnn.blocks.pre_activation import PreActivation, shared_dropout_mask
from revgnn.blocks.residual import Residual
from revgnn.blocks.stack import ResidualStack, ReversibleStack, Stack

__all__ = [
    "AdditiveCoupling",
    "PreActivation",
    "Residual",
    "ResidualStack",
    "ReversibleStack",
    "Stack",
    "shared_dropout_mask",
]
