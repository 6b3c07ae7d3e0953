"""Pure functions of tensors and a `Graph`: what every convolution is made of.

`aggregate` reduces ReLU messages that may encode edge features, `propagate` takes weighted sums and means, `edge_softmax`
normalises scores over the edges into each node. None builds messages of E x C on the CPU. `norm_relu` and `perceptron` are what
stands around a convolution, in one pass each. The rest is arithmetic on an exact grid.
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
