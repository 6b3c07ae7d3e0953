"""A kernel: a declaration of its arguments, a body that numba compiles, and the call that checks, packs and runs.

```python
@functools.cache
def scale_kernel(dtype):
    @kernel(count=size, x=read(dtype, "count"), factor=number, out=write(dtype, "count"))
    def scale(args):
        for _, begin, end in even_blocks(args, args.count):
            for n in range(begin, end):
                args.out[n] = args.x[n] * dtype(args.factor)

    return scale

scale_kernel(np.float32)(num_blocks(x.numel()), count=x.numel(), x=x, factor=2.0, out=out)
```

The body is a function of one argument, `args`, whose attributes are the declared names (`revgnn.kernels.cpu.arguments`). What else
it uses from the factory, it closes over: numbers and dtypes only, so that numba can cache the kernel on disk.
"""

from __future__ import annotations

import array
import ctypes
import functools
import os
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from numba.core import types
from numba.core.ccallback import CFunc
from torch import Tensor

from revgnn.kernels.cpu.arguments import SCHEDULE, ArgumentsType, Array, Declared, Number, number, read, size, write
from revgnn.kernels.cpu.cache import KernelCache
from revgnn.kernels.cpu.elements import TORCH
from revgnn.memory import rehearsing

__all__ = ["Kernel", "kernel", "num_blocks", "number", "read", "size", "write"]

observer: Callable[[str, float], None] | None = None
"""Called after each kernel with its name and its seconds, if set. For profilers."""


class Kernel:
    """A compiled kernel. Call it with the number of blocks and the declared arguments by name. In a rehearsal it does nothing.

    Attributes:
        name: of the body, as it is reported to `observer`.
        declared: what each argument is.
    """

    def __init__(self, body: Callable[[Any], None], declared: dict[str, Declared]) -> None:
        self.name = body.__name__
        self.declared = declared
        self._pack = _packer(self.name, declared)
        self._body = body
        self._compiled: Any = None  # owns the code
        self._address = 0
        if not rehearsing():
            self._compile()

    def _compile(self) -> None:
        compiled: Any = CFunc(self._body, ((ArgumentsType(self.declared),), types.void), {}, {})
        compiled._cache = KernelCache(self._body)  # in place of `enable_caching`, whose key does not know what is inlined
        compiled.compile()
        self._compiled, self._address = compiled, compiled.address

    def __call__(self, blocks: int, **arguments: Any) -> None:
        """Run the kernel over `blocks` blocks.

        Raises:
            TypeError: if an argument is missing, unknown, or not what the declaration says; it is named.
        """
        if torch._C._len_torch_dispatch_stack() > 0 and rehearsing():
            return
        if not self._address:  # made in a rehearsal
            self._compile()
        record = self._pack(blocks, **arguments)
        if observer is None:
            run_on_threads(self._address, record.buffer_info()[0], blocks)
            return
        start = time.perf_counter()
        run_on_threads(self._address, record.buffer_info()[0], blocks)
        observer(self.name, time.perf_counter() - start)


def kernel(**declared: Declared) -> Callable[[Callable[[Any], None]], Kernel]:
    """Decorator: the function as a `Kernel` with these arguments, compiled at once or taken from the cache on disk.

    What is made in a rehearsal is compiled when it is first run.
    """
    return lambda body: Kernel(body, declared)


# --- packing ---------------------------------------------------------------------------------------------------------------------


def _packer(name: str, declared: dict[str, Declared]) -> Callable[..., array.array[int]]:
    """Return a function from the arguments to the record.

    It is generated, as that of a dataclass is, because it runs for every launch: a small graph's step has thousands.
    """
    lines, entries = [], ["0", "blocks"]
    for argument, entry in declared.items():
        if isinstance(entry, Array):
            checks = [f"not isinstance({argument}, Tensor)", f"{argument}.dtype is not dtype_{argument}"]
            checks += [f"not {argument}.is_contiguous()", f"not {argument}.is_cpu"]
            if entry.length:
                checks.append(f"{argument}.numel() < {entry.length}")
            given = f"{argument} is not None and " if entry.optional else ""
            lines.append(f"    if {given}({' or '.join(checks)}): refuse({argument!r}, {argument}, {entry.length or 0})")
            address = f"{argument}.data_ptr()"
            entries.append(f"0 if {argument} is None else {address}" if entry.optional else address)
        else:
            entries.append(f"bits({argument})" if isinstance(entry, Number) else argument)
    source = f"def pack({', '.join([SCHEDULE[1], '*', *declared])}):\n"
    source += "\n".join([*lines, f"    return new_array('q', ({', '.join(entries)},))"])
    names: dict[str, Any] = {f"dtype_{k}": TORCH[v.dtype] for k, v in declared.items() if isinstance(v, Array)}
    names |= {"Tensor": Tensor, "new_array": array.array, "bits": _bits, "refuse": functools.partial(_refuse, name, declared)}
    exec(source, names)
    pack = names["pack"]
    pack.__name__ = pack.__qualname__ = name  # what Python's own errors of missing and unknown arguments say
    return pack


@functools.lru_cache(maxsize=4096)
def _bits(value: float) -> int:
    """The bits of a float64 as an integer."""
    return struct.unpack("q", struct.pack("d", value))[0]


def _refuse(name: str, declared: dict[str, Declared], argument: str, value: Any, length: int) -> None:
    """Raise the TypeError that says what is wrong with an argument."""
    wanted = declared[argument]
    assert isinstance(wanted, Array)
    got = type(value).__name__
    if isinstance(value, Tensor):
        layout = "contiguous" if value.is_contiguous() else "not contiguous"
        got = f"{value.dtype} with {value.numel()} elements, {layout}, on {value.device}"
    raise TypeError(
        f"kernel {name}: argument {argument!r} must be a contiguous tensor of {TORCH[wanted.dtype]} on the CPU with at least "
        f"{length} elements, got {got}."
    )


# --- running ---------------------------------------------------------------------------------------------------------------------
#
# Where torch runs on GNU OpenMP (its Linux builds do), a kernel is handed to the same runtime, and so to the same warm threads that
# run torch's operators; a second pool would compete with them for the cores, because idle OpenMP threads spin. Elsewhere Python
# threads run it. A forked process has none of its parent's threads, and neither runtime starts new ones for it: there a kernel runs
# on the calling thread alone, with the same result.


def num_blocks(work: int, grain: int = 1 << 14, most: int = 256) -> int:
    """Return how many blocks to cut `work` units into: a function of the work alone, never of the number of threads."""
    return max(1, min(most, work // grain))


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
