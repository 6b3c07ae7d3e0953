"""`perceptron` on the GPU: products by cuBLAS, and the norm and ReLU between them in one kernel of `norm_relu`.

The hidden layer is in memory while the operator runs, never longer: the backward pass computes it again. A kernel that kept hidden
rows in registers took several times as long, since float32 products without loss of precision are cuBLAS's trade.

Products have the precision that `torch.backends.cuda.matmul` sets, by default that of float32. Autocast does not reach them.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor

from revgnn.ops.norm_relu import contract as norm
from revgnn.ops.norm_relu import gpu as norm_kernels
from revgnn.ops.perceptron.contract import Inputs, Saved, Spec


class Hidden(NamedTuple):
    """The hidden layer: what the norm was given, what ReLU returned, (N, H), and the statistics of the norm."""

    given: norm.Inputs
    out: Tensor
    statistics: norm.Saved

    @classmethod
    def of(cls, inputs: Inputs, eps: float) -> Hidden:
        """Compute it."""
        product = torch.addmm(inputs.bias_in, inputs.x, inputs.weight_in.t())
        given = norm.Inputs(product, inputs.gamma, inputs.beta, None)
        return cls(given, *norm_kernels.forward(given, norm.Spec(eps)))


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    assert inputs.bias_out is not None
    with _no_autocast(inputs.x):
        hidden = Hidden.of(inputs, spec.eps).out
        return torch.addmm(inputs.bias_out, hidden, inputs.weight_out.t()), Saved()


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    with _no_autocast(grad):
        given, out, statistics = Hidden.of(inputs, spec.eps)
        weight_out = grad.t() @ out
        del out
        below = norm_kernels.backward(grad @ inputs.weight_out, given, statistics, norm.Spec(spec.eps))
        return Inputs(
            x=below.x @ inputs.weight_in,
            weight_in=below.x.t() @ inputs.x,
            bias_in=below.x.sum(0),
            gamma=below.weight,
            beta=below.bias,
            weight_out=weight_out,
            bias_out=grad.sum(0),
        )


def _no_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()
