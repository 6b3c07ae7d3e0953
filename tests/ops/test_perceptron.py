"""`perceptron`: linear, layer norm, ReLU, linear, as torch has them, and the fused kernels compute it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from revgnn.ops import perceptron
from revgnn.testing import peak_bytes
from revgnn.testing.comparison import assert_matches_reference
from revgnn.testing.operators import call_perceptron, perceptron_leaves


def test_wide_layers() -> None:
    for rows in (1, 17):
        assert_matches_reference(call_perceptron, perceptron_leaves(rows, 4, 300, 28), dtype=torch.float64)


def test_gradients_by_finite_differences() -> None:
    leaves = [t.requires_grad_() for t in perceptron_leaves(3, 4, 8, 4).values()]
    assert torch.autograd.gradcheck(perceptron, leaves)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    leaves = [t.float().requires_grad_() for t in perceptron_leaves(3001, 32, 64, 32).values()]

    def run() -> list[Tensor]:
        out = perceptron(*leaves)
        return [out, *torch.autograd.grad(out, leaves, torch.ones_like(out))]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = run()
        torch.set_num_threads(3)
        assert all(torch.equal(a, b) for a, b in zip(one, run(), strict=True))
    finally:
        torch.set_num_threads(before)


def test_a_row_does_not_depend_on_where_it_stands() -> None:
    x, *rest = (t.float().requires_grad_() for t in perceptron_leaves(100, 40, 80, 40).values())
    grad = torch.randn(100, 40, generator=torch.Generator().manual_seed(2))
    out = perceptron(x, *rest)
    (grad_x,) = torch.autograd.grad(out, x, grad)
    for first in (1, 30, 99):
        part = x.detach()[first:].clone().requires_grad_()
        assert torch.equal(perceptron(part, *rest), out[first:])
        assert torch.equal(torch.autograd.grad(perceptron(part, *rest), part, grad[first:])[0], grad_x[first:])
    with torch.no_grad():
        assert torch.equal(perceptron(x, *rest), out)


def test_the_hidden_layer_is_never_built() -> None:
    x, *rest = (t.float().requires_grad_() for t in perceptron_leaves(20_000, 16, 32, 16).values())
    perceptron(x, *rest).sum().backward()

    def step() -> None:
        perceptron(x, *rest).sum().backward()

    x.grad = None
    # the result, its gradient, the gradient of x, and sums of each block
    assert peak_bytes(step) < 4 * x.nbytes


def test_nan_stays_in_its_row() -> None:
    x, *rest = (t.float() for t in perceptron_leaves(50, 8, 16, 8).values())
    x[7, 3] = float("nan")
    out = perceptron(x, *rest)
    assert out[7].isnan().all()
    assert torch.isfinite(out[torch.arange(50) != 7]).all()
    assert perceptron(x[:0], *rest).shape == (0, 8)


def test_other_widths_take_the_reference_and_bad_input_is_refused() -> None:
    leaves = [t.float() for t in perceptron_leaves(5, 7, 14, 7).values()]
    assert torch.equal(perceptron(*leaves), perceptron(*leaves, backend="reference"))
    with pytest.raises(ValueError, match="multiples of 4 up to 1024, got 7, 14 and 7"):
        perceptron(*leaves, backend="cpu")
    with pytest.raises(ValueError, match=r"gamma must be torch.float32 of shape \(14,\)"):
        perceptron(*leaves[:3], torch.ones(13), *leaves[4:])
    with pytest.raises(ValueError, match="x must be float32 or float64"):
        perceptron(leaves[0].half(), *leaves[1:])
    with pytest.raises(ValueError, match="unknown backend 'tpu'"):
        perceptron(*leaves, backend="tpu")
