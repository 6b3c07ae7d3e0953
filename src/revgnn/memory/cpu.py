"""The meter for the CPU: a dispatch mode reports the storages that operators return, and the meter adds up those alive."""

from __future__ import annotations

import functools
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from revgnn.memory.resizes import following_resizes


class CpuMeter:
    """Sum of the bytes of all storages allocated between `start` and `stop` that are still alive, and its peak."""

    def __init__(self) -> None:
        self._live = 0
        self._peak = 0
        self._storages: dict[int, _StorageRef] = {}
        # A storage may be freed in any thread, in the middle of any statement. Appending is atomic; the sum is updated later.
        self._freed: deque[int] = deque()
        self._mode = _ReportStorages(self)

    def start(self) -> None:
        self._resizes = following_resizes(self)
        self._resizes.__enter__()
        self._mode.__enter__()

    def stop(self) -> None:
        self._mode.__exit__(None, None, None)
        self._resizes.__exit__(None, None, None)
        self._subtract_freed()
        # This deletes the callbacks too: from here on `live_bytes` does not change.
        self._storages.clear()

    @property
    def peak_bytes(self) -> int:
        return self._peak

    @property
    def live_bytes(self) -> int:
        self._subtract_freed()
        return self._live

    def record_output(self, out: Any, inputs: Iterable[Any], *, inputs_are_new: bool = False) -> None:
        """Add the storages that an operator returned.

        Args:
            out: the operator's result.
            inputs: the operator's arguments. An output that shares the storage of an argument the meter does not follow was alive
                at `start` and is not counted.
            inputs_are_new: the arguments were allocated just before the operator: count a shared storage.
        """
        for storage in _storages_of(out):
            ref = self._storages.get(storage._cdata)
            if ref is not None:
                if ref.nbytes != storage.nbytes():
                    self.record_resize(storage)
            # A storage that cannot be resized is not torch's own (NumPy, a file).
            elif (inputs_are_new or not _is_storage_of_any(storage, inputs)) and storage.resizable():
                self._add(storage)

    def record_resize(self, storage: torch.UntypedStorage) -> None:
        """Add the change in size. A storage that was alive at `start` is not followed, and its changes are not counted."""
        ref = self._storages.get(storage._cdata)
        if ref is not None:
            change = storage.nbytes() - ref.nbytes
            ref.nbytes += change
            self._grow(change)

    def _add(self, storage: torch.UntypedStorage) -> None:
        ref = _StorageRef(storage, self._on_freed)
        ref.key, ref.nbytes = storage._cdata, storage.nbytes()
        self._storages[ref.key] = ref
        self._grow(ref.nbytes)

    def _on_freed(self, ref: _StorageRef) -> None:
        self._storages.pop(ref.key, None)
        self._freed.append(ref.nbytes)

    def _grow(self, nbytes: int) -> None:
        self._subtract_freed()
        self._live += nbytes
        self._peak = max(self._peak, self._live)

    def _subtract_freed(self) -> None:
        while self._freed:
            self._live -= self._freed.popleft()


class _StorageRef(weakref.ref):
    """A storage's address and size, and a callback when its memory is freed: torch keeps the Python object until then."""

    __slots__ = ("key", "nbytes")
    key: int
    nbytes: int


class _ReportStorages(TorchDispatchMode):
    """Dispatch mode that runs every operator below autograd and autocast, forward and backward, and reports its result."""

    sees_through_operators = True
    """Asks for operators to run as they do without a dispatch mode, see `revgnn.ops.operator`: that is the memory to measure."""

    def __init__(self, meter: CpuMeter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        for kind in types:
            if kind is not Tensor:
                # A subclass that wraps tensors, such as PyTorch Geometric's EdgeIndex, first unwraps itself and then calls
                # the operator on plain tensors.
                return NotImplemented
        kwargs = kwargs or {}
        kernel = python_kernel(func)
        if kernel is None:
            out = func(*args, **kwargs)
        else:
            # The mode is off while this method runs. Turn it on again, so that it sees what the operator's kernel allocates.
            with _ReportStorages(self._meter):
                out = func._op_dk(kernel, *args, **kwargs)
        # torch allocates a tensor made from Python data without calling an operator and then "lifts" it: its argument is new.
        self._meter.record_output(out, (*args, *kwargs.values()), inputs_are_new=func is _lift)
        return out


_lift = torch.ops.aten.lift_fresh.default


def _storages_of(value: Any) -> Sequence[torch.UntypedStorage]:
    """Return the storages of a CPU tensor, or of those in a list. It is called for each argument and result of an operator."""
    kind = type(value)
    if kind is int or kind is float or value is None:
        return ()
    if isinstance(value, Tensor):
        layout = value.layout
        if layout is torch.strided:
            return (value.untyped_storage(),) if value.is_cpu else ()
        if layout is torch.sparse_coo:
            return _storages_of((value._indices(), value._values()))
        if layout is torch.sparse_csr:
            return _storages_of((value.crow_indices(), value.col_indices(), value.values()))
    elif isinstance(value, list | tuple):
        return [storage for each in value for storage in _storages_of(each)]
    return ()


def _is_storage_of_any(storage: torch.UntypedStorage, values: Iterable[Any]) -> bool:
    """Return whether one of these tensors uses this storage."""
    address = storage._cdata
    return any(other._cdata == address for value in values for other in _storages_of(value))


@functools.cache
def python_kernel(func: Any) -> torch._C.DispatchKey | None:
    """Return the dispatch key of an operator's kernel registered from Python (`torch.library`), or None for PyTorch's own.

    A dispatch mode runs that kernel itself, with the mode on, to see which operators it calls.
    """
    if func.namespace in ("aten", "prim", "prims"):
        return None
    for key in ("CPU", "CompositeExplicitAutograd"):
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key):
            return getattr(torch._C.DispatchKey, key)
    return None
