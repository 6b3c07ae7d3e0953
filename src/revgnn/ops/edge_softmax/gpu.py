"""`edge_softmax` on the GPU.

Each direction takes three kernels. The first computes what all edges into a node share: the largest score and the mass, or the dot
product. The second combines the parts of rows that were split (`revgnn.kernels.gpu.split_rows`). The third writes the result. There
are no atomic operations.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.launch import jit
from revgnn.kernels.gpu.split_rows import Rows, add_parts, divide, falling_exp, parts, positions, scratch_rows, share
from revgnn.ops.edge_softmax.contract import Inputs, Saved, Spec
from revgnn.ops.operator import gradients


@jit
def finite_peak(peak):
    """Return 0 in place of minus infinity, which means that no edge counts: exp(-inf - 0) is 0."""
    return tl.where(peak == float("-inf"), 0, peak)


@jit
def mass_by_destination(
    indptr, scores, peaks, masses, part_peak, part_mass, num_rows, blocks, H: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the largest score of each node, and the sum of exp(score - largest)."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    peak = tl.full((BLOCK_C,), float("-inf"), scores.dtype.element_ty)
    mass = tl.zeros((BLOCK_C,), scores.dtype.element_ty)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        live = exists[:, None] & (h < H)[None, :]
        score = tl.load(scores + e[:, None] * H + h[None, :], mask=live, other=float("-inf"))
        top = tl.maximum(peak, tl.max(score, 0))
        shift = finite_peak(top)
        mass = mass * falling_exp(peak - shift) + tl.sum(falling_exp(score - shift[None, :]), 0)
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
    indptr, part_peak, part_mass, peaks, masses, num_rows, blocks, H: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, _, start, count = parts(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    peak = tl.full((BLOCK_C,), float("-inf"), peaks.dtype.element_ty)
    mass = tl.zeros((BLOCK_C,), peaks.dtype.element_ty)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(start, count, blocks, step, BLOCK_E)
        live = exists[:, None] & (h < H)[None, :]
        spot = at[:, None] * H + h[None, :]
        each = tl.load(part_peak + spot, mask=live, other=float("-inf"))
        top = tl.maximum(peak, tl.max(each, 0))
        shift = finite_peak(top)
        added = falling_exp(each - shift[None, :]) * tl.load(part_mass + spot, mask=live, other=0)
        mass = mass * falling_exp(peak - shift) + tl.sum(added, 0)
        peak = top
        step += BLOCK_E
    if count > 0:
        tl.store(peaks + row * H + h, peak, mask=h < H)
        tl.store(masses + row * H + h, mass, mask=h < H)


@jit
def quotients(
    indptr, scores, peaks, masses, out, num_rows, blocks, H: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, begin, head, gap, count, _slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    shift = finite_peak(tl.load(peaks + row * H + h, mask=h < H, other=0))
    mass = tl.load(masses + row * H + h, mask=h < H, other=1)
    mass = tl.where(mass == 0, 1, mass)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        live = exists[:, None] & (h < H)[None, :]
        at = e[:, None] * H + h[None, :]
        raised = falling_exp(tl.load(scores + at, mask=live, other=0) - shift[None, :])
        tl.store(out + at, divide(raised, mass[None, :]), mask=live)
        step += BLOCK_E


@jit
def dots_by_destination(
    indptr, grad, out, dots, part, num_rows, blocks, H: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the sum of gradient times softmax over the edges into each node."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), dots.dtype.element_ty)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        live = exists[:, None] & (h < H)[None, :]
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
    indptr, grad, out, dots, grad_scores, num_rows, blocks, H: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """With s the softmax and g its gradient: s (g - sum of g s over the node's edges)."""
    row, begin, head, gap, count, _slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    dot = tl.load(dots + row * H + h, mask=h < H, other=0)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        live = exists[:, None] & (h < H)[None, :]
        at = e[:, None] * H + h[None, :]
        g = tl.load(grad + at, mask=live, other=0) - dot[None, :]
        tl.store(grad_scores + at, tl.load(out + at, mask=live, other=0) * g, mask=live)
        step += BLOCK_E


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    scores, indptr = inputs
    num_edges, heads = scores.shape
    rows = Rows(indptr, num_edges, heads)
    out, peaks, masses = torch.empty_like(scores), *(scores.new_empty(rows.num_rows, heads) for _ in range(2))
    part_peak, part_mass = (rows.scratch(scores.dtype, heads) for _ in range(2))
    rows.run(
        mass_by_destination, scores=scores, peaks=peaks, masses=masses, part_peak=part_peak, part_mass=part_mass, H=heads
    )  # fmt: skip
    rows.finish(mass_finish, part_peak=part_peak, part_mass=part_mass, peaks=peaks, masses=masses, H=heads)
    rows.run(quotients, scores=scores, peaks=peaks, masses=masses, out=out, H=heads)
    return out, Saved(out)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    out, (num_edges, heads) = saved.out, grad.shape
    rows = Rows(inputs.indptr, num_edges, heads)
    dots, part, grad_scores = grad.new_empty(rows.num_rows, heads), rows.scratch(grad.dtype, heads), torch.empty_like(grad)
    rows.run(dots_by_destination, grad=grad, out=out, dots=dots, part=part, H=heads)
    rows.finish(add_parts, scratch=part, out=dots, C=heads)
    rows.run(score_gradients, grad=grad, out=out, dots=dots, grad_scores=grad_scores, H=heads)
    return gradients(Inputs, scores=grad_scores)
