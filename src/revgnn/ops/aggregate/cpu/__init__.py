"""`aggregate` on the CPU, forward and backward, without ever building messages.

Each reducer has a file of its own. A kernel is made by a factory that fixes the number of channels in a tile, the number of edge
features and the dtypes, so that accumulators are kept in registers.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu import linear, maximum, power, softmax
from revgnn.ops.aggregate.reducers import Max, Mean, Power, Softmax, Sum

_KERNELS: dict[type[Any], Any] = {Sum: linear, Mean: linear, Max: maximum, Softmax: softmax, Power: power}


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    return _KERNELS[type(spec.how)].forward(inputs, spec)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    return _KERNELS[type(spec.how)].backward(grad, inputs, saved, spec)
