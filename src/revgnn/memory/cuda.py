"""The meter for CUDA devices: reads the figures of PyTorch's caching allocator."""

from __future__ import annotations

from typing import ClassVar

import torch


class CudaMeter:
    """Peak and live bytes of the caching allocator between `start` and `stop`.

    The allocator keeps one peak for the whole process. Before a new meter resets it, every active meter records it.
    """

    _active: ClassVar[list[CudaMeter]] = []

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._at_start = 0
        self._highest = 0
        self._live_at_stop: int | None = None

    def start(self) -> None:
        for meter in self._active:
            meter._record_peak()
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        self._at_start = self._highest = torch.cuda.memory_allocated(self._device)
        self._active.append(self)

    def stop(self) -> None:
        torch.cuda.synchronize(self._device)
        self._record_peak()
        self._active.remove(self)
        self._live_at_stop = self.live_bytes

    @property
    def peak_bytes(self) -> int:
        if self._live_at_stop is None:
            self._record_peak()
        return self._highest - self._at_start

    @property
    def live_bytes(self) -> int:
        if self._live_at_stop is None:
            return torch.cuda.memory_allocated(self._device) - self._at_start
        return self._live_at_stop

    def _record_peak(self) -> None:
        self._highest = max(self._highest, torch.cuda.max_memory_allocated(self._device))
