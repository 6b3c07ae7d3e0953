"""Products of node features that are mostly zeros, such as bags of words, with weights: from the other entries alone.

Cora's features are 2,708 x 1,433 numbers, of which one in 80 is not 0. A dense product reads them all from memory, in the forward
pass and again for the gradient of the weight, which takes longer than the convolution around it.

The entries are found once for each tensor, and used again as long as it lives and is not written to. Whether features count as
sparse is decided by their values alone: the first and the second evaluation of a block round alike.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from revgnn.graph import index
from revgnn.kernels.backends import choose, needs_dispatcher
from revgnn.kernels.cpu.blocks import even_blocks
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, read, size, write
from revgnn.kernels.cpu.simd import count_bits, load, lowest_bit, nonzero_bits
from revgnn.memory import rehearsing
from revgnn.ops.propagate.cpu import weighted_sum

FEWEST_CHANNELS = 256
"""Narrower features are not looked at: their products are cheap."""
SPARSE = 1 / 16
"""Largest share of entries other than 0 in features that count as sparse."""
LIMIT = 16
"""Number of tensors whose entries are remembered; the oldest is forgotten first."""
WORD = 64
"""Channels whose zeros are marked in one integer."""


class Entries(NamedTuple):
    """The entries of features (N, C) that are not 0, by rows and by columns."""

    indptr: Tensor
    """int64, (N + 1,): those of row i are the positions indptr[i] to indptr[i + 1]."""
    column: Tensor
    """int32, (n,): ascending within a row."""
    value: Tensor
    """(n,), dtype of the features."""
    column_indptr: Tensor
    """int64, (C + 1,)."""
    row: Tensor
    """int32, (n,): by columns, ascending within a column."""
    position: Tensor
    """int64, (n,): where each entry, by columns, stands in `value`."""

    def product(self, weight: Tensor) -> Tensor:
        """Return X W^T (N, C_out) with a weight (C_out, C)."""
        return weighted_sum(weight.t().contiguous(), self.indptr, self.column, None, self.value, False)

    def weight_gradient(self, grad: Tensor) -> Tensor:
        """Return G^T X (C_out, C) with the gradient (N, C_out) of the product."""
        return weighted_sum(grad.contiguous(), self.column_indptr, self.row, self.position, self.value, False).t()


def product(x: Tensor, entries: Entries | None, weight: Tensor) -> Tensor:
    """Return X W^T, by the entries of `x` if they are given."""
    return x @ weight.t() if entries is None else entries.product(weight)


def weight_gradient(grad: Tensor, x: Tensor, entries: Entries | None) -> Tensor:
    """Return the gradient of the weight of `product`, by the entries of `x` if they are given."""
    return grad.t() @ x if entries is None else entries.weight_gradient(grad)


def linear(x: Tensor, entries: Entries, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return X W^T + b (N, C_out) of features whose entries are known; differentiable once in all of them.

    Args:
        x: (N, C).
        weight: (C_out, C), dtype of `x`.
        bias: (C_out,), or None.
    """
    out = _Product.apply(entries, x, weight)
    return out if bias is None else out + bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, entries: Entries, x: Tensor, weight: Tensor) -> Tensor:
        ctx.entries = entries
        ctx.save_for_backward(weight)
        return entries.product(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        _, wants_x, wants_weight = ctx.needs_input_grad
        return None, grad @ weight if wants_x else None, ctx.entries.weight_gradient(grad) if wants_weight else None


# --- finding the entries ---------------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    tensor: weakref.ref[Tensor]
    state: tuple[Any, ...]
    entries: Entries | None


_known: dict[int, _Known] = {}
"""By the id of the tensor, which another tensor may have later."""


def entries_of(x: Tensor, weight: Tensor) -> Entries | None:
    """Return the entries of features that are to be multiplied with a weight, or None if a dense product is to be taken.

    It is for features that are not sparse, for narrow ones, on other devices than the CPU, for dtypes other than float32 and
    float64, under autocast, and where something has to see each operator. The first call with a tensor takes about as long as one
    or two dense products.

    Args:
        x: (N, C).
        weight: (C_out, C).
    """
    if x.dim() != 2 or x.shape[1] < FEWEST_CHANNELS or x.shape[1] != weight.shape[1] or not _can_be_read(x, weight):
        return None
    known, state = _known.get(id(x)), (x._version, x.data_ptr(), x.shape, x.dtype)  # `x.data = ...` changes all but the first
    if known is not None and known.tensor() is x and known.state == state:
        return known.entries
    entries = _find(x.detach()) if _looks_sparse(x.detach()) else None
    while len(_known) >= LIMIT:
        _known.pop(next(iter(_known)), None)
    _known[id(x)] = _Known(weakref.ref(x, functools.partial(_forget, id(x))), state, entries)
    return entries


def forget() -> None:
    """Forget all entries: they are found again."""
    _known.clear()


def _forget(key: int, dead: Any) -> None:
    known = _known.get(key)
    if known is not None and known.tensor is dead:
        del _known[key]


def _can_be_read(x: Tensor, weight: Tensor) -> bool:
    return (
        choose(None, x.device) == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and weight.dtype == x.dtype
        and weight.device == x.device
        and x.numel() > 0
        and x.is_contiguous()
        and not x.is_inference()  # such tensors do not count their changes
        and not torch.is_autocast_enabled("cpu")
        and not needs_dispatcher((x, weight))
        and not rehearsing()
    )


def _looks_sparse(x: Tensor) -> bool:
    """Whether at most `SPARSE` of the entries of some 8 rows are not 0."""
    rows = x[:: -(-x.shape[0] // 8)]
    return int(rows.count_nonzero()) <= SPARSE * rows.numel()


@index.outside_inference_mode
def _find(x: Tensor) -> Entries | None:
    """Return the entries; None if they are more than they looked."""
    (num_rows, channels), dtype = x.shape, ELEMENTS[x.dtype]
    words = -(-channels // WORD)
    marks, count = torch.empty(num_rows * words, dtype=torch.int64), torch.empty(num_rows, dtype=torch.int64)
    shape = {"num_rows": num_rows, "channels": channels, "words": words}
    blocks = num_blocks(x.numel())
    _mark_kernel(dtype)(blocks, **shape, x=x, marks=marks, count=count)
    indptr = torch.zeros(num_rows + 1, dtype=torch.int64)
    torch.cumsum(count, 0, out=indptr[1:])
    total = int(indptr[-1])
    if total > 2 * SPARSE * x.numel():
        return None
    column, row, value = torch.empty(total, dtype=torch.int32), torch.empty(total, dtype=torch.int32), x.new_empty(total)
    _collect_kernel(dtype)(blocks, **shape, entries=total, x=x, marks=marks, indptr=indptr, column=column, row=row, value=value)
    column_indptr, position = index.group_by(column, channels)
    return Entries(indptr, column, value, column_indptr, row[position], position)


@functools.cache
def _mark_kernel(dtype: Any) -> Kernel:
    """Mark in the bits of `marks` which entries of a row are not 0, and count them. The last word of a row is that of its last
    `WORD` channels: bits of channels that the word before has are cleared."""

    @kernel(
        num_rows=size,
        channels=size,
        words=size,
        x=read(dtype, "num_rows * channels"),
        marks=write(np.int64, "num_rows * words"),
        count=write(np.int64, "num_rows"),
    )
    def mark(args):
        x, marks, channels, words = args.x, args.marks, args.channels, args.words
        seen_before = words * WORD - channels
        for _, begin, end in even_blocks(args, args.num_rows):
            for r in range(begin, end):
                count = np.int64(0)
                for w in range(words - 1):
                    bits = nonzero_bits(load(x, r * channels + w * WORD, WORD))
                    marks[r * words + w] = bits
                    count += count_bits(bits)
                bits = nonzero_bits(load(x, (r + 1) * channels - WORD, WORD)) & (np.int64(-1) << seen_before)
                marks[(r + 1) * words - 1] = bits
                args.count[r] = count + count_bits(bits)

    return mark


@functools.cache
def _collect_kernel(dtype: Any) -> Kernel:
    """Write column, row and value of each entry that is marked."""

    @kernel(
        num_rows=size,
        channels=size,
        words=size,
        entries=size,
        x=read(dtype, "num_rows * channels"),
        marks=read(np.int64, "num_rows * words"),
        indptr=read(np.int64, "num_rows + 1"),
        column=write(np.int32, "entries"),
        row=write(np.int32, "entries"),
        value=write(dtype, "entries"),
    )
    def collect(args):
        x, marks, column, row, value = args.x, args.marks, args.column, args.row, args.value
        channels, words = args.channels, args.words
        for _, begin, end in even_blocks(args, args.num_rows):
            for r in range(begin, end):
                at = args.indptr[r]
                for w in range(words):
                    bits, first = marks[r * words + w], min(w * WORD, channels - WORD)
                    while bits != 0:
                        c = first + lowest_bit(bits)
                        column[at], row[at], value[at] = c, r, x[r * channels + c]
                        at += 1
                        bits &= bits - 1

    return collect
