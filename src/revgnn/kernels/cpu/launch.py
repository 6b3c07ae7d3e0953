"""Running a compiled kernel on torch's own threads.

A kernel is a C function of one argument, a pointer to an int64 record: `[next block, number of blocks, sizes and addresses ...]`.
Each thread takes the next block until none is left, so work balances itself and needs to know nothing of threads. What a
block computes depends on the block alone: any number of threads gives the same bits.

Where torch runs on GNU OpenMP (its Linux builds do), the kernel is handed to the same runtime, and so to the same, warm
threads that run torch's operators; a second pool would compete with them for the cores, because idle OpenMP threads spin.
Elsewhere Python threads run it.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

import numpy as np
import torch
from llvmlite import ir
from numba import cfunc, njit, types
from torch import Tensor

from revgnn.kernels.cpu.simd import intrinsic

NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.int32: np.int32, torch.int64: np.int64}
"""What kernel factories call torch's dtypes."""

SIGNATURE = types.void(types.CPointer(types.int64))
CHUNK = 32
"""Terms that a long sum adds one by one before it adds their total to the rest: a hub's sum loses fewer digits so."""

HEADER = 2
"""Entries of the record that belong to the scheduler; a kernel's own begin here."""

observer: Callable[[str, float], None] | None = None
"""Where this is set, it is told of every kernel that has run: the name of the factory that made it, and its seconds."""


def kernel(function: Callable[[Any], None]) -> Any:
    """Compile `function(record)` to a C function and cache it on disk. Its free variables must be plain numbers and dtypes."""
    return cfunc(SIGNATURE, cache=True)(function)


@intrinsic
def next_block(typingctx, record):
    """Take a block: the number of the next one that nobody has taken yet."""

    def codegen(context, builder, signature, values):
        counter = builder.bitcast(values[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", counter, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(record), codegen


@njit(inline="always")
def first_row(indptr, num_rows, block, num_blocks):
    """Where a block begins if rows are cut into `num_blocks` runs of about equal weight, a row weighing one plus its edges."""
    target = (indptr[num_rows] + num_rows) * block // num_blocks
    low, high = 0, num_rows
    while low < high:
        middle = (low + high) // 2
        if indptr[middle] + middle < target:
            low = middle + 1
        else:
            high = middle
    return low


def num_blocks(work: int, grain: int = 1 << 14, most: int = 256) -> int:
    """How many blocks to cut `work` units into: a function of the work alone, never of the threads."""
    return max(1, min(most, work // grain))


def run(compiled: Any, blocks: int, *arguments: int | Tensor) -> None:
    """Run `compiled` over `blocks` blocks, on `torch.get_num_threads()` threads at most.

    Args:
        compiled: made by `kernel`.
        blocks: how many there are.
        arguments: the rest of the record. Sizes as integers; tensors (contiguous, on the CPU) become addresses.
    """
    record = np.array(
        [0, blocks, *(a if isinstance(a, int) else a.data_ptr() for a in arguments)],
        np.int64,
    )
    threads = min(torch.get_num_threads(), blocks)
    parallel = _openmp()
    start = 0.0 if observer is None else time.perf_counter()
    if threads == 1:
        _c_function(compiled.address)(record.ctypes.data)
    elif parallel is not None:
        parallel(compiled.address, record.ctypes.data, threads, 0)
    else:
        function, pool = _c_function(compiled.address), _pool(threads - 1)
        futures = [pool.submit(function, record.ctypes.data) for _ in range(threads - 1)]
        function(record.ctypes.data)
        for future in futures:
            future.result()
    if observer is not None:
        observer(compiled.__wrapped__.__qualname__.split(".")[0], time.perf_counter() - start)


@functools.cache
def _c_function(address: int) -> Any:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)  # releases the GIL while it runs


@functools.cache
def _openmp() -> Any | None:
    """`GOMP_parallel` of the runtime that torch is linked with, or None where torch uses another."""
    if not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        # the name torch's copy is loaded under, so the loader hands out that copy
        function = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="revgnn-kernel")


def tile(channels: int, widest: int = 128) -> tuple[int, int]:
    """Cut channels into equal tiles that registers can hold: `(lanes a tile, channels after padding)`.

    Up to `widest` channels are one tile as they are. Beyond, tiles are multiples of 16 lanes, and the channels are padded
    where that does not come out even.
    """
    if channels <= widest:
        return channels, channels
    tiles = math.ceil(channels / widest)
    lanes = math.ceil(channels / tiles / 16) * 16
    return lanes, lanes * math.ceil(channels / lanes)


@overload
def pad(t: Tensor, channels: int) -> Tensor: ...
@overload
def pad(t: None, channels: int) -> None: ...
def pad(t: Tensor | None, channels: int) -> Tensor | None:
    """`t` with zeros appended to its last dimension up to `channels`; itself where nothing is missing."""
    if t is None or t.numel() == 0 or t.shape[-1] == channels:
        return t
    return torch.nn.functional.pad(t, (0, channels - t.shape[-1]))


@functools.lru_cache(maxsize=4096)
def constants(dtype: torch.dtype, *values: float) -> Tensor:
    """Numbers for a kernel to read, in memory that stays, and is not torch's: that of a step does not hinge on which came before.
    Not to be written to."""
    return torch.from_numpy(np.array(values, NUMPY[dtype]))


def or_nothing(t: Tensor | None) -> Tensor | int:
    """`t`, or no address where a kernel reads none."""
    return 0 if t is None else t


def position_dtype(src: Tensor) -> torch.dtype:
    """The dtype that counts the edges of `src`."""
    return torch.int32 if src.numel() < 2**31 else torch.int64
