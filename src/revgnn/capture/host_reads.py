"""Refuses what waits for a device or copies from or to the host: a CUDA graph can repeat none of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from revgnn.stack.recordable import CaptureError

_COPIES = ("aten::_to_copy", "aten::copy_")
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class NoHostReads(TorchDispatchMode):
    """Context manager: within it an operator that the host would have to wait for raises.

    Operators of one's own are judged by what they return, not by what they do inside. `tolist` and `numpy` of a tensor on the CPU
    are no operators, and go unseen.

    Raises:
        CaptureError: naming the operator, from the line that calls it.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        why = self.complaint(func, args, kwargs)
        if why is not None:
            raise CaptureError(
                f"{_name(func)} cannot be recorded in a CUDA graph: {why}. Look for .item(), float() or bool() of a tensor, masks "
                "as indices, or tensors made of numbers of the host; do that before or after the step."
            )
        return func(*args, **kwargs)

    def complaint(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """Why this call cannot be recorded, or None."""
        name, reads, sized = _traits(func)
        if reads:
            return "it reads a value on the host"
        if name in _INDEXED:
            return "a mask as an index has to be counted on the host" if any(map(_is_mask, _tensors(args[1]))) else None
        if name == "aten::repeat_interleave" and kwargs.get("output_size") is not None:
            return None
        if sized:
            return "the size of its result depends on values, which have to be read on the host"
        if name in _COPIES:
            places = {t.device.type for t in _tensors((args, kwargs))} | {_device(kwargs)} - {None}
            return "it copies from one device to another" if len(places) > 1 else None
        if name == "aten::lift_fresh" and args[0].device.type != "cpu":
            return "it makes a tensor of numbers of the host"
        return None


@functools.cache
def _traits(func: Any) -> tuple[str, bool, bool]:
    """Name; whether it returns a value to the host; whether the size of its result depends on values."""
    return _name(func), torch.Tag.data_dependent_output in func.tags, torch.Tag.dynamic_output_shape in func.tags


def _name(func: Any) -> str:
    return func.name().partition(".")[0]


def _device(kwargs: dict[str, Any]) -> str | None:
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
