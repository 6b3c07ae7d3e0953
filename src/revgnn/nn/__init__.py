"""Modules: convolutions, each in a file that reads like its paper, and the blocks that stacks are made of."""

from revgnn.nn.base import AbstractConv
from revgnn.nn.gat import GATConv
from revgnn.nn.gcn import GCNConv
from revgnn.nn.gen import EdgeEncoding, GENConv
from revgnn.nn.gen_block import GENBlock
from revgnn.nn.pre_activation import PreActivation
from revgnn.nn.sage import SAGEConv

__all__ = [
    "AbstractConv",
    "EdgeEncoding",
    "GATConv",
    "GCNConv",
    "GENBlock",
    "GENConv",
    "PreActivation",
    "SAGEConv",
]
