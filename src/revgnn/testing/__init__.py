"""Assertions, awkward graphs and memory checks, for revgnn's own tests and for those of your convolutions and layers."""

from revgnn.testing.closeness import assert_close_to_truth
from revgnn.testing.gradients import assert_gradients_equal, gradients_of
from revgnn.testing.graphs import NamedGraph, awkward_graphs
from revgnn.testing.memory import nan_filled_empty, peak_bytes

__all__ = [
    "NamedGraph",
    "assert_close_to_truth",
    "assert_gradients_equal",
    "awkward_graphs",
    "gradients_of",
    "nan_filled_empty",
    "peak_bytes",
]
