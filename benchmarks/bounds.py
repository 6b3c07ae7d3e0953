"""Limits of the machine, measured: multiply-adds, exponentials and logarithms from registers, the rate of a large copy, and reading
rows in a graph's order."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from revgnn.kernels.cpu.blocks import blocks, weighted_blocks
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, read, size, write
from revgnn.kernels.cpu.simd import add, exp2_falling, fma, load, log2, splat, store

LANES = 16 * 12
"""Twelve independent registers of 16 lanes: enough to hide the latency of each operation."""

WIDEST = 128
"""Most lanes of a row that are read at once, with four rows at a time."""


@functools.cache
def _register_kernel(operation: str) -> Kernel:
    """Return a kernel that applies the operation to its own result again and again: it reads no memory."""
    multiply, raise_ = operation == "multiply-add", operation == "exponential"

    @kernel(rounds=size, out=write(np.float32, f"blocks * {LANES}"))
    def chains(args):
        out, rounds = args.out, args.rounds
        for block in blocks(args):
            factor = splat(np.float32(0.999), LANES)
            acc = splat(np.float32(block), LANES)
            for _n in range(rounds):
                if multiply:
                    acc = fma(acc, factor, factor)
                elif raise_:
                    acc = exp2_falling(acc)
                else:
                    acc = log2(acc)
            store(out, block * LANES, acc)

    return chains


@functools.cache
def _gather_kernel(C: int, index: Any) -> Kernel:
    """Return a kernel that sums rows of C channels, with four running sums, so that no addition waits for the one before."""

    @kernel(
        num_rows=size,
        stride=size,
        indptr=read(np.int64, "num_rows + 1"),
        neighbour=read(index),
        table=read(np.float32),
        out=write(np.float32, f"num_rows * {C}"),
    )
    def gather(args):
        indptr, neighbour, table, out, stride = args.indptr, args.neighbour, args.table, args.out, args.stride
        for _, begin, end in weighted_blocks(args, indptr, args.num_rows):
            for i in range(begin, end):
                zero = splat(np.float32(0), C)
                s0, s1, s2, s3 = zero, zero, zero, zero
                e, last = indptr[i], indptr[i + 1]
                while e + 4 <= last:
                    s0 = add(s0, load(table, np.int64(neighbour[e]) * stride, C))
                    s1 = add(s1, load(table, np.int64(neighbour[e + 1]) * stride, C))
                    s2 = add(s2, load(table, np.int64(neighbour[e + 2]) * stride, C))
                    s3 = add(s3, load(table, np.int64(neighbour[e + 3]) * stride, C))
                    e += 4
                while e < last:
                    s0 = add(s0, load(table, np.int64(neighbour[e]) * stride, C))
                    e += 1
                store(out, i * C, add(add(s0, s1), add(s2, s3)))

    return gather


def gather_sums(table: Tensor, indptr: Tensor, neighbour: Tensor) -> Tensor:
    """Return the sum of `table[neighbour[q]]` over the entries q of each row of `indptr`: (R, C) in float32.

    Args:
        table: (N, C), float32, C at most 128.
        indptr: (R + 1,), int64.
        neighbour: (E,), rows of `table`.

    Raises:
        ValueError: if rows are too wide.
    """
    rows, channels = indptr.shape[0] - 1, table.shape[1]
    if channels > WIDEST:
        raise ValueError(f"at most {WIDEST} channels of a row are read at once, got {channels}; read them in pieces.")
    out = torch.empty(rows, channels)
    run = _gather_kernel(channels, ELEMENTS[neighbour.dtype])
    cut = num_blocks(neighbour.numel() + rows)
    run(cut, num_rows=rows, stride=table.stride(0), indptr=indptr, neighbour=neighbour, table=table, out=out)
    return out


def gather_seconds(table: Tensor, indptr: Tensor, neighbour: Tensor, repeats: int = 7) -> float:
    """Return the least seconds to read the rows of `table` (N, C) in this order, on all threads. Wide rows are read in pieces.

    No aggregation can be faster: it must load each row before it works on it.
    """
    pieces = [table[:, c : c + WIDEST].contiguous() for c in range(0, table.shape[1], WIDEST)]
    return sum(_best(lambda piece=piece: gather_sums(piece, indptr, neighbour), repeats) for piece in pieces)


class Rates(NamedTuple):
    """Operations a second in float32, on all threads, from registers."""

    multiply_add: float
    exponential: float
    """Powers of 2, which softmax and power use."""
    logarithm: float
    """Logarithms to base 2 of numbers near 1."""


def rates(rounds: int = 400_000) -> Rates:
    """Measure the rates with chains of `rounds` multiply-adds."""
    chains = 4 * torch.get_num_threads()
    out = torch.empty(chains, LANES)

    def a_second(operation: str, rounds: int) -> float:
        run = _register_kernel(operation)
        return chains * rounds * LANES / _best(lambda: run(chains, rounds=rounds, out=out), 5)

    # an exponential or a logarithm takes about ten times as long
    return Rates(a_second("multiply-add", rounds), a_second("exponential", rounds // 10), a_second("logarithm", rounds // 10))


def bytes_a_second(size: int = 2**28) -> float:
    """Return the rate of a copy of `size` bytes, reads and writes counted."""
    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), 5)


def _best(work: Callable[[], object], repeats: int) -> float:
    """Return the least seconds of some calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
