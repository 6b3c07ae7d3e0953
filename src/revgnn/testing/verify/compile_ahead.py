"""Compiling in a second process what the last checks need, while the first ones run.

numba compiles one function at a time in a process. Compiled kernels are kept on disk, where the other process finds them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def compiling_ahead(device: torch.device) -> Iterator[None]:
    """Within the block, another process compiles CPU kernels from the last check to the first, if there is a second processor."""
    if device.type != "cpu" or (os.cpu_count() or 1) < 2:
        yield
        return
    command = [sys.executable, "-c", "from revgnn.testing.verify.compile_ahead import compile_kernels; compile_kernels()"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()  # it writes each kernel to a temporary name, then renames it
        process.wait()


def compile_kernels() -> None:
    """Run the checks of the CPU's kernels, the last one first."""
    from revgnn.testing.verify.kernels import kernel_checks

    for check in reversed(kernel_checks(torch.device("cpu"), "cpu")):
        check.run()
