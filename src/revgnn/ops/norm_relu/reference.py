"""What `norm_relu` means, in plain torch: the definition that the kernels are tested against, and the path for other devices."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def norm_relu(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, eps: float) -> Tensor:
    """Return the result, (N, C), of the operator with these arguments; see `revgnn.ops.norm_relu`."""
    out = F.layer_norm(x, (x.shape[1],), weight, bias, eps).relu()
    return out if mask is None else out * mask
