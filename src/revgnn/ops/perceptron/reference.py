"""What `perceptron` means, in plain torch: the definition that the kernels are tested against, and the path for other devices."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def perceptron(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, gamma: Tensor, beta: Tensor, weight_out: Tensor, bias_out: Tensor, eps: float
) -> Tensor:
    """Return the result, (N, C'), of the operator with these arguments; see `revgnn.ops.perceptron`."""
    hidden = F.layer_norm(F.linear(x, weight_in, bias_in), gamma.shape, gamma, beta, eps).relu()
    return F.linear(hidden, weight_out, bias_out)
