"""The dropout mask that all layers of a stack share."""

from __future__ import annotations

import torch
from torch import Tensor


def shared_dropout_mask(shape: tuple[int, ...], rate: float, device: torch.device | None = None) -> Tensor:
    r"""Draw factors 0 or $1 / (1 - \mathrm{rate})$, float32: one mask for all layers of a step (Li et al. 2021, arXiv:2106.07476).

    It costs N x D once, where a mask for each layer would have to be stored, or drawn again.
    """
    keep = 1.0 - rate
    return torch.empty(shape, device=device).bernoulli_(keep).div_(keep)
