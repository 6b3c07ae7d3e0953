"""Rows of nodes that other processes own: fetched before a block, and their gradients returned after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from revgnn.distributed.ranks import Ranks


@dataclass
class Halo:
    """What this process sends to the others and receives from them in each exchange.

    Attributes:
        ranks: the processes.
        num_own: rows of this process.
        send: int64: its rows that others need, process by process.
        sent, received: rows for and from each process.
        bytes_sent: so far, without what a process would send to itself.
    """

    ranks: Ranks
    num_own: int
    send: Tensor
    sent: list[int]
    received: list[int]
    bytes_sent: int = 0

    def extend(self, rows: Tensor) -> Tensor:
        """Return the rows (N_own, C) of this process followed by those it needs of others (H, C). Differentiable.

        All processes call this in the same order, and their backward passes meet in the same order too.
        """
        return _Extend.apply(rows, self)

    def fetch(self, rows: Tensor) -> Tensor:
        """Return the rows (H, ...) of other processes that this one needs."""
        return self._exchange(rows.index_select(0, self.send), self.sent, self.received)

    def give_back(self, grad: Tensor) -> Tensor:
        """Return gradients (H, ...) of fetched rows to their owners, and what this one is given for the rows in `send`."""
        return self._exchange(grad.contiguous(), self.received, self.sent)

    def _exchange(self, rows: Tensor, sizes: list[int], others: list[int]) -> Tensor:
        # As bytes: every dtype travels as it is.
        width = math.prod(rows.shape[1:])
        out = rows.new_empty(sum(others), *rows.shape[1:])
        given, wanted = (t.reshape(len(t), width).view(torch.uint8) for t in (rows, out))
        with self.ranks.exchanging():
            dist.all_to_all_single(wanted, given, others, sizes)
        self.bytes_sent += given.numel()
        return out


class _Extend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, halo: Halo) -> Tensor:
        ctx.halo = halo
        return torch.cat([rows, halo.fetch(rows)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        halo: Halo = ctx.halo
        own = grad[: halo.num_own].clone()
        returned = halo.give_back(grad[halo.num_own :])
        # One process after the other: within one no row occurs twice, so that sums have one order.
        for rows, part in zip(halo.send.split(halo.sent), returned.split(halo.sent), strict=True):
            own.index_add_(0, rows, part)
        return own, None


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.sum(grad), None
