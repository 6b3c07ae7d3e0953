"""What kernels call the dtypes of torch."""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import models, register_model


class Storage(types.Type):
    """A 16-bit floating-point type that kernels load, convert and prefetch, but do not compute in."""

    def __init__(self, name: str, llvm: ir.Type) -> None:
        self.llvm = llvm
        super().__init__(name=name)


@register_model(Storage)
class _StorageModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


float16 = Storage("float16", ir.HalfType())
bfloat16 = Storage("bfloat16", ir.IntType(16))

ELEMENTS: dict[torch.dtype, Any] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.int16: np.int16,
    torch.int32: np.int32,
    torch.int64: np.int64,
    torch.float16: float16,
    torch.bfloat16: bfloat16,
}
"""For each dtype of torch what a kernel factory takes: a NumPy type, which a kernel calls to convert a number, or a `Storage`."""

TORCH = {element: dtype for dtype, element in ELEMENTS.items()}


def numba_type(element: Any) -> types.Type:
    """The numba type of a value of `ELEMENTS`."""
    if isinstance(element, Storage):
        return element
    return types.__dict__[np.dtype(element).name]
