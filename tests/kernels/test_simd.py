"""The vectors that kernels are written in: memory, arithmetic, exponential and logarithm, lane by lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from revgnn.kernels.cpu.simd import (
    add,
    add_product,
    count_bits,
    div,
    exceeds,
    exp,
    exp2_falling,
    fma,
    fms,
    fold,
    greater,
    load,
    load_rows,
    log,
    log2,
    lowest_bit,
    mul,
    narrow,
    nonzero_bits,
    pointer,
    power,
    power_of_2,
    product_tile,
    row_totals,
    select,
    splat,
    sqrt,
    store,
    sub,
    total,
    widen,
)

LANES = [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 40]
DTYPES = [np.float32, np.float64]


def elementwise(function: Callable[..., Any], values: np.ndarray, lanes: int = 16) -> np.ndarray:
    """`function` of a vector, over all of `values` (a multiple of `lanes`)."""
    dtype = np.dtype(values.dtype).type

    @njit
    def walk(source, target, count):
        x, out = pointer(source, dtype), pointer(target, dtype)
        for at in range(0, count, lanes):
            store(out, at, function(load(x, at, lanes)))

    assert values.size % lanes == 0
    out = np.full_like(values, np.nan)
    walk(values.ctypes.data, out.ctypes.data, values.size)
    return out


def units_in_the_last_place(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance from `truth` (more precise) in the spacing of the dtype of `values` there."""
    return np.abs(values.astype(truth.dtype) - truth) / np.spacing(np.abs(truth).astype(values.dtype))


@pytest.mark.parametrize("lanes", LANES)
def test_load_and_store_touch_their_lanes_alone(lanes: int) -> None:
    @njit
    def copy(source, target):
        store(pointer(target, np.float32), 3, load(pointer(source, np.float32), 5, lanes))

    source, target = np.arange(100, dtype=np.float32), np.full(100, -1, np.float32)
    copy(source.ctypes.data, target.ctypes.data)
    expected = np.full(100, -1, np.float32)
    expected[3 : 3 + lanes] = source[5 : 5 + lanes]
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("lanes", [1, 7, 40])
def test_arithmetic(lanes: int) -> None:
    @njit
    def compute(a_, b_, target):
        a, b, out = load(pointer(a_, np.float64), 0, lanes), load(pointer(b_, np.float64), 0, lanes), pointer(target, np.float64)
        store(out, 0, add(a, b))
        store(out, lanes, sub(a, b))
        store(out, 2 * lanes, mul(a, b))
        store(out, 3 * lanes, div(a, b))
        store(out, 4 * lanes, fma(a, b, splat(0.25, lanes)))
        store(out, 5 * lanes, sqrt(mul(a, a)))

    a, b = np.random.default_rng(0).normal(size=(2, lanes))
    out = np.full((6, lanes), np.nan)
    compute(a.ctypes.data, b.ctypes.data, out.ctypes.data)
    np.testing.assert_array_equal(out[:4], [a + b, a - b, a * b, a / b])
    np.testing.assert_allclose(out[4], a * b + 0.25, rtol=1e-15)
    np.testing.assert_array_equal(out[5], np.sqrt(a * a))


def test_fma_rounds_once() -> None:
    @njit
    def compute(values):
        x = pointer(values, np.float32)
        store(x, 3, fma(load(x, 0, 1), load(x, 1, 1), load(x, 2, 1)))

    a = np.float32(1 + 2**-12)
    values = np.array([a, a, -(1 + 2**-11), np.nan], np.float32)
    compute(values.ctypes.data)
    assert values[3] == 2**-24  # rounding the product first would leave 0


def test_fms_rounds_once() -> None:
    @njit
    def compute(values):
        x = pointer(values, np.float32)
        store(x, 3, fms(load(x, 0, 1), load(x, 1, 1), load(x, 2, 1)))

    a = np.float32(1 + 2**-12)
    values = np.array([a, a, 1 + 2**-11, np.nan], np.float32)
    compute(values.ctypes.data)
    assert values[3] == 2**-24


@pytest.mark.parametrize("count", [0, 1, 3, 8])
@pytest.mark.parametrize("lanes", [1, 7, 16, 40])
def test_a_column_times_a_matrix_in_registers(lanes: int, count: int) -> None:
    stride = lanes + 3

    @njit
    def compute(vector, column, matrix, target):
        rows = load_rows(pointer(matrix, np.float64), 2, stride, lanes, count)
        start = load(pointer(vector, np.float64), 0, lanes)
        store(pointer(target, np.float64), 0, add_product(start, pointer(column, np.float64), 1, rows))

    rng = np.random.default_rng(0)
    vector, column, matrix, out = (
        rng.normal(size=lanes),
        rng.normal(size=count + 1),
        rng.normal(size=2 + 9 * stride),
        np.zeros(lanes),
    )
    compute(vector.ctypes.data, column.ctypes.data, matrix.ctypes.data, out.ctypes.data)
    rows = [matrix[2 + k * stride : 2 + k * stride + lanes] for k in range(count)]
    expected = vector + sum((column[k + 1] * row for k, row in enumerate(rows)), np.zeros(lanes))
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("lanes", [1, 5, 16, 40])
def test_masks_and_select(lanes: int) -> None:
    @njit
    def compute(a_, b_, target):
        a, b, out = load(pointer(a_, np.float32), 0, lanes), load(pointer(b_, np.float32), 0, lanes), pointer(target, np.float32)
        store(out, 0, select(greater(a, b), a, b))
        store(out, lanes, select(exceeds(a, b), a, b))

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, lanes)).astype(np.float32)
    a[::3], b[1::3] = np.nan, np.nan
    out = np.zeros((2, lanes), np.float32)
    compute(a.ctypes.data, b.ctypes.data, out.ctypes.data)
    np.testing.assert_array_equal(out[0], np.where(a > b, a, b))
    np.testing.assert_array_equal(out[1], np.where((a > b) | np.isnan(a), a, b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lanes", [1, 7, 40, 64])
def test_bits_of_lanes_that_are_not_zero(lanes: int, dtype: Any) -> None:
    @njit
    def compute(values):
        bits = nonzero_bits(load(pointer(values, dtype), 0, lanes))
        return bits, count_bits(bits), lowest_bit(bits)

    values = np.random.default_rng(lanes).choice(np.array([0, -0.0, 1e-42, np.nan, -3], dtype), lanes)
    for row in (values, np.zeros(lanes, dtype), np.ones(lanes, dtype)):
        bits, count, lowest = compute(row.ctypes.data)
        where = np.flatnonzero(row != 0)
        assert [k for k in range(64) if int(bits) >> k & 1] == [*where]
        assert count == len(where)
        assert lowest == (where[0] if len(where) else 64)


@pytest.mark.parametrize("lanes", LANES)
def test_total(lanes: int) -> None:
    @njit
    def compute(values):
        return total(load(pointer(values, np.float64), 0, lanes))

    values = np.random.default_rng(0).normal(size=lanes)
    np.testing.assert_allclose(compute(values.ctypes.data), values.sum(), rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("lanes", [*LANES, 64])
def test_fold(lanes: int, dtype: Any) -> None:
    @njit
    def compute(source, target):
        store(pointer(target, dtype), 0, fold(load(pointer(source, dtype), 0, lanes)))

    values, out = np.arange(1, lanes + 1, dtype=dtype), np.full(16, np.nan, dtype)
    compute(values.ctypes.data, out.ctypes.data)
    expected = np.zeros((-(-lanes // 16), 16), dtype)
    expected.flat[:lanes] = values
    np.testing.assert_array_equal(out, expected.sum(0))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_row_totals_do_not_depend_on_where_a_row_stands(dtype: Any) -> None:
    @njit
    def compute(source, target):
        store(pointer(target, dtype), 0, row_totals(pointer(source, dtype), 0))

    values, out, same = np.random.default_rng(0).normal(size=(16, 16)).astype(dtype), np.zeros(16, dtype), np.zeros(16, dtype)
    compute(values.ctypes.data, out.ctypes.data)
    np.testing.assert_allclose(out, values.sum(1), atol=100 * np.finfo(dtype).eps)
    for r in range(16):
        repeated = np.ascontiguousarray(np.broadcast_to(values[r], (16, 16)))
        compute(repeated.ctypes.data, same.ctypes.data)
        assert (same == out[r]).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize(("rows", "lanes"), [(4, 64), (8, 40), (8, 8), (4, 4), (4, 28), (3, 24)])
def test_product_tile(rows: int, lanes: int, dtype: Any) -> None:
    @njit
    def compute(a, b, start, out, depth):
        a, b, start, out = pointer(a, dtype), pointer(b, dtype), pointer(start, dtype), pointer(out, dtype)
        product_tile(a, 0, depth, 1, b, 0, lanes, depth, start, 0, lanes, out, 0, lanes, rows, lanes)

    rng = np.random.default_rng(0)
    for depth in (0, 1, 9):
        a, b, start = (rng.normal(size=s).astype(dtype) for s in ((rows, depth), (depth, lanes), (rows, lanes)))
        out = np.full((rows + 1, lanes), np.nan, dtype)
        compute(a.ctypes.data, b.ctypes.data, start.ctypes.data, out.ctypes.data, depth)
        np.testing.assert_allclose(out[:-1], start + a @ b, rtol=0, atol=100 * np.finfo(dtype).eps)
        assert np.isnan(out[-1]).all()


def test_widen_and_narrow() -> None:
    @njit
    def compute(values, wide, target):
        w = widen(load(pointer(values, np.float32), 0, 7))
        store(pointer(wide, np.float64), 0, w)
        store(pointer(target, np.float32), 0, narrow(mul(w, splat(1 / 3, 7)), np.float32))

    values, wide, target = np.random.default_rng(0).normal(size=7).astype(np.float32), np.zeros(7), np.zeros(7, np.float32)
    compute(values.ctypes.data, wide.ctypes.data, target.ctypes.data)
    np.testing.assert_array_equal(wide, values.astype(np.float64))
    np.testing.assert_array_equal(target, (values.astype(np.float64) * (1 / 3)).astype(np.float32))


# --- exponential and logarithm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_exp_is_within_1_unit_in_the_last_place(dtype: Any) -> None:
    bounds = (-87.33, 88.72) if dtype == np.float32 else (-708.39, 709.78)
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(*bounds, 400_000), rng.normal(size=400_000), rng.normal(size=100_000) * 1e-6]).astype(
        dtype
    )
    truth = np.exp(values.astype(np.longdouble))
    assert units_in_the_last_place(elementwise(exp, values), truth).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_exp_at_the_edges(dtype: Any) -> None:
    info = np.finfo(dtype)
    limit = np.log(np.longdouble(info.max)).astype(dtype)
    largest = limit if np.exp(np.longdouble(limit)) <= info.max else np.nextafter(limit, dtype(0))
    smallest = -np.log(np.longdouble(info.tiny)).astype(dtype)
    values = [0.0, -0.0, -np.inf, np.inf, np.nan, largest, np.nextafter(largest, dtype(np.inf)), 10 * largest, info.max, -info.max]
    values += [-2 * smallest, info.tiny, -info.tiny, 1.0, -1.0, np.nextafter(-smallest, dtype(0))]
    values = np.array(values, dtype)
    out = elementwise(exp, values)
    expected = [1, 1, 0, np.inf, np.nan, out[5], np.inf, np.inf, np.inf, 0, 0, 1, 1, out[13], out[14], out[15]]
    np.testing.assert_array_equal(out, np.array(expected, dtype))
    near = [5, 13, 14, 15]
    assert units_in_the_last_place(out[near], np.exp(values[near].astype(np.longdouble))).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_log_is_within_1_unit_in_the_last_place(dtype: Any) -> None:
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    everywhere = np.exp2(rng.uniform(np.log2(info.tiny), np.log2(float(info.max)) - 1e-3, 400_000))
    near_one = 1 + rng.normal(size=400_000) * 10 ** rng.uniform(-7, -1, 400_000)
    values = np.concatenate([everywhere, near_one]).astype(dtype)
    values = values[values != 1]
    values = values[: values.size // 16 * 16]
    assert units_in_the_last_place(elementwise(log, values), np.log(values.astype(np.longdouble))).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_log_at_the_edges(dtype: Any) -> None:
    info = np.finfo(dtype)
    values = np.array([0.0, 1.0, np.inf, np.nan, info.tiny, info.max, np.sqrt(0.5), info.smallest_subnormal], dtype)
    out = elementwise(log, values, lanes=8)
    np.testing.assert_array_equal(out[:4], np.array([-np.inf, 0, np.inf, np.nan], dtype))
    assert units_in_the_last_place(out[4:7], np.log(values[4:7].astype(np.longdouble))).max() <= 1
    assert out[7] == -np.inf


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_exp2_falling(dtype: Any) -> None:
    info = np.finfo(dtype)
    values = np.random.default_rng(0).uniform(info.minexp, -info.minexp + 1.9, 1 << 19).astype(dtype)
    assert units_in_the_last_place(elementwise(exp2_falling, values), np.exp2(values.astype(np.longdouble))).max() <= 1
    edges = np.array([0, -0.0, -np.inf, np.nan, info.minexp, info.minexp - 1, info.min, info.maxexp], dtype)
    np.testing.assert_array_equal(
        elementwise(exp2_falling, edges, lanes=8), np.array([1, 1, 0, np.nan, info.tiny, 0, 0, np.inf], dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_log2_is_within_2_units_in_the_last_place(dtype: Any) -> None:
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    everywhere = np.exp2(rng.uniform(info.minexp, info.maxexp - 1e-3, 400_000))
    near_one = 1 + rng.normal(size=400_000) * 10 ** rng.uniform(-7, -1, 400_000)
    values = np.concatenate([everywhere, near_one]).astype(dtype)
    values = values[values != 1]
    values = values[: values.size // 16 * 16]
    assert units_in_the_last_place(elementwise(log2, values), np.log2(values.astype(np.longdouble))).max() <= 2
    powers = np.array([1, 2, 0.5, info.tiny], dtype)
    np.testing.assert_array_equal(elementwise(log2, powers, lanes=4)[:3], np.array([0, 1, -1], dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("exponent", [-2.5, 0.0, 0.3, 1.0, 4.0])
def test_power(exponent: float, dtype: Any) -> None:
    info = np.finfo(dtype)
    values = np.exp2(np.random.default_rng(0).uniform(-30, 30, 400_000)).astype(dtype)
    values = values[: values.size // 16 * 16]
    p = dtype(exponent)

    @njit
    def powers(a):
        return power(a, splat(p, 16))

    # the product of the exponent and a logarithm is rounded once in float64, where no gradient needs more
    expected = values.astype(np.longdouble) ** np.longdouble(p)
    limit = 1 + abs(exponent) if dtype == np.float32 else 128
    assert units_in_the_last_place(elementwise(powers, values), expected).max() <= limit

    @njit
    def squares(a):
        return power(a, splat(dtype(2), 4))

    edges = np.array([1, info.max, info.tiny, 2.0 ** (info.maxexp // 2)], dtype)
    np.testing.assert_array_equal(elementwise(squares, edges, lanes=4), np.array([1, np.inf, 0, np.inf], dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_power_of_2(dtype: Any) -> None:
    info = np.finfo(dtype)
    values = np.array([1, 1.5, np.nextafter(dtype(2), dtype(0)), 2, 0.3, info.tiny, info.max, 1e-7], dtype)
    expected = np.exp2(np.floor(np.log2(values.astype(np.longdouble)))).astype(dtype)
    np.testing.assert_array_equal(elementwise(power_of_2, values, lanes=8), expected)


def test_vectors_of_different_lanes_do_not_mix() -> None:
    @njit
    def compute():
        return total(add(splat(1.0, 4), splat(1.0, 5)))

    with pytest.raises(Exception, match="vectors of equal lanes wanted"):
        compute()
