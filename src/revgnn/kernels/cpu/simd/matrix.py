"""Several vectors at once: small matrices that stay in registers."""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types

from revgnn.kernels.cpu.elements import float16
from revgnn.kernels.cpu.simd.vector import (
    LLVM,
    PIECE,
    REGISTER_BYTES,
    Vector,
    broadcast,
    bytes_of,
    call,
    constant,
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
    """Return a tuple of `count` copies of a vector: the rows of a small matrix that stays in registers."""
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
    """Return a function of k and a vector type: a vector with element `at + k * step` of a column in each lane, for k < `count`.

    A column of 16-bit numbers, whose `step` is 1, is loaded as a whole and converted once.
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
    """Return 16-bit lanes as `to`."""
    vec = ir.VectorType(to, piece.type.count)
    if dtype == float16:
        return builder.fpext(piece, vec)
    if dtype == types.int16:
        return builder.sitofp(piece, vec)
    wide = ir.VectorType(ir.IntType(32), piece.type.count)  # bfloat16: the upper half of a float32
    single = ir.VectorType(ir.FloatType(), piece.type.count)
    out = builder.bitcast(builder.shl(builder.zext(piece, wide), ir.Constant(wide, [16] * piece.type.count)), single)
    return out if to == ir.FloatType() else builder.fpext(out, vec)


@intrinsic(prefer_literal=True)
def load_converted(typingctx, base, offset, lanes, dtype):
    """Return `lanes` consecutive elements of `base`, from element `offset` on, as `dtype`.

    They may be int16, float16 or bfloat16.
    """
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
    """Return `vector + sum over k of column[at + k] * row_k`, where row k is the elements of `base` from `offset + k * stride` on.

    The column may be int16, float16 or bfloat16.
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
    """Return `rows[k] + column[at + k] * vector` for each k: an outer product, added to a matrix in registers.

    The column may be int16, float16 or bfloat16.
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


def _lanes_of(builder: Any, x: Any, y: Any, which: Sequence[int]) -> Any:
    """Return the lanes `which` of x and y. The numbers of the lanes of y follow those of x."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(which)), list(which)))


@intrinsic
def fold(typingctx, a):
    """Return the sum of the pieces of a vector: 16 lanes. Lanes that `a` does not have count as 0."""
    result = Vector(a.dtype, PIECE)

    def codegen(context, builder, signature, values):
        out, filled = [], 0
        for piece in split(builder, values[0]):
            n = piece.type.count
            if n < PIECE:  # the narrow last pieces are placed side by side, with zeros around each
                which = [n] * filled + [*range(n)] + [n] * (PIECE - filled - n)
                piece, filled = _lanes_of(builder, piece, constant(piece.type, 0.0), which), filled + n
            out.append(piece)
        return join(builder, [functools.reduce(builder.fadd, out)])

    return result(a), codegen


def _halves(low: Sequence[int], high: Sequence[int], beside: int) -> tuple[list[int], list[int]]:
    """Return two selections of lanes of vectors x and y: at `low`, and at `high`. Runs of `beside` lanes alternate between both."""
    runs = [range(i, i + beside) for i in range(0, len(low), beside)]
    pick = [[side[i] + of for run in runs for of in (0, PIECE) for i in run] for side in (low, high)]
    return pick[0], pick[1]


_HALVINGS = (
    _halves([0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15], 1),
    _halves([0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15], 2),
    _halves([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15], 8),
    _halves([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15], 8),
)
"""Four steps from 16 vectors, one for each row, to one vector of 16 totals.

Each step adds two selections of lanes of two vectors. The sum has half as many terms of a row, of twice as many rows. The first
steps move lanes within 128 bits only, which is cheap.
"""


@intrinsic
def row_totals(typingctx, base, offset):
    """Return the sums of 16 rows of 16 elements, from element `offset` on, one lane each. All rows add in the same order."""
    result = Vector(base.dtype, PIECE)

    def codegen(context, builder, signature, values):
        at, element, rows = context.cast(builder, values[1], signature.args[1], types.int64), LLVM[base.dtype], []
        for _ in range(PIECE):
            rows.append(load_piece(builder, element_at(builder, values[0], at, element), element, PIECE))
            at = builder.add(at, ir.Constant(ir.IntType(64), PIECE))
        for low, high in _HALVINGS:
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [builder.fadd(_lanes_of(builder, x, y, low), _lanes_of(builder, x, y, high)) for x, y in pairs]
        return join(builder, rows)

    return result(base, offset), codegen


class _Cell(NamedTuple):
    """One accumulator of a tile: `lanes` columns from `column` on, of each of the rows `rows`, one after the other."""

    column: int
    lanes: int
    rows: range


def _cells(rows: int, lanes: int, element: ir.Type) -> list[_Cell]:
    """Cut a tile into accumulators. Where columns fill half a register, two rows share one register, side by side."""
    cells, column = [], 0
    for n in pieces_of(lanes):
        share = 2 if rows % 2 == 0 and 2 * n * bytes_of(element) == REGISTER_BYTES else 1
        cells += [_Cell(column, n, range(m, m + share)) for m in range(0, rows, share)]
        column += n
    return sorted(cells, key=lambda cell: cell.rows[0])


def _beside(builder: Any, parts: list[Any]) -> Any:
    """Return one vector, or two as one."""
    return parts[0] if len(parts) == 1 else _lanes_of(builder, parts[0], parts[1], range(2 * parts[0].type.count))


@intrinsic(prefer_literal=True)
def product_tile(
    typingctx, a, a_at, a_row, a_step, b, b_at, b_row, depth, start, start_at, start_row, out, out_at, out_row, rows, lanes
):
    """Compute `out = start + A B` for a tile of `rows` by `lanes` that stays in registers during the sums over `depth` terms.

    `start` is added to the sum of the terms, not the terms to it, so that a long sum in several calls loses fewer digits.
    `A[m, k]` is `a[a_at + m * a_row + k * a_step]`, `B[k]` the `lanes` elements of `b` from `b_at + k * b_row` on; rows of `start`
    and `out` begin at `start_at + m * start_row` and `out_at + m * out_row`. This is one intrinsic because
    LLVM takes minutes to compile a loop over tuples of vectors.
    """
    count, width = literal(rows), literal(lanes)
    if count is None or width is None:
        return None
    i64 = ir.IntType(64)

    def codegen(context, builder, signature, values):
        (a, a_at, a_row, a_step, b, b_at, b_row, depth, start, start_at, start_row, out, out_at, out_row) = (
            value if isinstance(kind, types.CPointer) else context.cast(builder, value, kind, types.int64)
            for value, kind in zip(values[:-2], signature.args[:-2], strict=True)
        )
        element, zero = LLVM[out_type], ir.Constant(i64, 0)
        cells = _cells(count, width, element)

        def place(base, at, row, m, column=0):
            at = builder.add(at, builder.mul(row, ir.Constant(i64, m)))
            return element_at(builder, base, builder.add(at, ir.Constant(i64, column)), element)

        def scalar(at, m, n):
            value = builder.load(place(a, at, a_row, m), align=bytes_of(element))
            return broadcast(builder, value, ir.VectorType(element, n))

        initial = [constant(ir.VectorType(element, n * len(rows)), 0.0) for _, n, rows in cells]
        before, body, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("sums")
        builder.cbranch(builder.icmp_signed("<", zero, depth), body, after)

        builder.position_at_end(body)
        k = builder.phi(i64)
        sums = [builder.phi(value.type) for value in initial]
        a_now, b_now = builder.add(a_at, builder.mul(k, a_step)), builder.add(b_at, builder.mul(k, b_row))
        vectors = {c: load_piece(builder, place(b, b_now, zero, 0, c), element, n) for c, n, _ in cells}
        added = []
        for (c, n, rows), total in zip(cells, sums, strict=True):
            factors = _beside(builder, [scalar(a_now, m, n) for m in rows])
            added.append(call(builder, "llvm.fma", factors, _beside(builder, [vectors[c]] * len(rows)), total))
        next_k = builder.add(k, ir.Constant(i64, 1))
        builder.cbranch(builder.icmp_signed("<", next_k, depth), body, after)
        for phi, entering, again in zip([k, *sums], [zero, *initial], [next_k, *added], strict=True):
            phi.add_incoming(entering, before)
            phi.add_incoming(again, body)

        builder.position_at_end(after)
        totals = [builder.phi(value.type) for value in initial]
        for phi, entering, again in zip(totals, initial, added, strict=True):
            phi.add_incoming(entering, before)
            phi.add_incoming(again, body)
        for (c, n, rows), total in zip(cells, totals, strict=True):
            starts = [load_piece(builder, place(start, start_at, start_row, m, c), element, n) for m in rows]
            total = builder.fadd(_beside(builder, starts), total)
            for i, m in enumerate(rows):
                part = total if len(rows) == 1 else _lanes_of(builder, total, total, range(i * n, i * n + n))
                where = builder.bitcast(place(out, out_at, out_row, m, c), part.type.as_pointer())
                builder.store(part, where, align=bytes_of(element))
        return context.get_dummy_value()

    out_type = out.dtype
    arguments = (a, a_at, a_row, a_step, b, b_at, b_row, depth, start, start_at, start_row, out, out_at, out_row, rows, lanes)
    return types.void(*arguments), codegen


@intrinsic(prefer_literal=True)
def load_rows(typingctx, base, offset, stride, lanes, count):
    """Return a small matrix in registers: `count` rows, where row k is `lanes` elements of `base` from `offset + k * stride` on."""
    width, n = literal(lanes), literal(count)
    if width is None or n is None:
        return None
    result = types.UniTuple(Vector(base.dtype, width), n) if n else types.Tuple(())

    def codegen(context, builder, signature, values):
        if n == 0:
            return cgutils.get_null_value(context.get_value_type(result))
        start, step = (context.cast(builder, values[i], signature.args[i], types.int64) for i in (1, 2))
        element, rows = LLVM[base.dtype], []
        for _ in range(n):
            at, row = start, []
            for lanes_of_piece in pieces_of(width):
                row.append(load_piece(builder, element_at(builder, values[0], at, element), element, lanes_of_piece))
                at = builder.add(at, ir.Constant(ir.IntType(64), lanes_of_piece))
            rows.append(join(builder, row))
            start = builder.add(start, step)
        return cgutils.pack_array(builder, rows)

    return result(base, offset, stride, lanes, count), codegen


@intrinsic
def add_product(typingctx, vector, column, at, rows):
    """Return `vector + sum over k of column[at + k] * rows[k]`: a column times a matrix in registers.

    The column may be int16, float16 or bfloat16.
    """

    def codegen(context, builder, signature, values):
        if rows.count == 0:
            return values[0]
        at, one = context.cast(builder, values[2], signature.args[2], types.int64), ir.Constant(ir.IntType(64), 1)
        scalar = _scalars(builder, values[1], column.dtype, at, one, rows.count, vector.dtype)
        pieces = split(builder, values[0])
        for k, row in enumerate(cgutils.unpack_tuple(builder, values[3], rows.count)):
            pieces = [
                call(builder, "llvm.fma", scalar(k, piece.type), factor, piece)
                for factor, piece in zip(split(builder, row), pieces, strict=True)
            ]
        return join(builder, pieces)

    return vector(vector, column, at, rows), codegen
