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
import functools
import struct
import time
from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.core.ccallback import CFunc
from torch import Tensor

from revgnn.kernels.cpu.arguments import SCHEDULE, ArgumentsType, Array, Declared, Number, number, read, size, write
from revgnn.kernels.cpu.cache import KernelCache
from revgnn.kernels.cpu.elements import TORCH
from revgnn.kernels.cpu.threads import run_on_threads

__all__ = ["Kernel", "kernel", "number", "read", "size", "write"]

observer: Callable[[str, float], None] | None = None
"""Called after each kernel with its name and its seconds, if set. For profilers."""


class Kernel:
    """A compiled kernel. Call it with the number of blocks and the declared arguments by name.

    Attributes:
        name: of the body, as it is reported to `observer`.
        declared: what each argument is.
    """

    def __init__(self, body: Callable[[Any], None], declared: dict[str, Declared]) -> None:
        self.name = body.__name__
        self.declared = declared
        self._pack = _packer(self.name, declared)
        compiled: Any = CFunc(body, ((ArgumentsType(declared),), types.void), {}, {})
        compiled._cache = KernelCache(body)  # in place of `enable_caching`, whose key does not know what is inlined
        compiled.compile()
        self._compiled = compiled  # owns the code
        self._address: int = compiled.address

    def __call__(self, blocks: int, **arguments: Any) -> None:
        """Run the kernel over `blocks` blocks.

        Raises:
            TypeError: if an argument is missing, unknown, or not what the declaration says; it is named.
        """
        record = self._pack(blocks, **arguments)
        if observer is None:
            run_on_threads(self._address, record.buffer_info()[0], blocks)
            return
        start = time.perf_counter()
        run_on_threads(self._address, record.buffer_info()[0], blocks)
        observer(self.name, time.perf_counter() - start)


def kernel(**declared: Declared) -> Callable[[Callable[[Any], None]], Kernel]:
    """Decorator: the function as a `Kernel` with these arguments, compiled at once or taken from the cache on disk."""
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
