"""Gradients summed over processes in flat buckets, while the backward pass goes on.

Why not `DistributedDataParallel`: it divides by the number of processes before it sums, so that three processes differ from one;
it needs a backward pass in every process in every step, and a part may have no labelled node; and a parameter that no process has
used must keep no gradient. What it is used for is done here with the hook that torch calls when the gradient of a parameter is
complete. A stack that recomputes its activations is one node of the graph for each of its segments, whose parameters are complete
when the segment is: with `segments`, the gradients of the last layers travel while those of the first are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from revgnn.train.run.team import GradientExchange

if TYPE_CHECKING:
    from revgnn.distributed.ranks import Ranks

BUCKET_BYTES = 4 << 20
"""Bytes of gradients that are sent at once."""


class _Bucket:
    """Parameters of one device and dtype whose gradients are sent together."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.flat: Tensor | None = None
        self.missing = set(range(len(parameters)))
        self.work: dist.Work | None = None

    def begin_step(self) -> None:
        self.missing = set(range(len(self.parameters)))
        self.work = None

    def fill(self) -> Tensor:
        """Return the gradients side by side; -0 in place of one that this process does not have, which changes no sum."""
        if self.flat is None:
            first = self.parameters[0]
            self.flat = torch.empty(sum(p.numel() for p in self.parameters), dtype=first.dtype, device=first.device)
        for p, part in zip(self.parameters, self.flat.split([p.numel() for p in self.parameters]), strict=True):
            if p.grad is None:
                part.fill_(-0.0)
            else:
                part.view_as(p).copy_(p.grad)
        return self.flat

    def spread(self) -> None:
        """Let the gradients be the parts of the bucket."""
        assert self.flat is not None
        for p, part in zip(self.parameters, self.flat.split([p.numel() for p in self.parameters]), strict=True):
            p.grad = part.view_as(p)


class BucketedExchange(GradientExchange):
    """Sums the gradients of a model over the processes.

    Buckets are sent in one order in all processes: from the last parameters of the model to the first, as they become ready.

    Args:
        model: its parameters that require a gradient are exchanged.
        ranks: the processes.
        bucket_bytes: the size of a bucket, about.

    Attributes:
        early: buckets that were sent before the backward pass of the last step had ended.
    """

    def __init__(self, model: nn.Module, ranks: Ranks, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._ranks = ranks
        self._parameters = [p for p in model.parameters() if p.requires_grad][::-1]
        self._buckets = _fill_buckets(self._parameters, bucket_bytes)
        self._place = {p: (b, n) for b, bucket in enumerate(self._buckets) for n, p in enumerate(bucket.parameters)}
        self._is_active = False
        self._next = 0
        self.early = 0
        for p in self._parameters:
            p.register_post_accumulate_grad_hook(self._complete)

    @contextmanager
    def during_backward(self) -> Iterator[None]:
        self._is_active = True
        try:
            yield
        finally:
            self._is_active = False
            self.early = self._next

    def _complete(self, parameter: Tensor) -> None:
        """Note that the gradient of a parameter is complete, and send the buckets that are."""
        if not self._is_active:
            return
        bucket, place = self._place[parameter]  # pyright: ignore[reportArgumentType]
        if place not in self._buckets[bucket].missing:
            raise RuntimeError("a gradient was exchanged before it was complete: the backward pass reached a parameter twice.")
        self._buckets[bucket].missing.discard(place)
        while self._next < len(self._buckets) and not self._buckets[self._next].missing:
            self._send()

    def _send(self) -> None:
        bucket = self._buckets[self._next]
        with self._ranks.exchanging():
            bucket.work = dist.all_reduce(bucket.fill(), async_op=True)
        self._next += 1

    def finish(self, values: Tensor) -> Tensor:
        has_some = any(p.grad is not None for p in self._parameters)
        lacking = torch.tensor([float(p.grad is None) for p in self._parameters] if has_some else [0.0]).sum().to(values)
        while self._next < len(self._buckets):
            self._send()
        total = self._ranks.sum(torch.cat([values, lacking.reshape(1)]))
        for bucket in self._buckets:
            assert bucket.work is not None
            with self._ranks.waiting():
                bucket.work.wait()
        flags = None
        if float(total[-1]):
            flags = self._ranks.sum(torch.tensor([float(p.grad is not None) for p in self._parameters], device=values.device))
        for bucket in self._buckets:
            bucket.spread()
            bucket.begin_step()
        if flags is not None:
            for p, users in zip(self._parameters, flags.tolist(), strict=True):
                if not users:
                    p.grad = None
        self._next = 0
        return total[:-1]


def _fill_buckets(parameters: list[nn.Parameter], bucket_bytes: int) -> list[_Bucket]:
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for p in parameters:
        last = buckets[-1][-1] if buckets else None
        if last is None or size >= bucket_bytes or (last.dtype, last.device) != (p.dtype, p.device):
            buckets.append([])
            size = 0
        buckets[-1].append(p)
        size += p.numel() * p.element_size()
    return [_Bucket(parameters) for parameters in buckets]
