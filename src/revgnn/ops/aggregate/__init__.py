"""Aggregation of messages over the edges into each node, fused."""

from revgnn.ops.aggregate.api import aggregate
from revgnn.ops.aggregate.reducers import Max, Mean, Power, Reducer, Softmax, Sum

__all__ = ["Max", "Mean", "Power", "Reducer", "Softmax", "Sum", "aggregate"]
