"""Convolutions: a file each, reading like its paper."""

from revgnn.convs.base import AbstractConv
from revgnn.convs.gat import GATConv
from revgnn.convs.gcn import GCNConv
from revgnn.convs.gen import EdgeEncoding, GENConv
from revgnn.convs.sage import SAGEConv

__all__ = ["AbstractConv", "EdgeEncoding", "GATConv", "GCNConv", "GENConv", "SAGEConv"]
