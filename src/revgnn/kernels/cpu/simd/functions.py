"""Exponential and logarithm, to base e and to base 2. Those to base 2 are cheaper."""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false, reportReturnType=false
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from revgnn.kernels.cpu.simd.vector import call, constant, elementwise, intrinsic

_TERMS = {ir.FloatType(): 5, ir.DoubleType(): 11}
"""Number of terms of the logarithm's series."""


def _interpolated(function: Callable[[Any], Any], degree: int, low: float, high: float) -> list[float]:
    """Return the coefficients of the polynomial through `function` at the Chebyshev points of [low, high], none of which is 0."""
    p = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return p.convert(kind=np.polynomial.Polynomial).coef.tolist()


_HALF = 0.5 * math.log(2.0)
_EXP = {
    ir.FloatType(): [1.0, *_interpolated(lambda r: np.expm1(r) / r, 5, -_HALF, _HALF)],
    ir.DoubleType(): [1.0 / math.factorial(k) for k in range(14)],
}
"""Coefficients of (e^r - 1) / r: interpolated in float64 for float32, the Taylor series for float64."""
_EXP2 = {
    ir.FloatType(): [1.0, *_interpolated(lambda r: np.expm1(r * math.log(2.0)) / r, 5, -0.5, 0.5)],
    ir.DoubleType(): [math.log(2.0) ** k / math.factorial(k) for k in range(14)],
}
_LOG2 = _interpolated(lambda g: np.log1p(g) / (g * math.log(2.0)), 9, math.sqrt(0.5) - 1.0, math.sqrt(2.0) - 1.0)
"""Coefficients of log2(1 + g) / g for 1 + g in [sqrt(1/2), sqrt(2))."""
_BITS = {ir.FloatType(): (32, 23, 127), ir.DoubleType(): (64, 52, 1023)}
_LN2_HIGH = {ir.FloatType(): 0.693359375, ir.DoubleType(): float.fromhex("0x1.62e42fee00000p-1")}
_LN2_LOW = {
    f: float(np.longdouble("0.693147180559945309417232121458176568") - np.longdouble(high)) for f, high in _LN2_HIGH.items()
}


def _horner(builder: ir.IRBuilder, x: ir.Value, coefficients: list[float]) -> ir.Value:
    out = constant(x.type, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        out = call(builder, "llvm.fma", out, x, constant(x.type, c))
    return out


def _estrin(builder: ir.IRBuilder, x: ir.Value, coefficients: list[float]) -> ir.Value:
    """Evaluate a polynomial in half of Horner's time, with one or two products more: pairs first, then pairs of those."""
    terms: list[ir.Value] = [constant(x.type, c) for c in coefficients]
    while len(terms) > 1:
        pairs = [call(builder, "llvm.fma", x, high, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
        if len(terms) > 1:
            x = builder.fmul(x, x)
    return terms[0]


def _emit_exp(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Compute exp(x) = 2^n exp(r): 0 below the normal range, infinity above it, NaN for NaN."""
    vec = x.type
    width, mantissa, bias = _BITS[vec.element]
    # from `highest` on the product below overflows as it should; the limit keeps n in the range of two exponents
    lowest, highest = -(bias - 1) * math.log(2.0), (bias + 2) * math.log(2.0)
    tiny = builder.fcmp_ordered("<", x, constant(vec, lowest))
    x = builder.select(builder.fcmp_ordered(">", x, constant(vec, highest)), constant(vec, highest), x)
    # x = n ln(2) + r with |r| <= ln(2) / 2
    n = call(builder, "llvm.rint", builder.fmul(x, constant(vec, 1.0 / math.log(2.0))))
    r = call(builder, "llvm.fma", n, constant(vec, -_LN2_HIGH[vec.element]), x)
    r = call(builder, "llvm.fma", n, constant(vec, -_LN2_LOW[vec.element]), r)
    y = _horner(builder, r, _EXP[vec.element])
    n = builder.select(tiny, constant(vec, 0.0), n)
    integers = ir.VectorType(ir.IntType(width), vec.count)
    # 2^n as two factors: n may be 128, which is not a valid exponent
    half = builder.ashr(builder.fptosi(n, integers), constant(integers, 1))
    rest = builder.sub(builder.fptosi(n, integers), half)
    for part in (half, rest):
        power = builder.shl(builder.add(part, constant(integers, bias)), constant(integers, mantissa))
        y = builder.fmul(y, builder.bitcast(power, vec))
    return builder.select(tiny, constant(vec, 0.0), y)


def _exponent_and_fraction(builder: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return an integer e and f in [sqrt(1/2), sqrt(2)) such that x = 2^e f."""
    vec = x.type
    width, mantissa, _ = _BITS[vec.element]
    integers = ir.VectorType(ir.IntType(width), vec.count)
    bits = builder.bitcast(x, integers)
    root = int(np.array(math.sqrt(0.5), np.float32 if width == 32 else np.float64).view(np.int32 if width == 32 else np.int64))
    shifted = builder.sub(bits, constant(integers, root))
    e = builder.ashr(shifted, constant(integers, mantissa))
    f = builder.bitcast(builder.sub(bits, builder.shl(e, constant(integers, mantissa))), vec)
    return builder.sitofp(e, vec), f


def _emit_log(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Compute log(2^e f) = e ln(2) + 2 atanh((f - 1) / (f + 1)) with f in [sqrt(1/2), sqrt(2)).

    Minus infinity below the normal range; infinity and NaN stay as they are.
    """
    vec, fl = x.type, x.type.element
    bias = _BITS[fl][2]
    e, f = _exponent_and_fraction(builder, x)
    g = builder.fsub(f, constant(vec, 1.0))
    s = builder.fdiv(g, builder.fadd(g, constant(vec, 2.0)))
    square = builder.fmul(s, s)
    series = builder.fmul(square, _horner(builder, square, [2.0 / (2 * k + 1) for k in range(1, _TERMS[fl])]))
    # 2 s = g - g^2 / 2 + s g^2 / 2, so that the leading term is g, which is exact, rather than s, which is rounded
    half = builder.fmul(builder.fmul(g, g), constant(vec, 0.5))
    low = builder.fmul(e, constant(vec, _LN2_LOW[fl]))
    low = builder.fsub(half, call(builder, "llvm.fma", s, builder.fadd(half, series), low))
    y = call(builder, "llvm.fma", e, constant(vec, _LN2_HIGH[fl]), builder.fsub(g, low))
    y = builder.select(builder.fcmp_ordered("<", x, constant(vec, 2.0 ** (1 - bias))), constant(vec, -math.inf), y)
    return builder.select(builder.fcmp_unordered("==", x, constant(vec, math.inf)), x, y)


@intrinsic
def exp(typingctx, a):
    """Return e to the a, within 1 unit in the last place; 0 below the normal range."""
    return elementwise(_emit_exp)(a)


@intrinsic
def log(typingctx, a):
    """Return the natural logarithm of a >= 0, within 1 unit in the last place; minus infinity below the normal range."""
    return elementwise(_emit_log)(a)


# --- base 2 ----------------------------------------------------------------------------------------------------------------------


def _emit_power_from_parts(builder: ir.IRBuilder, x: ir.Value, minus_n_plus: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """Compute 2^x = 2^n 2^r, where n is x rounded and r = minus_n_plus(-n): 0 below the normal range.

    Adding a number whose last place is worth 1 rounds x to n and leaves n in the last places of the sum. A shift moves it to the
    exponent; subtracting the number again gives n as a floating-point number.
    """
    vec, fl = x.type, x.type.element
    width, mantissa, bias = _BITS[fl]
    integers = ir.VectorType(ir.IntType(width), vec.count)
    large = constant(vec, 1.5 * 2.0**mantissa)
    tiny = builder.fcmp_ordered("<", x, constant(vec, 1.0 - bias))
    shifted = builder.fadd(x, large)
    y = _horner(builder, minus_n_plus(builder.fsub(large, shifted)), _EXP2[fl])
    n = builder.shl(builder.bitcast(shifted, integers), constant(integers, mantissa))
    y = builder.bitcast(builder.add(builder.bitcast(y, integers), n), vec)
    return builder.select(tiny, constant(vec, 0.0), y)


def _emit_exp2_falling(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return _emit_power_from_parts(builder, x, lambda minus_n: builder.fadd(x, minus_n))


def _log2_parts(builder: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return e, g and s such that log2(x) = e + g s with an integer e and |g s| <= 1/2, for float32."""
    e, f = _exponent_and_fraction(builder, x)
    g = builder.fsub(f, constant(x.type, 1.0))
    # the largest terms are added last, one by one, which loses fewer digits
    return e, g, call(builder, "llvm.fma", g, _estrin(builder, g, _LOG2[1:]), constant(x.type, _LOG2[0]))


def _emit_log2(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Compute log2(2^e f) = e + (f - 1) p(f - 1) with f in [sqrt(1/2), sqrt(2))."""
    if x.type.element == ir.DoubleType():
        return builder.fmul(_emit_log(builder, x), constant(x.type, 1.0 / math.log(2.0)))
    e, g, slope = _log2_parts(builder, x)
    return call(builder, "llvm.fma", g, slope, e)


def _emit_power(builder: ir.IRBuilder, x: ir.Value, p: ir.Value) -> ir.Value:
    """Compute x^p = 2^(p log2(x)). In float32 the integer part of log2(x) stays apart, so that its product with p, of which only
    what is left beyond n counts, loses no digits."""
    vec, fl = x.type, x.type.element
    if fl == ir.DoubleType():
        product = builder.fmul(p, _emit_log2(builder, x))
        minus_n_plus = functools.partial(builder.fadd, product)
    else:
        e, g, slope = _log2_parts(builder, x)
        fraction = builder.fmul(g, slope)
        product = call(builder, "llvm.fma", p, fraction, builder.fmul(p, e))

        def minus_n_plus(minus_n: ir.Value) -> ir.Value:
            return call(builder, "llvm.fma", p, fraction, call(builder, "llvm.fma", p, e, minus_n))

    highest = constant(vec, float(_BITS[fl][2] + 1))
    infinite = builder.fcmp_ordered(">=", product, highest)
    return builder.select(infinite, constant(vec, math.inf), _emit_power_from_parts(builder, product, minus_n_plus))


def _emit_power_of_2(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    vec = x.type
    width, mantissa, bias = _BITS[vec.element]
    integers = ir.VectorType(ir.IntType(width), vec.count)
    exponent = constant(integers, (2 * bias + 1) << mantissa)
    return builder.bitcast(builder.and_(builder.bitcast(x, integers), exponent), vec)


@intrinsic
def exp2_falling(typingctx, a):
    """Return 2 to the a for a <= 128 (float64: 1024), within 1 unit in the last place; 0 below the normal range, NaN for NaN."""
    return elementwise(_emit_exp2_falling)(a)


@intrinsic
def log2(typingctx, a):
    """Return log2(a) for finite a > 0 in the normal range, within 2 units in the last place; else an arbitrary finite number."""
    return elementwise(_emit_log2)(a)


@intrinsic
def power(typingctx, a, exponent):
    """Return a to the power `exponent`, for finite a > 0 in the normal range; 0 below the normal range, infinity above it.

    In float32 within 1 + |exponent| units in the last place.
    """
    return elementwise(_emit_power)(a, exponent)


@intrinsic
def power_of_2(typingctx, a):
    """Return the largest power of 2 that is at most a, for a > 0 in the normal range."""
    return elementwise(_emit_power_of_2)(a)
