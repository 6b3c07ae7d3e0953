"""Explicit vectors for numba kernels.

A kernel holds a row of channels in registers as one value: `m = fma(splat(a, C), load(w, k * C, C), m)`. How many machine registers
that takes is not its concern: a `Vector` of any number of lanes is kept as pieces of 16 lanes and a tail of powers of two,
which LLVM maps onto what the host has (AVX-512, AVX2, NEON). Compared with loops left to the auto-vectoriser, accumulators
stay in registers, nothing is re-loaded for fear of aliasing, compilation is several times faster, and the result does not
hinge on a heuristic.

Lanes are compile-time constants: a literal, or a variable that the kernel's factory closes over. Pointers are raw
(`pointer`): callers guarantee the extents.
"""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.extending import models, register_model

# it takes one argument off the signature, which type checkers do not see
intrinsic: Any = extending.intrinsic

PIECE = 16
"""Lanes of a full piece: one AVX-512 register of float32."""

REVISION = zlib.crc32(b"".join(Path(__file__).with_name(name).read_bytes() for name in ("simd.py", "launch.py")))
"""Changes with these files. Kernels close over it, so that numba's on-disk cache notices when what they inline has changed."""


class Vector(types.Type):
    """`lanes` values of a numba scalar type (or of `types.boolean`: a mask), held in registers."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


def _pieces(lanes: int) -> list[int]:
    """Lane counts of the pieces: 40 -> [16, 16, 8]; 7 -> [4, 2, 1]."""
    full, tail = divmod(lanes, PIECE)
    return [PIECE] * full + [1 << bit for bit in range(4, -1, -1) if tail >> bit & 1]


_LLVM = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        pieces = [ir.VectorType(_LLVM[fe_type.dtype], n) for n in _pieces(fe_type.lanes)]
        super().__init__(dmm, fe_type, ir.LiteralStructType(pieces))


# --- building blocks for the intrinsics below -------------------------------------------------------------------------------


def _split(builder: ir.IRBuilder, value: ir.Value) -> list[ir.Value]:
    return [builder.extract_value(value, i) for i in range(len(value.type.elements))]


def _join(builder: ir.IRBuilder, pieces: list[ir.Value]) -> ir.Value:
    out = ir.Constant(ir.LiteralStructType([p.type for p in pieces]), ir.Undefined)
    for i, piece in enumerate(pieces):
        out = builder.insert_value(out, piece, i)
    return out


def _constant(like: ir.VectorType, value: float | int) -> ir.Constant:
    return ir.Constant(like, [value] * like.count)


def _call(builder: ir.IRBuilder, name: str, *args: ir.Value) -> ir.Value:
    """An LLVM intrinsic overloaded on the type of its arguments, such as `llvm.fma`."""
    vec = args[0].type
    suffix = f"v{vec.count}" + {ir.FloatType(): "f32", ir.DoubleType(): "f64"}.get(
        vec.element, f"i{getattr(vec.element, 'width', 0)}"
    )
    fnty = ir.FunctionType(vec, [vec] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, fnty, f"{name}.{suffix}"), args)


def _elementwise(emit: Callable[..., ir.Value], result: Callable[..., types.Type] | None = None):
    """An intrinsic on vectors of equal lanes: `emit(builder, *pieces)` makes one piece of the result from one of each argument."""

    def typing(*args: types.Type) -> tuple:
        vectors = [a for a in args if isinstance(a, Vector)]
        if len(vectors) != len(args) or len({v.lanes for v in vectors}) != 1:
            raise TypeError(f"vectors of equal lanes wanted, got {args}")
        out = result(*args) if result else args[0]

        def codegen(context, builder, signature, values):
            columns = zip(*(_split(builder, v) for v in values), strict=True)
            return _join(builder, [emit(builder, *column) for column in columns])

        return out(*args), codegen

    return typing


def _literal(lanes: types.Type) -> int | None:
    return lanes.literal_value if isinstance(lanes, types.IntegerLiteral) else None


# --- memory ------------------------------------------------------------------------------------------------------------------


@intrinsic
def pointer(typingctx, address, dtype):
    """The address (int64) as a pointer to elements of `dtype` (`np.float32`, ...). Index it for scalars, `load` for vectors."""
    result = types.CPointer(dtype.dtype)

    def codegen(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(result))

    return result(address, dtype), codegen


@intrinsic(prefer_literal=True)
def load(typingctx, base, offset, lanes):
    """`lanes` consecutive elements of `base`, from element `offset` on."""
    n = _literal(lanes)
    if n is None:
        return None
    result = Vector(base.dtype, n)

    def codegen(context, builder, signature, values):
        element = _LLVM[base.dtype]
        start, out = context.cast(builder, values[1], signature.args[1], types.int64), []
        for count in _pieces(n):
            out.append(_load_piece(builder, _gep(builder, values[0], start, element), element, count))
            start = builder.add(start, ir.Constant(ir.IntType(64), count))
        return _join(builder, out)

    return result(base, offset, lanes), codegen


@intrinsic
def store(typingctx, base, offset, vector):
    """Write a vector to consecutive elements of `base`, from element `offset` on."""

    def codegen(context, builder, signature, values):
        element = _LLVM[base.dtype]
        start = context.cast(builder, values[1], signature.args[1], types.int64)
        for piece in _split(builder, values[2]):
            where = builder.bitcast(_gep(builder, values[0], start, element), piece.type.as_pointer())
            builder.store(piece, where, align=_bytes(element))
            start = builder.add(start, ir.Constant(ir.IntType(64), piece.type.count))
        return context.get_dummy_value()

    return types.void(base, offset, vector), codegen


def _bytes(element: ir.Type) -> int:
    return {ir.FloatType(): 4, ir.DoubleType(): 8}.get(element) or element.width // 8


def _gep(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, element: ir.Type) -> ir.Value:
    return builder.gep(builder.bitcast(base, element.as_pointer()), [index])


def _load_piece(builder: ir.IRBuilder, where: ir.Value, element: ir.Type, count: int) -> ir.Value:
    vec = ir.VectorType(element, count)
    return builder.load(builder.bitcast(where, vec.as_pointer()), align=_bytes(element))


def _broadcast(builder: ir.IRBuilder, scalar: ir.Value, vec: ir.VectorType) -> ir.Value:
    one = builder.insert_element(ir.Constant(vec, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vec.count), [0] * vec.count)
    return builder.shuffle_vector(one, ir.Constant(vec, ir.Undefined), zeros)


@intrinsic(prefer_literal=True)
def splat(typingctx, value, lanes):
    """A vector with `value` in each lane."""
    n = _literal(lanes)
    if n is None:
        return None
    dtype = types.unliteral(value)
    result = Vector(dtype, n)

    def codegen(context, builder, signature, values):
        scalar = context.cast(builder, values[0], signature.args[0], dtype)
        return _join(builder, [_broadcast(builder, scalar, ir.VectorType(_LLVM[dtype], count)) for count in _pieces(n)])

    return result(value, lanes), codegen


# --- arithmetic ----------------------------------------------------------------------------------------------------------------


def _mask(a: Vector, *_: types.Type) -> Vector:
    return Vector(types.boolean, a.lanes)


@intrinsic
def add(typingctx, a, b):
    """a + b"""
    return _elementwise(lambda builder, x, y: builder.fadd(x, y))(a, b)


@intrinsic
def sub(typingctx, a, b):
    """a - b"""
    return _elementwise(lambda builder, x, y: builder.fsub(x, y))(a, b)


@intrinsic
def mul(typingctx, a, b):
    """a * b"""
    return _elementwise(lambda builder, x, y: builder.fmul(x, y))(a, b)


@intrinsic
def div(typingctx, a, b):
    """a / b"""
    return _elementwise(lambda builder, x, y: builder.fdiv(x, y))(a, b)


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once"""
    return _elementwise(lambda builder, x, y, z: _call(builder, "llvm.fma", x, y, z))(a, b, c)


@intrinsic
def greater(typingctx, a, b):
    """Mask: a > b (false where either is NaN)"""
    return _elementwise(lambda builder, x, y: builder.fcmp_ordered(">", x, y), _mask)(a, b)


@intrinsic
def exceeds(typingctx, a, b):
    """Mask: a > b, or a is NaN: a running maximum by this mask keeps a NaN, as torch's does"""

    def emit(builder, x, y):
        return builder.or_(builder.fcmp_ordered(">", x, y), builder.fcmp_unordered("uno", x, x))

    return _elementwise(emit, _mask)(a, b)


@intrinsic
def select(typingctx, mask, a, b):
    """a where mask, else b"""
    return _elementwise(lambda builder, m, x, y: builder.select(m, x, y), lambda m, x, y: x)(mask, a, b)


@intrinsic
def total(typingctx, a):
    """Sum over the lanes: pieces from first to last, then pairwise within, so that the order is fixed."""

    def codegen(context, builder, signature, values):
        out = None
        for piece in _split(builder, values[0]):
            while piece.type.count > 1:
                half = piece.type.count // 2
                undefined = ir.Constant(piece.type, ir.Undefined)
                low, high = (
                    builder.shuffle_vector(piece, undefined, ir.Constant(ir.VectorType(ir.IntType(32), half), list(lanes)))
                    for lanes in (range(half), range(half, 2 * half))
                )
                piece = builder.fadd(low, high)
            lane = builder.extract_element(piece, ir.Constant(ir.IntType(32), 0))
            out = lane if out is None else builder.fadd(out, lane)
        return out

    return a.dtype(a), codegen


# --- exponential and logarithm ---------------------------------------------------------------------------------------------------

_TERMS = {"exp": {ir.FloatType(): 7, ir.DoubleType(): 13}, "log": {ir.FloatType(): 5, ir.DoubleType(): 11}}
_BITS = {ir.FloatType(): (32, 23, 127), ir.DoubleType(): (64, 52, 1023)}
_LN2_HIGH = {ir.FloatType(): 0.693359375, ir.DoubleType(): float.fromhex("0x1.62e42fee00000p-1")}
_LN2_LOW = {
    f: float(np.longdouble("0.693147180559945309417232121458176568") - np.longdouble(high)) for f, high in _LN2_HIGH.items()
}


def _horner(builder: ir.IRBuilder, x: ir.Value, coefficients: list[float]) -> ir.Value:
    out = _constant(x.type, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        out = _call(builder, "llvm.fma", out, x, _constant(x.type, c))
    return out


def _emit_exp(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, exp(r) by its Taylor series.

    0 below the normal range, infinity above it; NaN stays NaN.
    """
    vec, f = x.type, x.type.element
    width, mantissa, bias = _BITS[f]
    # from `highest` on the product below overflows by itself; the limit keeps n within what two exponents can hold
    lowest, highest = -(bias - 1) * math.log(2.0), (bias + 2) * math.log(2.0)
    tiny = builder.fcmp_ordered("<", x, _constant(vec, lowest))
    x = builder.select(builder.fcmp_ordered(">", x, _constant(vec, highest)), _constant(vec, highest), x)
    n = _call(builder, "llvm.rint", builder.fmul(x, _constant(vec, 1.0 / math.log(2.0))))
    r = _call(builder, "llvm.fma", n, _constant(vec, -_LN2_HIGH[f]), x)
    r = _call(builder, "llvm.fma", n, _constant(vec, -_LN2_LOW[f]), r)
    y = _horner(builder, r, [1.0 / math.factorial(k) for k in range(_TERMS["exp"][f] + 1)])
    n = builder.select(tiny, _constant(vec, 0.0), n)
    integers = ir.VectorType(ir.IntType(width), vec.count)
    # 2^n in two factors: n may be 128, whose exponent has no room in one
    half = builder.ashr(builder.fptosi(n, integers), _constant(integers, 1))
    rest = builder.sub(builder.fptosi(n, integers), half)
    for part in (half, rest):
        power = builder.shl(builder.add(part, _constant(integers, bias)), _constant(integers, mantissa))
        y = builder.fmul(y, builder.bitcast(power, vec))
    return builder.select(tiny, _constant(vec, 0.0), y)


def _emit_log(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """log(2^e f) = e ln(2) + 2 atanh((f - 1) / (f + 1)) with f in [sqrt(1/2), sqrt(2)).

    Minus infinity below the normal range; infinity and NaN stay as they are.
    """
    vec, fl = x.type, x.type.element
    width, mantissa, bias = _BITS[fl]
    integers = ir.VectorType(ir.IntType(width), vec.count)
    bits = builder.bitcast(x, integers)
    root = int(np.array(math.sqrt(0.5), np.float32 if width == 32 else np.float64).view(np.int32 if width == 32 else np.int64))
    shifted = builder.sub(bits, _constant(integers, root))
    e = builder.ashr(shifted, _constant(integers, mantissa))
    f = builder.bitcast(builder.sub(bits, builder.shl(e, _constant(integers, mantissa))), vec)
    e = builder.sitofp(e, vec)
    g = builder.fsub(f, _constant(vec, 1.0))
    s = builder.fdiv(g, builder.fadd(g, _constant(vec, 2.0)))
    square = builder.fmul(s, s)
    series = builder.fmul(square, _horner(builder, square, [2.0 / (2 * k + 1) for k in range(1, _TERMS["log"][fl])]))
    # 2 s = g - g^2 / 2 + s g^2 / 2: the leading term is then g, which is exact, and not s, which is rounded
    half = builder.fmul(builder.fmul(g, g), _constant(vec, 0.5))
    low = builder.fmul(e, _constant(vec, _LN2_LOW[fl]))
    low = builder.fsub(half, _call(builder, "llvm.fma", s, builder.fadd(half, series), low))
    y = _call(builder, "llvm.fma", e, _constant(vec, _LN2_HIGH[fl]), builder.fsub(g, low))
    y = builder.select(builder.fcmp_ordered("<", x, _constant(vec, 2.0 ** (1 - bias))), _constant(vec, -math.inf), y)
    return builder.select(builder.fcmp_unordered("==", x, _constant(vec, math.inf)), x, y)


@intrinsic
def exp(typingctx, a):
    """e to the a, within 1 unit in the last place; 0 below the normal range."""
    return _elementwise(_emit_exp)(a)


@intrinsic
def log(typingctx, a):
    """Natural logarithm of a >= 0, within 1 unit in the last place; minus infinity below the normal range."""
    return _elementwise(_emit_log)(a)


@intrinsic
def widen(typingctx, a):
    """float32 lanes as float64."""

    def emit(builder, x):
        return builder.fpext(x, ir.VectorType(ir.DoubleType(), x.type.count)) if x.type.element == ir.FloatType() else x

    return _elementwise(emit, lambda v: Vector(types.float64, v.lanes))(a)


@intrinsic
def narrow(typingctx, a, dtype):
    """float64 lanes rounded to `dtype`."""
    if dtype.dtype == types.float64:
        return _cast(lambda builder, x: x, a, dtype)
    return _cast(lambda builder, x: builder.fptrunc(x, ir.VectorType(ir.FloatType(), x.type.count)), a, dtype)


def _cast(emit, a, dtype):
    result = Vector(dtype.dtype, a.lanes)

    def codegen(context, builder, signature, values):
        return _join(builder, [emit(builder, piece) for piece in _split(builder, values[0])])

    return result(a, dtype), codegen


@intrinsic
def rint(typingctx, a):
    """The nearest integer, ties to even."""
    return _elementwise(lambda builder, x: _call(builder, "llvm.rint", x))(a)


@intrinsic
def magnitude(typingctx, a):
    """|a|"""
    return _elementwise(lambda builder, x: _call(builder, "llvm.fabs", x))(a)


@intrinsic
def prefetch(typingctx, base, offset):
    """Ask for the cache line of element `offset` of `base`, to be read soon."""

    def codegen(context, builder, signature, values):
        start = context.cast(builder, values[1], signature.args[1], types.int64)
        where = builder.bitcast(_gep(builder, values[0], start, _LLVM[base.dtype]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        fnty = ir.FunctionType(ir.VoidType(), [where.type, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, fnty, "llvm.prefetch.p0i8")
        builder.call(function, [where, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(base, offset), codegen


# --- several vectors at once -------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def repeat(typingctx, vector, count):
    """A tuple of `count` copies of a vector: the rows of a small matrix that stays in registers."""
    n = _literal(count)
    if n is None:
        return None
    result = types.UniTuple(vector, n)

    def codegen(context, builder, signature, values):
        return cgutils.pack_array(builder, [values[0]] * n)

    return result(vector, count), codegen


@intrinsic
def add_outer(typingctx, rows, column, at, vector):
    """`rows[k] + column[at + k] * vector` for each k: one outer product, added to a matrix in registers."""

    def codegen(context, builder, signature, values):
        start = context.cast(builder, values[2], signature.args[2], types.int64)
        element, out = _LLVM[column.dtype], []
        for k, row in enumerate(cgutils.unpack_tuple(builder, values[0], rows.count)):
            where = _gep(builder, values[1], builder.add(start, ir.Constant(ir.IntType(64), k)), element)
            scalar = builder.load(where, align=_bytes(element))
            pieces = []
            for acc, piece in zip(_split(builder, row), _split(builder, values[3]), strict=True):
                pieces.append(_call(builder, "llvm.fma", _broadcast(builder, scalar, piece.type), piece, acc))
            out.append(_join(builder, pieces))
        return cgutils.pack_array(builder, out)

    return rows(rows, column, at, vector), codegen


@intrinsic
def add_rows(typingctx, base, offset, stride, rows):
    """Add `rows[k]` to the elements of `base` from `offset + k * stride` on, for each k. `base` may be the wider dtype."""

    def codegen(context, builder, signature, values):
        start, step = (context.cast(builder, values[n], signature.args[n], types.int64) for n in (1, 2))
        element = _LLVM[base.dtype]
        for row in cgutils.unpack_tuple(builder, values[3], rows.count):
            at = start
            for piece in _split(builder, row):
                where = _gep(builder, values[0], at, element)
                if piece.type.element != element:
                    piece = builder.fpext(piece, ir.VectorType(element, piece.type.count))
                total = builder.fadd(_load_piece(builder, where, element, piece.type.count), piece)
                builder.store(total, builder.bitcast(where, piece.type.as_pointer()), align=_bytes(element))
                at = builder.add(at, ir.Constant(ir.IntType(64), piece.type.count))
            start = builder.add(start, step)
        return context.get_dummy_value()

    return types.void(base, offset, stride, rows), codegen
