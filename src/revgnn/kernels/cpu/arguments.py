"""The arguments of a kernel, declared once by name.

A kernel is a C function of one pointer: to a record of 8-byte entries, one for each argument. The declaration says what each entry
is. The launcher packs the record from it, and the kernel's body reads `args.name` through the numba type made from it, so the two
cannot disagree.
"""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic, models, register_model

from revgnn.kernels.cpu.elements import numba_type


@dataclass(frozen=True)
class Size:
    """An integer: a length, a stride, an offset. int64 in the kernel."""

    type = types.int64


@dataclass(frozen=True)
class Number:
    """A floating-point number. float64 in the kernel, which converts it to the dtype it computes in."""

    type = types.float64


@dataclass(frozen=True)
class Array:
    """A contiguous tensor on the CPU. A pointer in the kernel.

    Attributes:
        dtype: of its elements, as kernel factories name them (see `revgnn.kernels.cpu.elements`).
        length: elements it must have at least: an expression in the names of the sizes, such as "num_rows * channels", or "" where
            the length depends on the contents of other arrays.
        written: the kernel writes to it.
        optional: may be None, where the kernel does not read it.
    """

    dtype: Any
    length: str
    written: bool = False
    optional: bool = False

    @property
    def type(self) -> types.Type:
        return types.CPointer(numba_type(self.dtype))


def read(dtype: Any, length: str = "", *, optional: bool = False) -> Array:
    """Declare a tensor that the kernel reads."""
    return Array(dtype, length, optional=optional)


def write(dtype: Any, length: str = "", *, optional: bool = False) -> Array:
    """Declare a tensor that the kernel writes to, and may read."""
    return Array(dtype, length, written=True, optional=optional)


Declared = Size | Number | Array
size, number = Size(), Number()

SCHEDULE = ("next_block", "blocks")
"""Entries that every record begins with: the counter from which threads take blocks, and the number of blocks."""


class ArgumentsType(types.Type):
    """numba's type of a pointer to a record: `args.x` is the argument called x, a number or a pointer to elements."""

    def __init__(self, declared: dict[str, Declared]) -> None:
        self.entries: dict[str, types.Type] = dict.fromkeys(SCHEDULE, types.int64)
        self.entries |= {name: entry.type for name, entry in declared.items()}
        super().__init__(name=f"Arguments({', '.join(f'{name}: {entry}' for name, entry in self.entries.items())})")


@register_model(ArgumentsType)
class _ArgumentsModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, ir.IntType(64).as_pointer())


@infer_getattr
class _ArgumentsAttribute(AttributeTemplate):
    key = ArgumentsType

    def generic_resolve(self, arguments: ArgumentsType, name: str) -> types.Type | None:
        return arguments.entries.get(name)


@lower_getattr_generic(ArgumentsType)
def _read_entry(context, builder, arguments, record, name):
    place = list(arguments.entries).index(name)
    entry = builder.load(builder.gep(record, [ir.Constant(ir.IntType(64), place)]))
    match arguments.entries[name]:
        case types.CPointer() as pointer:
            return builder.inttoptr(entry, context.get_value_type(pointer))
        case types.Float():
            return builder.bitcast(entry, ir.DoubleType())
    return entry
