"""How the features of edges are held: as floating point, or as 16-bit integers with one scale for all. Knows no graphs.

Edge features are most of a graph: 32 of 36 bytes an edge on ogbn-proteins. Scores of databases are decimals of few digits, and
such a number is known again from the integer it is a multiple of, in half the memory. Everything here walks over blocks of rows,
so that features in a file larger than memory can be checked and converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["auto", "int16", "float16", "bfloat16"]

SCALES = (1.0, 0.1, 0.01, 0.001, 0.0001)
"""Tried in turn: features of no to four decimals."""

_HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_BLOCK = 1 << 16
"""Rows at a time: temporaries stay in the cache."""


def check(edge_attr: Tensor | None, scale: float, num_edges: int) -> None:
    """
    Raises:
        ValueError: if features are not (E, K), neither floating point nor int16, not finite (the first bad edge is named), or if
            the scale does not fit them.
    """
    integral = edge_attr is not None and edge_attr.dtype == torch.int16
    if not (0.0 < scale < float("inf")) or (scale != 1.0 and not integral):
        got = "no edge_attr" if edge_attr is None else f"edge_attr of {edge_attr.dtype}"
        raise ValueError(f"edge_scale must be above 0, and 1 unless edge_attr is int16; got edge_scale={scale} and {got}.")
    if edge_attr is None:
        return
    if edge_attr.dim() != 2 or edge_attr.shape[0] != num_edges:
        raise ValueError(f"edge_attr must have shape ({num_edges}, K), one row an edge, got {tuple(edge_attr.shape)}.")
    if integral:
        return
    if not edge_attr.is_floating_point():
        raise ValueError(
            f"edge_attr must be floating point, or int16 with an edge_scale, got {edge_attr.dtype}; use edge_attr.float()."
        )
    for start, rows in _blocks(edge_attr.detach()):
        finite = torch.isfinite(rows)
        if not bool(finite.all()):
            bad = start + int((~finite).any(dim=1).nonzero()[0])
            raise ValueError(f"edge_attr of edge {bad} is {edge_attr[bad].tolist()}; every feature must be finite.")


def decode(edge_attr: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """(E, K) as floating point. The product with the scale is taken in float64 and rounded once."""
    if edge_attr.dtype == dtype:
        return edge_attr
    if edge_attr.is_floating_point():
        return edge_attr.to(dtype)
    out = torch.empty(edge_attr.shape, dtype=dtype, device=edge_attr.device)
    for start, rows in _blocks(edge_attr):
        out[start : start + len(rows)] = rows.double() * scale
    return out


def compress(edge_attr: Tensor, scale: float, kind: Kind) -> tuple[Tensor, float]:
    """Features in 16 bits, and their scale (1 but for int16).

    int16 is used where it is without loss: every float32 value v comes back from n = round(v / scale) as float32(n * scale) == v,
    for the largest `scale` of `SCALES`. (Minus zero comes back as zero.) A kernel that multiplies n with a weight into which the
    scale is folded rounds at another place, by one unit in the last place of the product.

    Raises:
        ValueError: for "int16", if it would lose something (the first such edge is named); for a half precision, if a feature
            is beyond its range.
    """
    if kind not in ("auto", "int16", *_HALVES):
        raise ValueError(f"unknown storage {kind!r} of edge features; choose auto, int16, float16 or bfloat16.")
    if edge_attr.dtype == _HALVES.get(kind, torch.int16) or (kind == "auto" and edge_attr.dtype in _HALVES.values()):
        return edge_attr, scale
    values = edge_attr.detach()
    if kind in _HALVES:
        return _in_half(values, scale, _HALVES[kind]), 1.0
    found, bad = _as_multiples(values) if edge_attr.dtype == torch.float32 else (None, 0)
    if found is not None:
        return found
    if kind == "auto":
        return edge_attr, scale
    if edge_attr.dtype != torch.float32:
        raise ValueError(f"int16 stands for float32 features, got {edge_attr.dtype}; convert them with edge_attr.float() first.")
    raise ValueError(
        f"int16 would lose digits: edge_attr of edge {bad} is {edge_attr[bad].tolist()}, not all multiples of one of {SCALES} up "
        "to 32767 times as large; 'float16' and 'bfloat16' round."
    )


def _as_multiples(values: Tensor) -> tuple[tuple[Tensor, float] | None, int]:
    """Integers and their scale, or None and the first row that no scale fits."""
    out = torch.empty(values.shape, dtype=torch.int16, device=values.device)
    bad = 0
    for scale in SCALES:
        for start, rows in _blocks(values):
            whole = (rows.double() / scale).round_()
            fits = ((whole * scale).float() == rows) & (whole.abs() <= 32767)
            if not bool(fits.all()):
                bad = max(bad, start + int((~fits).any(dim=1).nonzero()[0]))
                break
            out[start : start + len(rows)] = whole
        else:
            return (out, scale), 0
    return None, bad


def _in_half(values: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    out = torch.empty(values.shape, dtype=dtype, device=values.device)
    for start, rows in _blocks(values):
        half = (rows.double() * scale).to(dtype)
        beyond = half.isinf()
        if bool(beyond.any()):
            bad = start + int(beyond.any(dim=1).nonzero()[0])
            raise ValueError(f"edge_attr of edge {bad} is {values[bad].tolist()}, beyond {dtype}; use bfloat16 or scale it.")
        out[start : start + len(rows)] = half
    return out


def _blocks(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(values), _BLOCK):
        yield start, values[start : start + _BLOCK]
