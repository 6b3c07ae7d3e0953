"""How many bytes of tensors a piece of code needs at once."""

from __future__ import annotations

import functools
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class PeakMemory:
    """Context manager: the peak of live tensor bytes inside, above those live at entry.

    ```python
    with PeakMemory(device) as memory:
        loss = step()
    memory.peak_bytes, memory.live_bytes
    ```

    On CUDA the figures are the caching allocator's (`torch.cuda.max_memory_allocated`), which counts the scratch space of every
    kernel and rounds each tensor up to 512 bytes. On the CPU every storage that an operator returns is followed until it dies,
    which counts

    - outputs, temporaries, gradients and what autograd saves, each storage once however many views it has;
    - what is allocated inside a custom operator written in Python (`torch.library.custom_op`);
    - storages that are resized, as some reversible layers do to free their inputs;

    and leaves out

    - scratch space inside one of PyTorch's own kernels;
    - memory that torch did not allocate: NumPy arrays, also once `torch.from_numpy` has wrapped them, and memory maps;
    - other threads, and code that `torch.compile` generated;
    - the death of a tensor that was alive at entry: nothing is subtracted for it on the CPU (on CUDA it is). Drop old
      gradients before you enter.

    On the CPU this costs some 10 microseconds an operator, and nothing once the context is left. A few backward formulas of
    PyTorch (that of `index_select`, for one) work out of place while they are watched and then need one tensor more.
    Contexts may be nested.

    Args:
        device: whose memory to measure: the CPU or a CUDA device.

    Raises:
        ValueError: if the device is of another type.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        device = torch.device(device)
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"memory is measured on cpu and cuda devices, got {device}.")
        self.device = device
        self._meter: _CpuMeter | _CudaMeter = _CpuMeter() if device.type == "cpu" else _CudaMeter(device)
        self._entered = False

    def __enter__(self) -> PeakMemory:
        if self._entered:
            raise RuntimeError("a PeakMemory measures once; make a new one for the next measurement.")
        self._entered = True
        self._meter.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._meter.stop()

    @property
    def peak_bytes(self) -> int:
        """Most bytes that were alive at once since entry; readable inside and after the context."""
        return self._meter.peak_bytes

    @property
    def live_bytes(self) -> int:
        """Bytes allocated inside that are alive now, or, after the context, were alive at its end."""
        return self._meter.live_bytes


# --- CPU --------------------------------------------------------------------------------------------------------------------


class _CpuMeter:
    """Adds up the storages it is told of, and takes each off again when it dies."""

    def __init__(self) -> None:
        self._live = 0
        self._peak = 0
        self._known: dict[int, _StorageRef] = {}
        # Storages may die in any thread, in the middle of any statement: appending is atomic, and the sum is done later, by us.
        self._freed: deque[int] = deque()
        self._watch = _Watch(self)

    def start(self) -> None:
        _watch_resizes(self)
        self._watch.__enter__()

    def stop(self) -> None:
        self._watch.__exit__(None, None, None)
        _unwatch_resizes(self)
        self._settle()
        self._known.clear()  # With the references go their callbacks: from here on `live_bytes` stands still.

    @property
    def peak_bytes(self) -> int:
        return self._peak

    @property
    def live_bytes(self) -> int:
        self._settle()
        return self._live

    def sees(self, out: Any, inputs: Iterable[Any], *, made_outside: bool = False) -> None:
        """Take in what an operator returned.

        Args:
            inputs: its arguments: what shares memory with one that is not known was alive at entry.
            made_outside: what goes in is as new as what comes out.
        """
        for storage in _storages(out):
            ref = self._known.get(storage._cdata)
            if ref is not None:
                if ref.nbytes != storage.nbytes():
                    self.resized(storage)
            # what cannot be resized is not torch's own (NumPy, a file)
            elif (made_outside or not _among(storage, inputs)) and storage.resizable():
                self.add(storage)

    def add(self, storage: torch.UntypedStorage) -> None:
        ref = _StorageRef(storage, self._died)
        ref.key, ref.nbytes = storage._cdata, storage.nbytes()
        self._known[ref.key] = ref
        self._grow(ref.nbytes)

    def resized(self, storage: torch.UntypedStorage) -> None:
        """What is not known was alive at entry, and neither its growth nor its end is counted."""
        ref = self._known.get(storage._cdata)
        if ref is not None:
            change = storage.nbytes() - ref.nbytes
            ref.nbytes += change
            self._grow(change)

    def _died(self, ref: _StorageRef) -> None:
        self._known.pop(ref.key, None)
        self._freed.append(ref.nbytes)

    def _grow(self, nbytes: int) -> None:
        self._settle()
        self._live += nbytes
        self._peak = max(self._peak, self._live)

    def _settle(self) -> None:
        while self._freed:
            self._live -= self._freed.popleft()


class _StorageRef(weakref.ref):
    """A storage's address and size. It is told when the memory is freed: torch keeps the storage's Python object until then."""

    __slots__ = ("key", "nbytes")
    key: int
    nbytes: int


class _Watch(TorchDispatchMode):
    """Sees every operator below autograd and autocast, forward and backward, and tells a meter of new storages."""

    sees_through_operators = True
    """The memory that counts is that of the way operators run when nobody looks on; see `revgnn.ops.operator`."""

    def __init__(self, meter: _CpuMeter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        for kind in types:
            if kind is not Tensor:
                # A tensor made of tensors (PyTorch Geometric's EdgeIndex is one) first takes itself apart; its parts then come by.
                return NotImplemented
        kwargs = kwargs or {}
        kernel = python_kernel(func)
        if kernel is None:
            out = func(*args, **kwargs)
        else:
            # The mode is off while this method runs, and what the operator allocates would go unseen: run its kernel with it on.
            with _Watch(self._meter):
                out = func._op_dk(kernel, *args, **kwargs)
        # A tensor made from Python data is allocated out of our sight and then "lifted": there what goes in is new as well.
        self._meter.sees(out, (*args, *kwargs.values()), made_outside=func is _lift)
        return out


_lift = torch.ops.aten.lift_fresh.default


def _storages(value: Any) -> Sequence[torch.UntypedStorage]:
    """Of a tensor on the CPU, or of those in a list. It is asked for everything that goes into an operator or comes out."""
    kind = type(value)
    if kind is int or kind is float or value is None:
        return ()
    if isinstance(value, Tensor):
        layout = value.layout
        if layout is torch.strided:
            return (value.untyped_storage(),) if value.is_cpu else ()
        if layout is torch.sparse_coo:
            return _storages((value._indices(), value._values()))
        if layout is torch.sparse_csr:
            return _storages((value.crow_indices(), value.col_indices(), value.values()))
    elif isinstance(value, list | tuple):
        return [storage for each in value for storage in _storages(each)]
    return ()


def _among(storage: torch.UntypedStorage, values: Iterable[Any]) -> bool:
    """Whether one of these tensors lives in this storage."""
    address = storage._cdata
    return any(s._cdata == address for value in values for s in _storages(value))


@functools.cache
def python_kernel(func: Any) -> torch._C.DispatchKey | None:
    """Where the kernel of an operator registered from Python (`torch.library`) sits; None for PyTorch's own.

    A dispatch mode runs that kernel itself, in itself, to see what the operator calls."""
    if func.namespace in ("aten", "prim", "prims"):
        return None
    for key in ("CPU", "CompositeExplicitAutograd"):
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key):
            return getattr(torch._C.DispatchKey, key)
    return None


_meters: list[_CpuMeter] = []
"""Those that measure now. `UntypedStorage.resize_` is no operator; the only way to hear of it is to stand in its way."""

_resize = torch.UntypedStorage.resize_


@functools.wraps(_resize)
def _resize_and_tell(self: torch.UntypedStorage, size: int) -> Any:
    out = _resize(self, size)
    for meter in _meters:
        meter.resized(self)
    return out


def _watch_resizes(meter: _CpuMeter) -> None:
    _meters.append(meter)
    torch.UntypedStorage.resize_ = _resize_and_tell


def _unwatch_resizes(meter: _CpuMeter) -> None:
    _meters.remove(meter)
    if not _meters:
        torch.UntypedStorage.resize_ = _resize


# --- CUDA -------------------------------------------------------------------------------------------------------------------


class _CudaMeter:
    """Reads the caching allocator. Its peak is one number for all: those who measure already take it in before it is reset."""

    _active: ClassVar[list[_CudaMeter]] = []

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._at_entry = 0
        self._highest = 0
        self._final: int | None = None

    def start(self) -> None:
        for meter in self._active:
            meter._take_in()
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        self._at_entry = self._highest = torch.cuda.memory_allocated(self._device)
        self._active.append(self)

    def stop(self) -> None:
        torch.cuda.synchronize(self._device)
        self._take_in()
        self._active.remove(self)
        self._final = self.live_bytes

    @property
    def peak_bytes(self) -> int:
        if self._final is None:
            self._take_in()
        return self._highest - self._at_entry

    @property
    def live_bytes(self) -> int:
        return torch.cuda.memory_allocated(self._device) - self._at_entry if self._final is None else self._final

    def _take_in(self) -> None:
        self._highest = max(self._highest, torch.cuda.max_memory_allocated(self._device))
