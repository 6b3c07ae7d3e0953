"""Peak memory of a process, whichever library allocates it."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from pathlib import Path

SECONDS_BETWEEN_SAMPLES = 0.005


class AnonymousPeak:
    """Context manager: the peak of memory without a file behind it, above that at entry, sampled two hundred times a second.

    It counts the whole process: parts of a graph are made in NumPy's memory, those of PyTorch Geometric in torch's. Zero where the
    system has no /proc.
    """

    peak_bytes = 0

    def __enter__(self) -> AnonymousPeak:
        gc.collect()
        # memory that the allocator keeps after it was freed would be used again without being seen
        if sys.platform == "linux":
            getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
        self._before, self._done = anonymous_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._done.wait(SECONDS_BETWEEN_SAMPLES):
            self.peak_bytes = max(self.peak_bytes, anonymous_bytes() - self._before)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def anonymous_bytes() -> int:
    """Return the memory of this process that has no file behind it; zero where the system has no /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
