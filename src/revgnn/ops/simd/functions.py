"""Exponential and logarithm."""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import math

import numpy as np
from llvmlite import ir

from revgnn.ops.simd.vector import call, constant, elementwise, intrinsic

_TERMS = {ir.FloatType(): 5, ir.DoubleType(): 11}
"""Of the logarithm's series."""


def _exp_polynomial(degree: int) -> list[float]:
    """exp(r) for |r| <= ln(2) / 2 as 1 + r p(r), so that exp(0) is 1; p interpolates at Chebyshev's points."""
    half = 0.5 * math.log(2.0)
    p = np.polynomial.Chebyshev.interpolate(lambda r: np.expm1(r) / r, degree - 1, domain=[-half, half])
    return [1.0, *p.convert(kind=np.polynomial.Polynomial).coef.tolist()]


_EXP = {ir.FloatType(): _exp_polynomial(6), ir.DoubleType(): [1.0 / math.factorial(k) for k in range(14)]}
"""Interpolation in float64 is exact enough for float32; float64 has the Taylor series."""
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


def _reduced_exp(builder: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """n, whole, and exp(r) with x = n ln(2) + r and |r| <= ln(2) / 2."""
    vec, f = x.type, x.type.element
    n = call(builder, "llvm.rint", builder.fmul(x, constant(vec, 1.0 / math.log(2.0))))
    r = call(builder, "llvm.fma", n, constant(vec, -_LN2_HIGH[f]), x)
    r = call(builder, "llvm.fma", n, constant(vec, -_LN2_LOW[f]), r)
    return n, _horner(builder, r, _EXP[f])


def _emit_exp(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """exp(x) = 2^n exp(r). 0 below the normal range, infinity above it; NaN stays NaN."""
    vec = x.type
    width, mantissa, bias = _BITS[vec.element]
    # from `highest` on the product below overflows by itself; the limit keeps n within what two exponents can hold
    lowest, highest = -(bias - 1) * math.log(2.0), (bias + 2) * math.log(2.0)
    tiny = builder.fcmp_ordered("<", x, constant(vec, lowest))
    x = builder.select(builder.fcmp_ordered(">", x, constant(vec, highest)), constant(vec, highest), x)
    n, y = _reduced_exp(builder, x)
    n = builder.select(tiny, constant(vec, 0.0), n)
    integers = ir.VectorType(ir.IntType(width), vec.count)
    # 2^n in two factors: n may be 128, whose exponent has no room in one
    half = builder.ashr(builder.fptosi(n, integers), constant(integers, 1))
    rest = builder.sub(builder.fptosi(n, integers), half)
    for part in (half, rest):
        power = builder.shl(builder.add(part, constant(integers, bias)), constant(integers, mantissa))
        y = builder.fmul(y, builder.bitcast(power, vec))
    return builder.select(tiny, constant(vec, 0.0), y)


def _emit_exp_falling(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """exp(x) = 2^n exp(r) for x <= 0 (or a rounding more): n has room in one exponent, and is added to that of exp(r)."""
    vec = x.type
    width, mantissa, bias = _BITS[vec.element]
    lowest = -(bias - 1) * math.log(2.0)
    tiny = builder.fcmp_ordered("<", x, constant(vec, lowest))
    n, y = _reduced_exp(builder, x)
    integers = ir.VectorType(ir.IntType(width), vec.count)
    shift = builder.shl(builder.fptosi(n, integers), constant(integers, mantissa))
    y = builder.bitcast(builder.add(builder.bitcast(y, integers), shift), vec)
    y = builder.select(builder.fcmp_unordered("uno", x, x), x, y)
    return builder.select(tiny, constant(vec, 0.0), y)


def _emit_log(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """log(2^e f) = e ln(2) + 2 atanh((f - 1) / (f + 1)) with f in [sqrt(1/2), sqrt(2)).

    Minus infinity below the normal range; infinity and NaN stay as they are.
    """
    vec, fl = x.type, x.type.element
    width, mantissa, bias = _BITS[fl]
    integers = ir.VectorType(ir.IntType(width), vec.count)
    bits = builder.bitcast(x, integers)
    root = int(np.array(math.sqrt(0.5), np.float32 if width == 32 else np.float64).view(np.int32 if width == 32 else np.int64))
    shifted = builder.sub(bits, constant(integers, root))
    e = builder.ashr(shifted, constant(integers, mantissa))
    f = builder.bitcast(builder.sub(bits, builder.shl(e, constant(integers, mantissa))), vec)
    e = builder.sitofp(e, vec)
    g = builder.fsub(f, constant(vec, 1.0))
    s = builder.fdiv(g, builder.fadd(g, constant(vec, 2.0)))
    square = builder.fmul(s, s)
    series = builder.fmul(square, _horner(builder, square, [2.0 / (2 * k + 1) for k in range(1, _TERMS[fl])]))
    # 2 s = g - g^2 / 2 + s g^2 / 2: the leading term is then g, which is exact, and not s, which is rounded
    half = builder.fmul(builder.fmul(g, g), constant(vec, 0.5))
    low = builder.fmul(e, constant(vec, _LN2_LOW[fl]))
    low = builder.fsub(half, call(builder, "llvm.fma", s, builder.fadd(half, series), low))
    y = call(builder, "llvm.fma", e, constant(vec, _LN2_HIGH[fl]), builder.fsub(g, low))
    y = builder.select(builder.fcmp_ordered("<", x, constant(vec, 2.0 ** (1 - bias))), constant(vec, -math.inf), y)
    return builder.select(builder.fcmp_unordered("==", x, constant(vec, math.inf)), x, y)


@intrinsic
def exp(typingctx, a):
    """e to the a, within 1 unit in the last place; 0 below the normal range."""
    return elementwise(_emit_exp)(a)


@intrinsic
def exp_falling(typingctx, a):
    """e to the a for a <= 0, within 1 unit in the last place; 0 below the normal range."""
    return elementwise(_emit_exp_falling)(a)


@intrinsic
def log(typingctx, a):
    """Natural logarithm of a >= 0, within 1 unit in the last place; minus infinity below the normal range."""
    return elementwise(_emit_log)(a)
