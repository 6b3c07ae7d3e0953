"""Rehearsals: code runs on tensors that have shapes but no memory, and what it would have allocated is recorded."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from revgnn.memory.resizes import following_resizes

_aten: Any = torch.ops.aten
_device_of: Any = torch.ops.prim.device.default

_CUDA_BLOCK = 512
"""Bytes to whose multiples PyTorch's allocator for CUDA rounds each tensor."""


def rehearsing() -> bool:
    """Whether this thread is inside a `Rehearsal`. Kernels are then not run: their tensors have no memory."""
    return any(isinstance(mode, _RecordStorages) for mode in _get_current_dispatch_mode_stack())


@dataclass(slots=True)
class Allocation:
    """A storage of a rehearsal.

    Attributes:
        nbytes: its size on the device.
        label: that of the block of `Rehearsal.label` it was made in, or "".
        born, died: when, in storages made and freed so far; `died` is None if it outlives the rehearsal.
        backward: whether it was made in a backward pass.
        buffer: whether it was made by the kernels of an operator, and freed before they returned.
    """

    nbytes: int
    label: str
    born: int
    backward: bool
    died: int | None = None
    buffer: bool = False


class Rehearsal:
    """Context manager. Inside, tensors have a shape, a dtype and a device, but no memory, and what would be allocated is recorded.

    ```python
    with Rehearsal(device) as rehearsal:
        with rehearsal.label("weights"):
            model = Model()
        model(torch.empty(1_000_000_000, 64)).sum().backward()
    rehearsal.peak_bytes, rehearsal.at_peak()
    ```

    All of torch's operators work out shapes only, kernels of revgnn are not run (`rehearsing`), and a number that the host reads
    falls slowly from 1: so a solver makes progress, does not restart, and runs to its last step. A selection by a mask has as many
    rows as there are. Everything else is the code itself, with the strategies, the saved tensors and the buffers that it has on
    this device. Tensors must be made inside.

    It records what `PeakMemory` would count: each storage that an operator returns, until it is freed. On CUDA sizes are rounded as
    the caching allocator does; what libraries allocate inside an operator is not known.

    Args:
        device: the device that is rehearsed. A CUDA device must exist.
        is_kernel: whether code in the source file of this name belongs to the kernels of an operator.

    Attributes:
        allocations: in the order in which they were made.
        readings: numbers that the host has read.
    """

    def __init__(self, device: torch.device | str = "cpu", is_kernel: Callable[[str], bool] = lambda path: False) -> None:
        self.device = torch.device(device)
        self.allocations: list[Allocation] = []
        self._is_kernel = is_kernel
        self._label = ""
        self._time = 0
        self._followed: dict[int, tuple[weakref.ref[Any], Allocation]] = {}
        self.readings = 0
        self._in_kernel: tuple[Any, list[Allocation]] = (None, [])
        self._stack = ExitStack()

    def __enter__(self) -> Rehearsal:
        self._stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        self._stack.enter_context(_RecordStorages(self))
        self._stack.enter_context(following_resizes(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._end_kernel()
        self._stack.close()
        self._followed.clear()  # with the callbacks: what is freed from here on does not count

    @contextmanager
    def label(self, label: str) -> Iterator[None]:
        """Give what is allocated in the block a label."""
        before, self._label = self._label, label
        try:
            yield
        finally:
            self._label = before

    def set_label(self, tensor: Tensor, label: str) -> None:
        """Give the storage of a tensor, which was made inside and is alive, a label."""
        followed = self._followed.get(tensor.untyped_storage()._cdata)
        if followed is not None:
            followed[1].label = label

    @property
    def time(self) -> int:
        """Storages made and freed so far."""
        return self._time

    # --- results ------------------------------------------------------------------------------------------------------

    def live_bytes(self) -> list[int]:
        """Return the bytes alive after each storage that was made or freed."""
        changes = [0] * self._time
        for each in self.allocations:
            changes[each.born] += each.nbytes
            if each.died is not None:
                changes[each.died] -= each.nbytes
        live, total = [], 0
        for change in changes:
            total += change
            live.append(total)
        return live

    def alive_at(self, time: int) -> list[Allocation]:
        """Return the storages alive after the storage that was made at this time."""
        return [each for each in self.allocations if each.born <= time and (each.died is None or each.died > time)]

    # --- recording ----------------------------------------------------------------------------------------------------

    def record(self, tensor: Tensor) -> None:
        """Follow the storage of a tensor that an operator has returned."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._followed and tensor.device.type == self.device.type:
            self._watch_kernel(self._follow(storage, self._label))

    def _follow(self, storage: torch.UntypedStorage, label: str) -> Allocation:
        key, backward = storage._cdata, torch._C._current_graph_task_id() != -1
        allocation = Allocation(self._rounded(storage.nbytes()), label, self._time, backward)
        self._time += 1
        self.allocations.append(allocation)

        def freed(_: Any) -> None:
            if self._followed.pop(key, None) is not None:
                allocation.died = self._time
                self._time += 1

        self._followed[key] = (weakref.ref(storage, freed), allocation)
        return allocation

    def _rounded(self, nbytes: int) -> int:
        return -(-nbytes // _CUDA_BLOCK) * _CUDA_BLOCK if self.device.type == "cuda" else nbytes

    def record_resize(self, storage: torch.UntypedStorage) -> None:
        """Let a storage that is followed end, and begin anew with its new size."""
        followed = self._followed.get(storage._cdata)
        if followed is None or followed[1].nbytes == self._rounded(storage.nbytes()):
            return
        before = followed[1]
        before.died = self._time
        self._time += 1
        self._follow(storage, before.label)

    def _watch_kernel(self, allocation: Allocation) -> None:
        """Note whether the kernels of an operator are making this storage, and end the note on another operator's."""
        frame: FrameType | None = sys._getframe(1)
        kernel = None
        while frame is not None:
            if self._is_kernel(frame.f_code.co_filename):
                kernel = (id(frame), frame.f_code)  # of the outermost function of the kernels
            elif kernel is not None:
                break
            frame = frame.f_back
        if kernel != self._in_kernel[0]:
            self._end_kernel()
            self._in_kernel = (kernel, [])
        if kernel is not None:
            self._in_kernel[1].append(allocation)

    def _end_kernel(self) -> None:
        for each in self._in_kernel[1]:
            each.buffer = each.died is not None
        self._in_kernel = (None, [])


class _RecordStorages(TorchDispatchMode):
    """Dispatch mode above that of fake tensors: answers what depends on values, and reports the storages that operators return."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()
        self._rehearsal = rehearsal

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is _device_of and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # two of three calls
        if func is _aten._local_scalar_dense.default:
            return self._number(*args)
        answer = _ANSWERS.get(func)
        out = func(*args, **(kwargs or {})) if answer is None else answer(func, *args, **(kwargs or {}))
        self._report(out)
        return out

    def _number(self, tensor: Tensor) -> bool | int | float:
        """Return the number that the host reads from a tensor of one element."""
        if tensor.dtype is torch.bool:
            return True
        if not tensor.is_floating_point():
            return 1
        self._rehearsal.readings += 1
        return 1.0 / (1.0 + self._rehearsal.readings / 1000.0)

    def _report(self, out: Any) -> None:
        if isinstance(out, Tensor):
            self._rehearsal.record(out)
        elif isinstance(out, tuple | list):
            for each in out:
                self._report(each)


# --- what depends on values -----------------------------------------------------------------------------------------------------


def _nonzero(func: Any, tensor: Tensor) -> Tensor:
    """Positions of all elements."""
    return torch.empty(tensor.numel(), tensor.dim(), dtype=torch.int64, device=tensor.device)


def _index(func: Any, tensor: Tensor, indices: list[Tensor | None]) -> Tensor:
    """A selection in which a mask selects all."""
    numbers: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            numbers.append(index)
        else:
            numbers += list(_nonzero(func, index).unbind(1))
    return func(tensor, numbers)


def _least_squares(func: Any, matrix: Tensor, right: Tensor, *_: Any, **__: Any) -> tuple[Tensor, ...]:
    return matrix.new_empty(matrix.shape[1], right.shape[1]), matrix.new_empty(0), matrix.new_empty(0), matrix.new_empty(0)


_ANSWERS: dict[Any, Callable[..., Any]] = {
    _aten.equal.default: lambda func, *_: True,
    _aten.nonzero.default: _nonzero,
    _aten.index.Tensor: _index,
    _aten.linalg_lstsq.default: _least_squares,
}
"""Operators whose result, or its shape, depends on values."""
