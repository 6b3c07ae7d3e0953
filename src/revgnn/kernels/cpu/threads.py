"""Running a compiled kernel on torch's own threads.

Where torch runs on GNU OpenMP (its Linux builds do), a kernel is handed to the same runtime, and so to the same warm threads that
run torch's operators; a second pool would compete with them for the cores, because idle OpenMP threads spin. Elsewhere Python
threads run it.

A forked process has none of its parent's threads, and neither runtime starts new ones for it: there a kernel runs on the calling
thread alone, with the same result.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


def run_on_threads(function: int, record: int, most: int) -> None:
    """Call a C function of one pointer on several threads at once, and wait for all of them.

    Args:
        function: its address.
        record: the pointer it is called with.
        most: threads at most; `torch.get_num_threads()` is the other limit.
    """
    threads = min(torch.get_num_threads(), most)
    if threads == 1 or _forked:
        _c_function(function)(record)
        return
    parallel = _openmp()
    if parallel is not None:
        parallel(function, record, threads, 0)
        return
    call, pool = _c_function(function), _pool(threads - 1)
    futures = [pool.submit(call, record) for _ in range(threads - 1)]
    call(record)
    for future in futures:
        future.result()


_forked = False
"""Whether this process was forked from another that had imported this module."""


def _note_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_note_fork)


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
