"""Pure functions of tensors and a `Graph`: what every convolution is made of.

`aggregate` reduces ReLU messages that may encode edge features, `propagate` takes weighted sums and means, and `edge_softmax`
normalises scores over the edges into each node. Their kernels never store messages of E x C. `norm_relu` and `perceptron` are the
layers around a convolution, in one pass each. `advance`, `retreat` and `round_to_grid` are arithmetic on an exact grid. `README.md`
in this folder shows how to add an operator.
"""

from revgnn.ops.aggregate import Max, Mean, Power, Reducer, Softmax, Sum, aggregate
from revgnn.ops.edge_softmax import edge_softmax
from revgnn.ops.grid import advance, retreat, round_to_grid
from revgnn.ops.norm_relu import norm_relu
from revgnn.ops.perceptron import perceptron
from revgnn.ops.propagate import propagate

__all__ = [
    "Max",
    "Mean",
    "Power",
    "Reducer",
    "Softmax",
    "Sum",
    "advance",
    "aggregate",
    "edge_softmax",
    "norm_relu",
    "perceptron",
    "propagate",
    "retreat",
    "round_to_grid",
]
