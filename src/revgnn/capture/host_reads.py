"""Refuses operators that wait for a device, or copy from or to the host: a CUDA graph cannot repeat them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from revgnn.capture.obstacles import CaptureError

_COPIES = ("aten::_to_copy", "aten::copy_")
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class NoHostReads(TorchDispatchMode):
    """Context manager in which an operator that the host would have to wait for raises `CaptureError`.

    The message names the operator, and the traceback ends at the line that calls it. Custom operators are judged by what they
    return, not by what they do inside. `tolist` and `numpy` of a tensor on the CPU are not operators, and are not noticed.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        reason = self.obstacle(func, args, kwargs)
        if reason is not None:
            raise CaptureError(
                f"{_traits(func).name} cannot be recorded in a CUDA graph: {reason}. Look for .item(), float() or bool() of a "
                "tensor, masks as indices, or tensors made of numbers of the host; do that before or after the step."
            )
        return func(*args, **kwargs)

    def obstacle(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """Return why this call cannot be recorded, or None if it can."""
        name, reads_on_host, has_dynamic_shape = _traits(func)
        if reads_on_host:
            return "it reads a value on the host"
        if name in _INDEXING:
            return "a mask as an index has to be counted on the host" if any(map(_is_mask, _tensors(args[1]))) else None
        if name == "aten::repeat_interleave" and kwargs.get("output_size") is not None:
            return None
        if has_dynamic_shape:
            return "the size of its result depends on values, which have to be read on the host"
        if name in _COPIES:
            devices = {t.device.type for t in _tensors((args, kwargs))} | {_device_type(kwargs)} - {None}
            return "it copies from one device to another" if len(devices) > 1 else None
        if name == "aten::lift_fresh" and args[0].device.type != "cpu":
            return "it makes a tensor of numbers of the host"
        return None


class _Traits(NamedTuple):
    """What an operator is, whatever its arguments.

    Attributes:
        name: "namespace::name".
        reads_on_host: it returns a value to the host.
        has_dynamic_shape: the size of its result depends on values.
    """

    name: str
    reads_on_host: bool
    has_dynamic_shape: bool


@functools.cache
def _traits(func: Any) -> _Traits:
    name = func.name().partition(".")[0]
    return _Traits(name, torch.Tag.data_dependent_output in func.tags, torch.Tag.dynamic_output_shape in func.tags)


def _device_type(kwargs: dict[str, Any]) -> str | None:
    device = kwargs.get("device")
    return None if device is None else torch.device(device).type


def _is_mask(t: Tensor) -> bool:
    return t.dtype in (torch.bool, torch.uint8)


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
