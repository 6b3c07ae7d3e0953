"""FSDP2 around one module: sums instead of means, and exchanges that name the process to blame if they fail."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from revgnn.distributed.ranks import Ranks

# the names before torch 2.13
_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def cut_by_fsdp(module: nn.Module, mesh: DeviceMesh, kept: set[nn.Parameter], ranks: Ranks, *, prefetches: bool) -> None:
    """Let FSDP2 cut a module, sum its gradients without dividing, and name the process to blame if an exchange fails.

    Args:
        prefetches: the weights of the piece before are gathered while this one is differentiated: two are whole then.
    """
    fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=kept)
    assert isinstance(module, FSDPModule)
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)
    module.set_custom_all_gather(_AllGather(ranks))  # pyright: ignore[reportArgumentType]
    module.set_custom_reduce_scatter(_ReduceScatter(ranks))  # pyright: ignore[reportArgumentType]
    if not prefetches:
        module.set_modules_to_backward_prefetch([module])


class _Exchange:
    """An exchange of FSDP2 that names the process to blame if it fails."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)


class _AllGather(_Exchange):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        with self._ranks.exchanging():
            return _gather(output_tensor, input_tensor, group=group, async_op=async_op)


class _ReduceScatter(_Exchange):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        with self._ranks.exchanging():
            return _reduce(output_tensor, input_tensor, group=group, op=op, async_op=async_op)
