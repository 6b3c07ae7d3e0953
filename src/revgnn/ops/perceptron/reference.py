"""What `perceptron` means, in plain torch: the definition that the kernels are judged by, and the path for devices without one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def perceptron(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, gamma: Tensor, beta: Tensor, weight_out: Tensor, bias_out: Tensor, eps: float
) -> Tensor:
    """See `revgnn.ops.perceptron`."""
    hidden = F.layer_norm(F.linear(x, weight_in, bias_in), gamma.shape, gamma, beta, eps).relu()
    return F.linear(hidden, weight_out, bias_out)
