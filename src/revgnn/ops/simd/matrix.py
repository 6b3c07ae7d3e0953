"""Several vectors at once: small matrices that stay in registers."""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from revgnn.ops.simd.vector import (
    LLVM,
    Vector,
    broadcast,
    bytes_of,
    call,
    element_at,
    intrinsic,
    join,
    literal,
    load_piece,
    pieces_of,
    split,
)


@intrinsic(prefer_literal=True)
def repeat(typingctx, vector, count):
    """A tuple of `count` copies of a vector: the rows of a small matrix that stays in registers."""
    n = literal(count)
    if n is None:
        return None
    result = types.UniTuple(vector, n)

    def codegen(context, builder, signature, values):
        return cgutils.pack_array(builder, [values[0]] * n)

    return result(vector, count), codegen


def _scalars(
    builder: Any, column: Any, dtype: types.Type, at: Any, step: Any, count: int, to: types.Type
) -> Callable[[int, Any], Any]:
    """Elements `at + k * step` of a column, for k below `count`: a function of k and a vector type, the element in each lane.

    A column of 16-bit numbers (of `step` 1) is loaded whole and converted at once.
    """
    element, i64 = LLVM[dtype], ir.IntType(64)
    if dtype == to:

        def loaded(k: int, vec: Any) -> Any:
            where = element_at(builder, column, builder.add(at, builder.mul(step, ir.Constant(i64, k))), element)
            return broadcast(builder, builder.load(where, align=bytes_of(element)), vec)

        return loaded

    pieces, lanes = [], []
    for n in pieces_of(count):
        where = element_at(builder, column, builder.add(at, ir.Constant(i64, len(lanes))), element)
        pieces.append(_converted(builder, load_piece(builder, where, element, n), dtype, LLVM[to]))
        lanes += [(len(pieces) - 1, lane) for lane in range(n)]

    def converted(k: int, vec: Any) -> Any:
        piece, lane = lanes[k]
        index = ir.Constant(ir.VectorType(ir.IntType(32), vec.count), [lane] * vec.count)
        return builder.shuffle_vector(pieces[piece], ir.Constant(pieces[piece].type, ir.Undefined), index)

    return converted


def _converted(builder: Any, piece: Any, dtype: types.Type, to: ir.Type) -> Any:
    """16-bit lanes as `to`."""
    vec = ir.VectorType(to, piece.type.count)
    if dtype == types.int8:
        return builder.fpext(piece, vec)
    if dtype == types.int16:
        return builder.sitofp(piece, vec)
    wide = ir.VectorType(ir.IntType(32), piece.type.count)  # bfloat16: the upper half of a float32
    single = ir.VectorType(ir.FloatType(), piece.type.count)
    out = builder.bitcast(builder.shl(builder.zext(piece, wide), ir.Constant(wide, [16] * piece.type.count)), single)
    return out if to == ir.FloatType() else builder.fpext(out, vec)


@intrinsic(prefer_literal=True)
def load_converted(typingctx, base, offset, lanes, dtype):
    """`lanes` consecutive elements of `base`, from element `offset` on, as `dtype`. They may be int16, float16 (as
    `int8`) or bfloat16 (as `uint16`)."""
    n = literal(lanes)
    if n is None:
        return None
    result = Vector(dtype.dtype, n)

    def codegen(context, builder, signature, values):
        at, element, out = context.cast(builder, values[1], signature.args[1], types.int64), LLVM[base.dtype], []
        for count in pieces_of(n):
            piece = load_piece(builder, element_at(builder, values[0], at, element), element, count)
            out.append(piece if base.dtype == dtype.dtype else _converted(builder, piece, base.dtype, LLVM[dtype.dtype]))
            at = builder.add(at, ir.Constant(ir.IntType(64), count))
        return join(builder, out)

    return result(base, offset, lanes, dtype), codegen


@intrinsic(prefer_literal=True)
def add_encoded(typingctx, vector, column, at, base, offset, stride, count):
    """`vector + sum over k of column[at + k] * row_k`: row k is as many elements of `base` from `offset + k * stride` on.

    The column may be int16, float16 (as `int8`) or bfloat16 (as `uint16`).
    """
    n = literal(count)
    if n is None:
        return None

    def codegen(context, builder, signature, values):
        at, offset, stride = (context.cast(builder, values[i], signature.args[i], types.int64) for i in (2, 4, 5))
        element, one = LLVM[base.dtype], ir.Constant(ir.IntType(64), 1)
        scalar = _scalars(builder, values[1], column.dtype, at, one, n, base.dtype)
        pieces = split(builder, values[0])
        for k in range(n):
            where = builder.add(offset, builder.mul(stride, ir.Constant(ir.IntType(64), k)))
            for i, piece in enumerate(pieces):
                row = load_piece(builder, element_at(builder, values[3], where, element), element, piece.type.count)
                pieces[i] = call(builder, "llvm.fma", scalar(k, piece.type), row, piece)
                where = builder.add(where, ir.Constant(ir.IntType(64), piece.type.count))
        return join(builder, pieces)

    return vector(vector, column, at, base, offset, stride, count), codegen


@intrinsic
def add_outer(typingctx, rows, column, at, vector):
    """`rows[k] + column[at + k] * vector` for each k: one outer product, added to a matrix in registers.

    The column may be int16, float16 (as `int8`) or bfloat16 (as `uint16`).
    """

    def codegen(context, builder, signature, values):
        at, one = context.cast(builder, values[2], signature.args[2], types.int64), ir.Constant(ir.IntType(64), 1)
        scalar = _scalars(builder, values[1], column.dtype, at, one, rows.count, vector.dtype)
        vectors, out = split(builder, values[3]), []
        for k, row in enumerate(cgutils.unpack_tuple(builder, values[0], rows.count)):
            added = [
                call(builder, "llvm.fma", scalar(k, piece.type), piece, acc)
                for acc, piece in zip(split(builder, row), vectors, strict=True)
            ]
            out.append(join(builder, added))
        return cgutils.pack_array(builder, out)

    return rows(rows, column, at, vector), codegen


@intrinsic
def add_rows(typingctx, base, offset, stride, rows):
    """Add `rows[k]` to the elements of `base` from `offset + k * stride` on, for each k. `base` may be the wider dtype."""

    def codegen(context, builder, signature, values):
        start, step = (context.cast(builder, values[n], signature.args[n], types.int64) for n in (1, 2))
        element = LLVM[base.dtype]
        for row in cgutils.unpack_tuple(builder, values[3], rows.count):
            at = start
            for piece in split(builder, row):
                where = element_at(builder, values[0], at, element)
                if piece.type.element != element:
                    piece = builder.fpext(piece, ir.VectorType(element, piece.type.count))
                total = builder.fadd(load_piece(builder, where, element, piece.type.count), piece)
                builder.store(total, builder.bitcast(where, piece.type.as_pointer()), align=bytes_of(element))
                at = builder.add(at, ir.Constant(ir.IntType(64), piece.type.count))
            start = builder.add(start, step)
        return context.get_dummy_value()

    return types.void(base, offset, stride, rows), codegen


@intrinsic(prefer_literal=True)
def product_tile(
    typingctx, a, a_at, a_row, a_step, b, b_at, b_row, depth, start, start_at, start_row, out, out_at, out_row, rows, lanes
):
    """`out = start + A B` for a tile of `rows` by `lanes`, kept in registers while the sums over `depth` terms run.

    `A[m, k]` is `a[a_at + m * a_row + k * a_step]`, `B[k]` the `lanes` elements of `b` from `b_at + k * b_row` on; rows of `start`
    and `out` begin at `start_at + m * start_row` and `out_at + m * out_row`. One intrinsic rather than a loop over tuples of
    vectors: LLVM takes minutes to see through those.
    """
    count, width = literal(rows), literal(lanes)
    if count is None or width is None:
        return None
    pieces, i64 = pieces_of(width), ir.IntType(64)

    def codegen(context, builder, signature, values):
        (a, a_at, a_row, a_step, b, b_at, b_row, depth, start, start_at, start_row, out, out_at, out_row) = (
            value if isinstance(kind, types.CPointer) else context.cast(builder, value, kind, types.int64)
            for value, kind in zip(values[:-2], signature.args[:-2], strict=True)
        )
        element = LLVM[out_type]

        def each_piece(base, at):
            for n in pieces:
                yield n, element_at(builder, base, at, element)
                at = builder.add(at, ir.Constant(i64, n))

        def row_at(at, row, m):
            return builder.add(at, builder.mul(row, ir.Constant(i64, m)))

        initial = [
            load_piece(builder, where, element, n)
            for m in range(count)
            for n, where in each_piece(start, row_at(start_at, start_row, m))
        ]
        before, body, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("sums")
        zero = ir.Constant(i64, 0)
        builder.cbranch(builder.icmp_signed("<", zero, depth), body, after)

        builder.position_at_end(body)
        k = builder.phi(i64)
        sums = [builder.phi(value.type) for value in initial]
        vectors = [load_piece(builder, where, element, n) for n, where in each_piece(b, builder.add(b_at, builder.mul(k, b_row)))]
        first, added = builder.add(a_at, builder.mul(k, a_step)), []
        for m in range(count):
            scalar = builder.load(element_at(builder, a, row_at(first, a_row, m), element), align=bytes_of(element))
            for n, vector in enumerate(vectors):
                spread = broadcast(builder, scalar, vector.type)
                added.append(call(builder, "llvm.fma", spread, vector, sums[m * len(pieces) + n]))
        next_k = builder.add(k, ir.Constant(i64, 1))
        builder.cbranch(builder.icmp_signed("<", next_k, depth), body, after)
        for phi, entering, again in zip([k, *sums], [zero, *initial], [next_k, *added], strict=True):
            phi.add_incoming(entering, before)
            phi.add_incoming(again, body)

        builder.position_at_end(after)
        totals = []
        for entering, again in zip(initial, added, strict=True):
            phi = builder.phi(entering.type)
            phi.add_incoming(entering, before)
            phi.add_incoming(again, body)
            totals.append(phi)
        totals = iter(totals)
        for m in range(count):
            for n, where in each_piece(out, row_at(out_at, out_row, m)):
                target = builder.bitcast(where, ir.VectorType(element, n).as_pointer())
                builder.store(next(totals), target, align=bytes_of(element))
        return context.get_dummy_value()

    out_type = out.dtype
    arguments = (a, a_at, a_row, a_step, b, b_at, b_row, depth, start, start_at, start_row, out, out_at, out_row, rows, lanes)
    return types.void(*arguments), codegen
