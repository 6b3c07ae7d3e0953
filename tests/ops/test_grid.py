"""Sums on the grid are exact, and the fused kernel is the reference to the last bit."""

from __future__ import annotations

import pytest
import torch

from revgnn.ops import grid
from revgnn.ops.grid import reference

SIZES = [(1, 1), (3, 5), (64, 1), (37, 17), (1000, 70)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [None, 0, 14, 40])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_kernel_equals_reference(size, bits, dtype) -> None:
    state, change = torch.randn(size, dtype=dtype), torch.randn(size, dtype=dtype)
    out, peak = grid.advance(state, change, bits)
    expected, expected_peak = reference.advance(state, change, bits, 1.0)
    assert torch.equal(out, expected)
    assert torch.equal(peak, expected_peak)
    assert torch.equal(grid.retreat(state, change, bits), reference.advance(state, change, bits, -1.0)[0])


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, 14), (torch.float32, 4), (torch.float64, 40)])
def test_what_is_added_can_be_taken_back(dtype, bits) -> None:
    limit = grid.limit(dtype, bits)
    state = grid.round_to_grid((torch.rand(5000, dtype=dtype) * 2 - 1) * limit / 2, bits)
    for scale in (1e-6, 1.0, limit / 4):
        change = torch.randn(5000, dtype=dtype).clamp(-2, 2) * scale
        there, peak = grid.advance(state, change, bits)
        assert peak <= limit
        assert torch.equal(grid.retreat(there, change, bits), state)


def test_rounding_is_to_nearest_even_and_passes_gradients() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, 0.74], requires_grad=True)
    out = grid.round_to_grid(x, 0)
    assert out.tolist() == [0.0, 2.0, 2.0, -0.0, 1.0]
    out.backward(torch.arange(5.0))
    assert torch.equal(x.grad, torch.arange(5.0))
    assert grid.round_to_grid(x, None) is x


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 63, 64, 99])
def test_the_peak_shows_what_is_not_finite(bad: float, where: int) -> None:
    change = torch.zeros(100)
    change[where] = bad
    _, peak = grid.advance(torch.zeros(100), change, 14)
    assert not torch.isfinite(peak)


def test_half_precision_changes_and_strided_ones() -> None:
    state, change = torch.randn(6, 8), torch.randn(8, 6).t()
    assert torch.equal(grid.advance(state, change, 14)[0], reference.advance(state, change, 14, 1.0)[0])
    half = change.bfloat16()
    assert torch.equal(grid.advance(state, half, 14)[0], reference.advance(state, half, 14, 1.0)[0])
    assert grid.advance(torch.empty(0, 4), torch.empty(0, 4), 14)[0].shape == (0, 4)
