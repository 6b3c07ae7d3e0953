"""How edge features are stored: as floating point, or as 16-bit integers with one common scale. Knows no graphs.

Edge features are most of a graph: 32 of 36 bytes an edge on ogbn-proteins. Scores in databases are often decimals with few digits.
Such a number is an integer times 0.001, say, and the integer needs half the memory. All functions work on blocks of rows,
so that features in a file larger than memory can be checked and converted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["auto", "int16", "float16", "bfloat16"]

SCALES = (1.0, 0.1, 0.01, 0.001, 0.0001)
"""Scales that `compress` tries, in this order: features with zero to four decimals."""

_HALF_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_INT16_MAX = 32767
_BLOCK_ROWS = 1 << 16
"""Rows of a block: its temporaries fit in the cache."""


def as_matrix(edge_attr: Tensor | None) -> Tensor | None:
    """Return edge features (E,) as (E, 1), and all others as they are."""
    return edge_attr.unsqueeze(1) if edge_attr is not None and edge_attr.dim() == 1 else edge_attr


def check_edge_attr(edge_attr: Tensor | None, scale: float, num_edges: int) -> None:
    """Raise `ValueError` unless the features are (E, K), floating point or int16, and finite, and the scale fits their dtype.

    The message names the first bad edge.
    """
    is_int16 = edge_attr is not None and edge_attr.dtype == torch.int16
    if not (0.0 < scale < float("inf")) or (scale != 1.0 and not is_int16):
        got = "no edge_attr" if edge_attr is None else f"edge_attr of {edge_attr.dtype}"
        raise ValueError(f"edge_scale must be above 0, and 1 unless edge_attr is int16; got edge_scale={scale} and {got}.")
    if edge_attr is None:
        return
    if edge_attr.dim() != 2 or edge_attr.shape[0] != num_edges:
        raise ValueError(f"edge_attr must have shape ({num_edges}, K), one row for each edge, got {tuple(edge_attr.shape)}.")
    if is_int16:
        return
    if not edge_attr.is_floating_point():
        raise ValueError(
            f"edge_attr must be floating point, or int16 with an edge_scale, got {edge_attr.dtype}; use edge_attr.float()."
        )
    for start, rows in _blocks(edge_attr.detach()):
        finite = torch.isfinite(rows)
        if not bool(finite.all()):
            bad = start + _first_row(~finite)
            raise ValueError(f"edge_attr of edge {bad} is {edge_attr[bad].tolist()}; every feature must be finite.")


def decode(edge_attr: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """Return the features (E, K) as floating point. int16 is multiplied by the scale in float64 and rounded once."""
    if edge_attr.dtype == dtype:
        return edge_attr
    if edge_attr.is_floating_point():
        return edge_attr.to(dtype)
    out = torch.empty(edge_attr.shape, dtype=dtype, device=edge_attr.device)
    for start, rows in _blocks(edge_attr):
        out[start : start + len(rows)] = rows.double() * scale
    return out


def encode_value(value: float, dtype: torch.dtype, scale: float) -> float:
    """Return one feature as features of `dtype` and `scale` store it.

    Raises:
        ValueError: if int16 features cannot hold it.
    """
    if dtype.is_floating_point:
        return value
    integer = round(value / scale)
    if abs(integer) > _INT16_MAX or not math.isclose(integer * scale, value, rel_tol=1e-6):
        raise ValueError(
            f"fill must be a multiple of the int16 features' scale {scale} (at most {_INT16_MAX} times), got {value}; "
            "choose another value, or decode the features with graph.with_edge_attr(graph.edge_features())."
        )
    return integer


def compress(edge_attr: Tensor, scale: float, kind: Kind) -> tuple[Tensor, float]:
    """Return the features in 16 bits, and their scale (1 unless they are int16).

    int16 is exact: for every float32 value v the integer is n = round(v / scale), and float32(n * scale) == v, with the
    largest `scale` of `SCALES` for which this holds. (Minus zero becomes zero.) A kernel that multiplies n by a weight that
    includes the scale rounds at another place: the product differs by one unit in the last place.

    Raises:
        ValueError: for "int16", if something would be lost (names the first edge); for a half precision, if a feature is
            outside its range.
    """
    if kind not in ("auto", "int16", *_HALF_DTYPES):
        raise ValueError(f"unknown storage {kind!r} of edge features; choose auto, int16, float16 or bfloat16.")
    if edge_attr.dtype == _HALF_DTYPES.get(kind, torch.int16) or (kind == "auto" and edge_attr.dtype in _HALF_DTYPES.values()):
        return edge_attr, scale
    values = edge_attr.detach()
    if kind in _HALF_DTYPES:
        return _to_half(values, scale, _HALF_DTYPES[kind]), 1.0
    compressed, bad = _to_multiples(values) if edge_attr.dtype == torch.float32 else (None, 0)
    if compressed is not None:
        return compressed
    if kind == "auto":
        return edge_attr, scale
    if edge_attr.dtype != torch.float32:
        raise ValueError(f"int16 replaces float32 features, got {edge_attr.dtype}; convert them with edge_attr.float() first.")
    raise ValueError(
        f"int16 would lose digits: edge_attr of edge {bad} is {edge_attr[bad].tolist()}, not all multiples of one of {SCALES}, "
        f"at most {_INT16_MAX} times as large; use 'float16' or 'bfloat16', which round."
    )


def _to_multiples(values: Tensor) -> tuple[tuple[Tensor, float] | None, int]:
    """Return the integers and their scale, or None and the first row that no scale fits."""
    integers = torch.empty(values.shape, dtype=torch.int16, device=values.device)
    bad = 0
    for scale in SCALES:
        for start, rows in _blocks(values):
            block = (rows.double() / scale).round_()
            fits = ((block * scale).float() == rows) & (block.abs() <= _INT16_MAX)
            if not bool(fits.all()):
                bad = max(bad, start + _first_row(~fits))
                break
            integers[start : start + len(rows)] = block
        else:
            return (integers, scale), 0
    return None, bad


def _to_half(values: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    out = torch.empty(values.shape, dtype=dtype, device=values.device)
    for start, rows in _blocks(values):
        half = (rows.double() * scale).to(dtype)
        overflow = half.isinf()
        if bool(overflow.any()):
            bad = start + _first_row(overflow)
            raise ValueError(
                f"edge_attr of edge {bad} is {values[bad].tolist()}, outside the range of {dtype}; "
                "use bfloat16 or scale the features."
            )
        out[start : start + len(rows)] = half
    return out


def _blocks(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of each block's first row, and its rows."""
    for start in range(0, len(values), _BLOCK_ROWS):
        yield start, values[start : start + _BLOCK_ROWS]


def _first_row(mask: Tensor) -> int:
    """Return the first row in which the mask is true anywhere."""
    return int(mask.any(dim=1).nonzero()[0])
