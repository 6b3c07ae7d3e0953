"""Arithmetic, comparison and conversion of vectors, lane by lane, and their sum over the lanes."""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import functools

from llvmlite import ir
from numba.core import cgutils, types

from revgnn.kernels.cpu.simd.vector import PIECE, Vector, call, constant, elementwise, intrinsic, join, split


def _mask(a: Vector, *_: types.Type) -> Vector:
    return Vector(types.boolean, a.lanes)


@intrinsic
def add(typingctx, a, b):
    """Return a + b."""
    return elementwise(lambda builder, x, y: builder.fadd(x, y))(a, b)


@intrinsic
def sub(typingctx, a, b):
    """Return a - b."""
    return elementwise(lambda builder, x, y: builder.fsub(x, y))(a, b)


@intrinsic
def mul(typingctx, a, b):
    """Return a * b."""
    return elementwise(lambda builder, x, y: builder.fmul(x, y))(a, b)


@intrinsic
def div(typingctx, a, b):
    """Return a / b."""
    return elementwise(lambda builder, x, y: builder.fdiv(x, y))(a, b)


@intrinsic
def fma(typingctx, a, b, c):
    """Return a * b + c, rounded once."""
    return elementwise(lambda builder, x, y, z: call(builder, "llvm.fma", x, y, z))(a, b, c)


@intrinsic
def fms(typingctx, a, b, c):
    """Return a * b - c, rounded once."""
    return elementwise(lambda builder, x, y, z: call(builder, "llvm.fma", x, y, builder.fneg(z)))(a, b, c)


@intrinsic
def greater(typingctx, a, b):
    """Return the mask a > b, false where either is NaN."""
    return elementwise(lambda builder, x, y: builder.fcmp_ordered(">", x, y), _mask)(a, b)


@intrinsic
def exceeds(typingctx, a, b):
    """Return the mask of lanes where a > b or a is NaN. A running maximum with this mask keeps a NaN, as torch's does."""

    def emit(builder, x, y):
        return builder.or_(builder.fcmp_ordered(">", x, y), builder.fcmp_unordered("uno", x, x))

    return elementwise(emit, _mask)(a, b)


@intrinsic
def relu(typingctx, a):
    """Return max(a, 0), and NaN where a is NaN."""

    def emit(builder, x):
        zero = constant(x.type, 0.0)
        return builder.select(builder.fcmp_ordered(">", zero, x), zero, x)  # one instruction: this operand order keeps a NaN

    return elementwise(emit)(a)


@intrinsic
def larger(typingctx, a, b):
    """Return a where a > b, else b, which includes lanes where either is NaN."""
    return elementwise(lambda builder, x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y))(a, b)


@intrinsic
def any_nan(typingctx, a):
    """Return whether a lane is NaN."""

    def codegen(context, builder, signature, values):
        found = ir.Constant(ir.IntType(1), 0)
        for piece in split(builder, values[0]):
            mask = builder.fcmp_unordered("uno", piece, piece)
            bits = builder.bitcast(mask, ir.IntType(piece.type.count))
            found = builder.or_(found, builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)))
        return found

    return types.boolean(a), codegen


@intrinsic
def nonzero_bits(typingctx, a):
    """Return an int64 whose bit k says whether lane k differs from 0, as NaN does. At most 64 lanes."""

    def codegen(context, builder, signature, values):
        word = ir.IntType(64)
        bits, lane = ir.Constant(word, 0), 0
        for piece in split(builder, values[0]):
            mask = builder.fcmp_unordered("!=", piece, constant(piece.type, 0.0))
            part = builder.zext(builder.bitcast(mask, ir.IntType(piece.type.count)), word)
            bits, lane = builder.or_(bits, builder.shl(part, ir.Constant(word, lane))), lane + piece.type.count
        return bits

    return types.int64(a), codegen


@intrinsic
def count_bits(typingctx, bits):
    """Return how many bits of an int64 are set."""
    return types.int64(types.int64), lambda context, builder, signature, values: builder.ctpop(values[0])


@intrinsic
def lowest_bit(typingctx, bits):
    """Return the position of the lowest bit of an int64 that is set; 64 if none is."""

    def codegen(context, builder, signature, values):
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """Return a where the mask is set, else b."""
    return elementwise(lambda builder, m, x, y: builder.select(m, x, y), lambda m, x, y: x)(mask, a, b)


def _sum_of_piece(builder: ir.IRBuilder, piece: ir.Value) -> ir.Value:
    element, count = piece.type.element, piece.type.count
    name = f"llvm.vector.reduce.fadd.v{count}{'f32' if element == ir.FloatType() else 'f64'}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(element, [element, piece.type]), name)
    # the flag allows pairwise addition; without it the operation adds one lane after the other
    return builder.call(function, [ir.Constant(element, -0.0), piece], fastmath=("reassoc",))


@intrinsic
def total(typingctx, a):
    """Return the sum over the lanes, in a fixed order.

    Full pieces are added from first to last, lane by lane, then the lanes of each piece pairwise.
    """

    def codegen(context, builder, signature, values):
        pieces = split(builder, values[0])
        whole = [piece for piece in pieces if piece.type.count == PIECE]
        if whole:
            pieces = [functools.reduce(builder.fadd, whole), *pieces[len(whole) :]]
        return functools.reduce(builder.fadd, (_sum_of_piece(builder, piece) for piece in pieces))

    return a.dtype(a), codegen


@intrinsic
def widen(typingctx, a):
    """Return float32 lanes as float64."""

    def emit(builder, x):
        return builder.fpext(x, ir.VectorType(ir.DoubleType(), x.type.count)) if x.type.element == ir.FloatType() else x

    return elementwise(emit, lambda v: Vector(types.float64, v.lanes))(a)


@intrinsic
def narrow(typingctx, a, dtype):
    """Return float64 lanes rounded to `dtype`."""
    if dtype.dtype == types.float64:
        return _cast(lambda builder, x: x, a, dtype)
    return _cast(lambda builder, x: builder.fptrunc(x, ir.VectorType(ir.FloatType(), x.type.count)), a, dtype)


def _cast(emit, a, dtype):
    result = Vector(dtype.dtype, a.lanes)

    def codegen(context, builder, signature, values):
        return join(builder, [emit(builder, piece) for piece in split(builder, values[0])])

    return result(a, dtype), codegen


@intrinsic
def rint(typingctx, a):
    """Return the nearest integer, ties to even."""
    return elementwise(lambda builder, x: call(builder, "llvm.rint", x))(a)


@intrinsic
def sqrt(typingctx, a):
    """Return the square root."""
    return elementwise(lambda builder, x: call(builder, "llvm.sqrt", x))(a)


@intrinsic
def magnitude(typingctx, a):
    """Return |a|."""
    return elementwise(lambda builder, x: call(builder, "llvm.fabs", x))(a)
