"""`edge_softmax` on the GPU, forward and backward: Triton kernels with the contract of those of the CPU.

Each direction takes three kernels: what all edges into a node share (the largest score and the mass; the dot product), its parts
put together where a row was split (`revgnn.kernels.gpu.split_rows`), and one pass that writes the result. No operation is atomic.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.split_rows import Split, Tile, add_parts, divide, jit, launch, parts, positions, scratch_rows, share
from revgnn.ops.edge_softmax.contract import Inputs, Saved, Spec


@jit
def finite_peak(peak):
    """Minus infinity, where no edge counts, becomes 0, so that exp(-inf - peak) is 0."""
    return tl.where(peak == float("-inf"), 0, peak)


@jit
def mass_by_destination(
    indptr, scores, peaks, masses, part_peak, part_mass, num_rows, blocks, H,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Largest score of each node, and the sum of exp(score - largest)."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    peak = tl.full((BLOCK_C,), float("-inf"), scores.dtype.element_ty)
    mass = tl.zeros((BLOCK_C,), scores.dtype.element_ty)
    step = count * 0
    while step < count:
        e, there = positions(begin, head, gap, count, step, BLOCK_E)
        live = there[:, None] & (h < H)[None, :]
        score = tl.load(scores + e[:, None] * H + h[None, :], mask=live, other=float("-inf"))
        top = tl.maximum(peak, tl.max(score, 0))
        shift = finite_peak(top)
        mass = mass * tl.exp(peak - shift) + tl.sum(tl.exp(score - shift[None, :]), 0)
        peak = top
        step += BLOCK_E
    if slot == -1:
        tl.store(peaks + row * H + h, peak, mask=h < H)
        tl.store(masses + row * H + h, mass, mask=h < H)
    elif slot >= 0:
        tl.store(part_peak + slot * H + h, peak, mask=h < H)
        tl.store(part_mass + slot * H + h, mass, mask=h < H)


@jit
def mass_finish(
    indptr, part_peak, part_mass, peaks, masses, num_rows, blocks, H,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, _, start, count = parts(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    peak = tl.full((BLOCK_C,), float("-inf"), peaks.dtype.element_ty)
    mass = tl.zeros((BLOCK_C,), peaks.dtype.element_ty)
    step = count * 0
    while step < count:
        at, there = scratch_rows(start, count, blocks, step, BLOCK_E)
        live = there[:, None] & (h < H)[None, :]
        spot = at[:, None] * H + h[None, :]
        each = tl.load(part_peak + spot, mask=live, other=float("-inf"))
        top = tl.maximum(peak, tl.max(each, 0))
        shift = finite_peak(top)
        added = tl.exp(each - shift[None, :]) * tl.load(part_mass + spot, mask=live, other=0)
        mass = mass * tl.exp(peak - shift) + tl.sum(added, 0)
        peak = top
        step += BLOCK_E
    if count > 0:
        tl.store(peaks + row * H + h, peak, mask=h < H)
        tl.store(masses + row * H + h, mass, mask=h < H)


@jit
def quotients(
    indptr, scores, peaks, masses, out, num_rows, blocks, H,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, begin, head, gap, count, _slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    shift = finite_peak(tl.load(peaks + row * H + h, mask=h < H, other=0))
    mass = tl.load(masses + row * H + h, mask=h < H, other=1)
    mass = tl.where(mass == 0, 1, mass)
    step = count * 0
    while step < count:
        e, there = positions(begin, head, gap, count, step, BLOCK_E)
        live = there[:, None] & (h < H)[None, :]
        at = e[:, None] * H + h[None, :]
        raised = tl.exp(tl.load(scores + at, mask=live, other=0) - shift[None, :])
        tl.store(out + at, divide(raised, mass[None, :]), mask=live)
        step += BLOCK_E


@jit
def dots_by_destination(
    indptr, grad, out, dots, part, num_rows, blocks, H,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sum of gradient times softmax over the edges into each node."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), dots.dtype.element_ty)
    step = count * 0
    while step < count:
        e, there = positions(begin, head, gap, count, step, BLOCK_E)
        live = there[:, None] & (h < H)[None, :]
        at = e[:, None] * H + h[None, :]
        acc += tl.load(grad + at, mask=live, other=0) * tl.load(out + at, mask=live, other=0)
        step += BLOCK_E
    total = tl.sum(acc, 0)
    if slot == -1:
        tl.store(dots + row * H + h, total, mask=h < H)
    elif slot >= 0:
        tl.store(part + slot * H + h, total, mask=h < H)


@jit
def score_gradients(
    indptr, grad, out, dots, grad_scores, num_rows, blocks, H,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """With s the softmax and g its gradient: s (g - sum of g s over the node's edges)."""
    row, begin, head, gap, count, _slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    dot = tl.load(dots + row * H + h, mask=h < H, other=0)
    step = count * 0
    while step < count:
        e, there = positions(begin, head, gap, count, step, BLOCK_E)
        live = there[:, None] & (h < H)[None, :]
        at = e[:, None] * H + h[None, :]
        g = tl.load(grad + at, mask=live, other=0) - dot[None, :]
        tl.store(grad_scores + at, tl.load(out + at, mask=live, other=0) * g, mask=live)
        step += BLOCK_E


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    scores, indptr = inputs
    assert scores is not None
    rows = _Rows(scores, indptr)
    peaks, masses = rows.empty(), rows.empty()
    part_peak, part_mass = rows.scratch(), rows.scratch()
    rows.run(mass_by_destination, scores, peaks, masses, part_peak, part_mass)
    rows.finish(mass_finish, part_peak, part_mass, peaks, masses)
    out = torch.empty_like(scores)
    rows.run(quotients, scores, peaks, masses, out)
    return out, Saved(out)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    out = saved.out
    rows = _Rows(out, inputs.indptr)
    dots, part = rows.empty(), rows.scratch()
    rows.run(dots_by_destination, grad, out, dots, part)
    rows.finish(add_parts, part, dots)
    grad_scores = torch.empty_like(out)
    rows.run(score_gradients, grad, out, dots, grad_scores)
    return Inputs(grad_scores, None)


class _Rows:
    """The edges into each node, split, with H heads as channels."""

    def __init__(self, values: Tensor, indptr: Tensor) -> None:
        num_edges, self.heads = values.shape
        self.values, self.indptr, self.num_rows = values, indptr, indptr.numel() - 1
        self.split, self.tile = Split.of(self.num_rows, num_edges), Tile.of(self.heads)

    def empty(self) -> Tensor:
        return self.values.new_empty(self.num_rows, self.heads)

    def scratch(self) -> Tensor:
        return self.split.scratch(self.values, self.heads)

    def run(self, kernel: Any, *tensors: Tensor) -> None:
        self._launch(kernel, self.num_rows + self.split.blocks, *tensors)

    def finish(self, kernel: Any, *tensors: Tensor) -> None:
        self._launch(kernel, self.split.blocks, *tensors)

    def _launch(self, kernel: Any, programs: int, *tensors: Tensor) -> None:
        sizes = (self.num_rows, self.split.blocks, self.heads)
        shape = {"SIZE": self.split.size, "BLOCK_E": self.tile.edges, "BLOCK_C": self.tile.channels}
        launch(kernel, (programs, self.tile.steps), self.values, self.tile.warps, self.indptr, *tensors, *sizes, **shape)
