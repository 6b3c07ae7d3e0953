"""The message, and what else several kernels of the CPU share.

A helper of a kernel takes each array that it reads as an argument of its own, so some take many: they are inlined.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

from revgnn.kernels.cpu.arguments import Declared
from revgnn.kernels.cpu.kernel import number, read, size
from revgnn.kernels.cpu.simd import (
    REGISTERS,
    add,
    add_product,
    load,
    prefetch,
    relu,
    splat,
    store,
)

AHEAD = 32
"""Edges between the one that is read and the one that is prefetched: the rows of the sources are anywhere in memory."""

MESSAGES = 64
"""Messages of a node that max decodes, and softmax and power keep in cache, at a time."""

STORED_16_BIT = (torch.int16, torch.float16, torch.bfloat16)
"""Dtypes of edge features that kernels read as they are stored."""

LN_2 = math.log(2.0)
LOG2_E = 1.0 / LN_2

STATE = "num_rows * stride"
"""Length of an array of the shape of `x`."""


class Dtypes(NamedTuple):
    """Dtypes that a kernel is compiled for, as `ELEMENTS` names them: of the state, of edge features, of positions of nodes."""

    state: Any
    features: Any
    index: Any


@functools.cache
def tiles(channels: int, features: int, widest: int = 128) -> tuple[tuple[int, int, int], ...]:
    """Cut channels into tiles: `(first channel, lanes of a tile, number of tiles)`, whole tiles and then what is left.

    The width is the largest at which the weights of a tile, features x lanes, fit half of the vector registers.
    """
    lanes = max(16, min(widest, 16 * (REGISTERS // 2 // features) if features else widest) // 16 * 16)
    whole = channels // lanes
    cut = ((0, lanes, whole), (whole * lanes, channels % lanes, 1))
    return tuple((first, width, count) for first, width, count in cut if width and count)


def message_arguments(K: int, dtypes: Dtypes) -> dict[str, Declared]:
    """Return the declarations of what every kernel that computes messages takes.

    A launch computes `tiles` tiles of C channels from `channel` on. Rows of the state are `stride` channels wide.
    """
    dtype, features, index = dtypes
    return {
        "num_rows": size,
        "num_edges": size,
        "stride": size,
        "channel": size,
        "tiles": size,
        "eps": number,
        "indptr": read(np.int64, "num_rows + 1"),
        "src": read(index, "num_edges"),
        "x": read(dtype, STATE),
        "features": read(features, f"num_edges * {K}", optional=K == 0),
        "weight": read(dtype, f"{K} * stride", optional=K == 0),
        "bias": read(dtype, "stride"),
    }


@njit(inline="always")
def encoded(x, at, features, e, encoder, bias, C, K):
    """Return channels of  x_j + A_e W + b,  those from element `at` of x on, with W in registers.

    A loop that stores would otherwise load W again for each message.
    """
    return add_product(add(load(x, at, C), bias), features, e * K, encoder)


@njit(inline="always")
def message(before, eps, C):
    """Return the message: what ReLU makes of `before`, plus eps."""
    return add(relu(before), splat(eps, C))


@njit(inline="always")
def keep_messages(kept, x, src, first, stop, last, stride, c, features, encoder, bias, C, K, LINE):
    """Write  x_j + A_e W + b  of the edges from `first` to `stop` to `kept`. `last` is the last edge of the graph."""
    for e in range(first, stop):
        prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
        store(kept, (e - first) * C, encoded(x, np.int64(src[e]) * stride + c, features, e, encoder, bias, C, K))


@njit(inline="always")
def prefetch_row(x, row, stride, c, C, LINE):
    """Prefetch channels c to c + C of a row, cache line by cache line (`LINE` elements each)."""
    for n in range(0, C, LINE):
        prefetch(x, row * stride + c + n)
