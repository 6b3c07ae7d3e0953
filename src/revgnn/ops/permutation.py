"""A random permutation as a function of a seed alone."""

from __future__ import annotations

import torch
from torch import Tensor


def permutation(seed: int | Tensor, like: Tensor) -> Tensor:
    """Return the permutation of this seed. Torch's default generators stay as they are.

    This is a custom operator because `torch.compile` cannot trace a generator. Devices give different permutations.

    Args:
        seed: from 0 to 2**63 - 1, or an int64 tensor () on the CPU that holds it.
        like: (E, ...): E is the size; its device is that of the result.

    Returns:
        int64, (E,).
    """
    return _permutation(seed if isinstance(seed, Tensor) else torch.tensor(seed), like)


@torch.library.custom_op("revgnn::permutation", mutates_args=())
def _permutation(seed: Tensor, like: Tensor) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(int(seed))
    return torch.randperm(like.shape[0], generator=generator, device=like.device)


@_permutation.register_fake
def _(seed, like):
    return like.new_empty(like.shape[0], dtype=torch.int64)
