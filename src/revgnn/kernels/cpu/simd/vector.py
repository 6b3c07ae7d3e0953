"""Explicit vectors for numba kernels.

A kernel keeps a row of channels in registers as one value: `m = fma(splat(a, C), load(w, k * C, C), m)`. A `Vector` of any number
of lanes is stored as pieces of 16 lanes and a tail of powers of two, which LLVM maps to the registers of the host (AVX-512, AVX2,
NEON). Compared with loops that the compiler vectorises by itself, accumulators stay in registers, nothing is loaded again because
it might have been overwritten, compilation is several times faster, and the result does not depend on a heuristic.

The number of lanes is a compile-time constant: a literal, or a variable that the kernel's factory closes over. Pointers carry no
length: the caller guarantees that the elements exist.
"""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.extending import models, register_model

from revgnn.kernels.cpu.elements import bfloat16, float16

# it removes one argument from the signature, which type checkers do not see
intrinsic: Any = extending.intrinsic

PIECE = 16
"""Lanes of a full piece: one AVX-512 register of float32."""

_FEATURES = dict(llvm.get_host_cpu_features())
REGISTERS = 32 if _FEATURES.get("avx512f") or not _FEATURES.get("sse2") else 16
"""Vector registers of the host (x86 before AVX-512 has 16)."""
REGISTER_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16


class Vector(types.Type):
    """`lanes` values of a numba scalar type (or of `types.boolean`: a mask), held in registers."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


def pieces_of(lanes: int) -> list[int]:
    """Lane counts of the pieces: 40 -> [16, 16, 8]; 7 -> [4, 2, 1]."""
    full, tail = divmod(lanes, PIECE)
    return [PIECE] * full + [1 << bit for bit in range(4, -1, -1) if tail >> bit & 1]


LLVM = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
    types.int16: ir.IntType(16),
    float16: float16.llvm,
    bfloat16: bfloat16.llvm,
}
"""LLVM's type for a numba type."""


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        pieces = [ir.VectorType(LLVM[fe_type.dtype], n) for n in pieces_of(fe_type.lanes)]
        super().__init__(dmm, fe_type, ir.LiteralStructType(pieces))


# --- building blocks for the intrinsics below -------------------------------------------------------------------------------


def split(builder: ir.IRBuilder, value: ir.Value) -> list[ir.Value]:
    """Return the pieces of a vector."""
    return [builder.extract_value(value, i) for i in range(len(value.type.elements))]


def join(builder: ir.IRBuilder, pieces: list[ir.Value]) -> ir.Value:
    """Return the vector of these pieces."""
    out = ir.Constant(ir.LiteralStructType([p.type for p in pieces]), ir.Undefined)
    for i, piece in enumerate(pieces):
        out = builder.insert_value(out, piece, i)
    return out


def constant(like: ir.VectorType, value: float | int) -> ir.Constant:
    return ir.Constant(like, [value] * like.count)


def call(builder: ir.IRBuilder, name: str, *args: ir.Value) -> ir.Value:
    """Call an LLVM intrinsic that is overloaded on the type of its arguments, such as `llvm.fma`."""
    vec = args[0].type
    suffix = f"v{vec.count}" + {ir.FloatType(): "f32", ir.DoubleType(): "f64"}.get(
        vec.element, f"i{getattr(vec.element, 'width', 0)}"
    )
    fnty = ir.FunctionType(vec, [vec] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, fnty, f"{name}.{suffix}"), args)


def elementwise(emit: Callable[..., ir.Value], result: Callable[..., types.Type] | None = None):
    """Return the typing function of an intrinsic on vectors of equal lanes.

    `emit(builder, *pieces)` computes one piece of the result from one piece of each argument.
    """

    def typing(*args: types.Type) -> tuple:
        vectors = [a for a in args if isinstance(a, Vector)]
        if len(vectors) != len(args) or len({v.lanes for v in vectors}) != 1:
            raise TypeError(f"vectors of equal lanes wanted, got {args}")
        out = result(*args) if result else args[0]

        def codegen(context, builder, signature, values):
            columns = zip(*(split(builder, v) for v in values), strict=True)
            return join(builder, [emit(builder, *column) for column in columns])

        return out(*args), codegen

    return typing


def literal(lanes: types.Type) -> int | None:
    return lanes.literal_value if isinstance(lanes, types.IntegerLiteral) else None


# --- memory ------------------------------------------------------------------------------------------------------------------


@intrinsic
def pointer(typingctx, address, dtype):
    """Return an address (int64) as a pointer to elements of `dtype`: index it for scalars, `load` for vectors."""
    result = types.CPointer(dtype.dtype)

    def codegen(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(result))

    return result(address, dtype), codegen


@intrinsic
def advanced(typingctx, base, offset):
    """Return the pointer to element `offset` of `base`."""

    def codegen(context, builder, signature, values):
        start = context.cast(builder, values[1], signature.args[1], types.int64)
        return builder.bitcast(element_at(builder, values[0], start, LLVM[base.dtype]), context.get_value_type(base))

    return base(base, offset), codegen


@intrinsic(prefer_literal=True)
def load(typingctx, base, offset, lanes):
    """Return `lanes` consecutive elements of `base`, from element `offset` on."""
    n = literal(lanes)
    if n is None:
        return None
    result = Vector(base.dtype, n)

    def codegen(context, builder, signature, values):
        element = LLVM[base.dtype]
        start, out = context.cast(builder, values[1], signature.args[1], types.int64), []
        for count in pieces_of(n):
            out.append(load_piece(builder, element_at(builder, values[0], start, element), element, count))
            start = builder.add(start, ir.Constant(ir.IntType(64), count))
        return join(builder, out)

    return result(base, offset, lanes), codegen


@intrinsic
def store(typingctx, base, offset, vector):
    """Write a vector to consecutive elements of `base`, from element `offset` on."""

    def codegen(context, builder, signature, values):
        element = LLVM[base.dtype]
        start = context.cast(builder, values[1], signature.args[1], types.int64)
        for piece in split(builder, values[2]):
            where = builder.bitcast(element_at(builder, values[0], start, element), piece.type.as_pointer())
            builder.store(piece, where, align=bytes_of(element))
            start = builder.add(start, ir.Constant(ir.IntType(64), piece.type.count))
        return context.get_dummy_value()

    return types.void(base, offset, vector), codegen


def bytes_of(element: ir.Type) -> int:
    return {ir.FloatType(): 4, ir.DoubleType(): 8, ir.HalfType(): 2}.get(element) or element.width // 8


def element_at(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, element: ir.Type) -> ir.Value:
    return builder.gep(builder.bitcast(base, element.as_pointer()), [index])


def load_piece(builder: ir.IRBuilder, where: ir.Value, element: ir.Type, count: int) -> ir.Value:
    vec = ir.VectorType(element, count)
    return builder.load(builder.bitcast(where, vec.as_pointer()), align=bytes_of(element))


def broadcast(builder: ir.IRBuilder, scalar: ir.Value, vec: ir.VectorType) -> ir.Value:
    one = builder.insert_element(ir.Constant(vec, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vec.count), [0] * vec.count)
    return builder.shuffle_vector(one, ir.Constant(vec, ir.Undefined), zeros)


@intrinsic(prefer_literal=True)
def splat(typingctx, value, lanes):
    """Return a vector with `value` in each lane."""
    n = literal(lanes)
    if n is None:
        return None
    dtype = types.unliteral(value)
    result = Vector(dtype, n)

    def codegen(context, builder, signature, values):
        scalar = context.cast(builder, values[0], signature.args[0], dtype)
        return join(builder, [broadcast(builder, scalar, ir.VectorType(LLVM[dtype], count)) for count in pieces_of(n)])

    return result(value, lanes), codegen


@intrinsic
def prefetch(typingctx, base, offset):
    """Fetch the cache line of element `offset` of `base` into the cache."""

    def codegen(context, builder, signature, values):
        start = context.cast(builder, values[1], signature.args[1], types.int64)
        where = builder.bitcast(element_at(builder, values[0], start, LLVM[base.dtype]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        fnty = ir.FunctionType(ir.VoidType(), [where.type, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, fnty, "llvm.prefetch.p0i8")
        builder.call(function, [where, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(base, offset), codegen


@intrinsic(prefer_literal=True)
def scratch(typingctx, dtype, count):
    """Return a pointer to `count` uninitialised elements of `dtype` on the stack, 64-byte aligned, valid while the kernel runs."""
    n = literal(count)
    if n is None:
        return None
    result = types.CPointer(dtype.dtype)

    def codegen(context, builder, signature, values):
        # numba's own `alloca_once` also writes zeros, element by element: seconds of compile time for a large array
        with builder.goto_entry_block():
            where = builder.alloca(ir.ArrayType(LLVM[dtype.dtype], n))
        where.align = 64
        # The address passes through an assembly instruction that LLVM cannot see through. Otherwise LLVM spends half a minute on
        # all uses of the array, in search of a way to remove it.
        address = builder.ptrtoint(where, ir.IntType(64))
        opaque = ir.InlineAsm(ir.FunctionType(address.type, [address.type]), "", "=r,0", side_effect=True)
        return builder.inttoptr(builder.call(opaque, [address]), LLVM[dtype.dtype].as_pointer())

    return result(dtype, count), codegen


@intrinsic
def opaque(typingctx, value):
    """Return an integer whose value LLVM does not know, so that a loop up to it is not unrolled into code the size of a cache."""

    def codegen(context, builder, signature, values):
        number = context.cast(builder, values[0], signature.args[0], types.int64)
        hide = ir.InlineAsm(ir.FunctionType(number.type, [number.type]), "", "=r,0")
        return builder.call(hide, [number])

    return types.int64(value), codegen
