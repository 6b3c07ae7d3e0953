"""A network on a graph that is cut over processes. Its modules are wrapped from outside, and keep their names and weights."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.weak import WeakTensorKeyDictionary

from revgnn.distributed.halo import SumOverRanks
from revgnn.distributed.ranks import Ranks
from revgnn.distributed.sharded_graph import ShardedGraph
from revgnn.equilibrium.solvers.totals import Totals, squared_norms
from revgnn.models.equilibrium import EquilibriumGNN
from revgnn.nn.base import AbstractConv
from revgnn.stack import Stack
from revgnn.stack.host_access import ImmediateHostAccess
from revgnn.train.run.team import GradientExchange


def shard_model(model: nn.Module, shard: ShardedGraph) -> None:
    """Let a network compute the rows of this process, on its share of the graph.

    Before each block of a stack, and before each convolution outside of one, the rows of other processes are fetched; what the
    block returns for them is dropped. Batch norm has the statistics of all nodes, and the range of a stack's grid is checked for
    all. The network is then called with `shard.local` and rows of `shard.own`, in all processes alike:

        >>> logits = model(shard.local, x[shard.own], mask=shard.mask(channels, groups, 0.1, seed=epoch))
        >>> loss = losses(logits, y[shard.own]).sum() / count
        >>> loss.backward()
        >>> sum_gradients(model, shard)

    With PyTorch Geometric's convolutions inside, call the stack with `shard.local.edge_index`.

    The processes solve together for an equilibrium, and take the same steps: norms and inner products are those of the whole state.

    Raises:
        ValueError: for an equilibrium that starts from its last solutions, which are those of whole graphs.
    """
    equilibria = [module for module in model.modules() if isinstance(module, EquilibriumGNN)]
    if any(module.warm_start is not None for module in equilibria):
        raise ValueError("model.solver.warm_start keeps solutions of all nodes of a graph; set it to false.")
    blocks = _blocks(model)
    masks = WeakTensorKeyDictionary()
    for block in blocks:
        _replace_forward(block, partial(_on_rows, block, block.forward, shard, masks))
    for norm in [m for m in model.modules() if isinstance(m, _BatchNorm)]:
        _replace_forward(norm, partial(_normalise, norm, shard))
    for stack in [m for m in model.modules() if isinstance(m, Stack)]:
        stack.host_access = AgreedHostAccess(shard.ranks)
    for equilibrium in equilibria:
        equilibrium.solve_together(TotalsOverRanks(shard.ranks, shard.num_nodes / len(shard.own)))


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return what is evaluated on own and fetched rows: the blocks of stacks, and convolutions outside of them."""
    stacks = [m for m in model.modules() if isinstance(m, Stack)]
    inside = {m for stack in stacks for m in stack.modules()}
    blocks = [block for stack in stacks for layer in stack.sequence for block in layer.blocks]
    outside = [m for m in model.modules() if isinstance(m, AbstractConv) and m not in inside]
    return list(dict.fromkeys([*blocks, *outside]))


def check_draws(model: nn.Module, *, shares_mask: bool) -> None:
    """Raise `ValueError` if a block draws dropout of its own in training; see `shard_model`.

    Args:
        shares_mask: whether the blocks of stacks are called with a mask for all layers.
    """
    for block in _blocks(model):
        _refuse_draws(block, has_mask=shares_mask and not isinstance(block, AbstractConv))


def sum_gradients(model: nn.Module, shard: ShardedGraph) -> None:
    """Sum the gradients of all parameters over the processes, after a backward pass in each."""
    if model not in _exchanges:
        _exchanges[model] = shard.ranks.exchange(model)
    _exchanges[model].finish(torch.zeros(1))


_exchanges: weakref.WeakKeyDictionary[nn.Module, GradientExchange] = weakref.WeakKeyDictionary()


def _replace_forward(module: nn.Module, forward: Callable[..., Tensor]) -> None:
    if "forward" in module.__dict__:
        raise ValueError(f"{type(module).__name__} is already on a share of a graph; build the network anew for another one.")
    module.forward = forward


def _on_rows(
    block: nn.Module,
    forward: Callable[..., Tensor],
    shard: ShardedGraph,
    masks: WeakTensorKeyDictionary,
    x: Tensor,
    *args: Any,
    mask: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """Evaluate a block on the rows of this process and those that it fetches, and return the rows of this process."""
    if block.training:
        _refuse_draws(block, has_mask=mask is not None)
    if mask is not None:
        extended = masks.get(mask)
        if extended is None:  # fetched once: a mask is that of all layers
            extended = masks[mask] = shard.halo.extend(mask)
        kwargs["mask"] = extended
    return forward(shard.halo.extend(x), *args, **kwargs)[: shard.halo.num_own]


def _refuse_draws(block: nn.Module, *, has_mask: bool) -> None:
    """Raise `ValueError` if a block draws random numbers: they would differ for copies of one node in several processes."""
    for module in block.modules():
        rates = [getattr(module, "edge_dropout", 0.0), module.p if isinstance(module, nn.Dropout) else 0.0]
        if module is not block or not has_mask:
            rates.append(getattr(module, "dropout", 0.0))
        if any(isinstance(rate, float) and rate > 0.0 for rate in rates):
            raise ValueError(
                f"{type(module).__name__} draws dropout of its own, which copies of a node in several processes do not share; "
                "share one mask between all layers (model.shared_dropout=true, or mask=shard.mask(...)), and set its own rates "
                "(attention, edges) to 0."
            )


def _normalise(norm: _BatchNorm, shard: ShardedGraph, x: Tensor) -> Tensor:
    """Return batch norm of rows, of which the first are this process's, with the statistics of the rows of all processes.

    Sums are taken in float64.
    """
    if not (norm.training or norm.running_mean is None):
        return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    own = x[: shard.halo.num_own].double()
    sums = SumOverRanks.apply(torch.stack([own.sum(0), own.square().sum(0)]), shard.ranks)
    mean = sums[0] / shard.num_nodes
    variance = (sums[1] / shard.num_nodes - mean.square()).clamp(min=0.0)
    if norm.training and norm.track_running_stats and norm.running_mean is not None:
        _move_statistics(norm, mean.detach(), variance.detach() * (shard.num_nodes / max(shard.num_nodes - 1, 1)))
    out = (x.double() - mean) * (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        out = out * norm.weight + norm.bias
    return out.to(x.dtype)


@torch.no_grad()
def _move_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), momentum)


class TotalsOverRanks(Totals):
    """Sums over a state whose rows are shared out.

    Args:
        ranks: the processes.
        factor: elements of the whole state for each element of this process.
    """

    def __init__(self, ranks: Ranks, factor: float) -> None:
        self._ranks, self._factor = ranks, factor

    def sums(self, values: Tensor) -> Tensor:
        return self._ranks.sum(values)

    def norms(self, values: Tensor) -> Tensor:
        return self._ranks.sum(squared_norms(values)).sqrt()

    def largest(self, value: float) -> float:
        return max(math.inf if math.isnan(other) else other for other in self._ranks.gather(value))

    def count(self, elements: int) -> int:
        return round(elements * self._factor)

    def root_mean_square(self, x: Tensor) -> Tensor:
        mean = self._ranks.sum(x.double().square().sum()) / self.count(x.numel())
        return mean.sqrt().to(x.dtype)


class AgreedHostAccess(ImmediateHostAccess):
    """Checks the state of a stack in all processes together: if one has left the grid, all move to a coarser one."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def check_range(self, peak: Tensor, bits: int, dtype: torch.dtype) -> None:
        super().check_range(self._largest(torch.where(peak.isnan(), torch.inf, peak.double())), bits, dtype)

    def check_repeated(self, repeated: Tensor, message: str) -> None:
        super().check_repeated(self._largest((~repeated).double()) == 0, message)

    def _largest(self, value: Tensor) -> Tensor:
        value = value.detach().clone()
        with self._ranks.exchanging():
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value
