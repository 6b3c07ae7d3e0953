"""`norm_relu`: torch's layer norm, ReLU and a mask, and the fused kernels compute it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from revgnn.ops import norm_relu
from revgnn.testing import peak_bytes
from revgnn.testing.operators import norm_relu_leaves


def test_gradients_by_finite_differences() -> None:
    mask = torch.tensor([[2.0, 0.0, 2.0], [0.0, 2.0, 2.0]], dtype=torch.float64)
    leaves = [t.requires_grad_() for t in norm_relu_leaves(2, 3).values()]
    assert torch.autograd.gradcheck(lambda *t: norm_relu(*t, mask), leaves)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    leaves = [t.float().requires_grad_() for t in norm_relu_leaves(5000, 24).values()]

    def run() -> list[Tensor]:
        out = norm_relu(*leaves)
        return [out, *torch.autograd.grad(out, leaves, torch.ones_like(out))]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = run()
        torch.set_num_threads(3)
        assert all(torch.equal(a, b) for a, b in zip(one, run(), strict=True))
    finally:
        torch.set_num_threads(before)


def test_no_rows_and_nan() -> None:
    assert norm_relu(torch.empty(0, 8), torch.ones(8), torch.zeros(8)).shape == (0, 8)
    x = torch.randn(3, 8)
    x[1, 2] = float("nan")
    out = norm_relu(x, torch.ones(8), torch.zeros(8))
    assert out[1].isnan().all()
    assert torch.isfinite(out[[0, 2]]).all()


def test_nothing_but_the_result_is_allocated() -> None:
    x, ones = torch.randn(1000, 64, requires_grad=True), torch.ones(64)
    norm_relu(x, ones, ones)
    assert peak_bytes(lambda: norm_relu(x, ones, ones)) < 1.1 * x.nbytes


def test_wide_rows_take_the_reference_and_bad_input_is_refused() -> None:
    wide = torch.randn(2, 2000)
    out = norm_relu(wide, torch.ones(2000), torch.zeros(2000))
    torch.testing.assert_close(out, torch.nn.functional.layer_norm(wide, (2000,)).relu())
    with pytest.raises(ValueError, match="up to 1024 channels, got 2000"):
        norm_relu(wide, torch.ones(2000), torch.zeros(2000), backend="cpu")
    with pytest.raises(ValueError, match=r"weight must be torch.float32 of shape \(8,\)"):
        norm_relu(torch.randn(2, 8), torch.ones(7), torch.zeros(8))
    with pytest.raises(ValueError, match="x must be float32 or float64"):
        norm_relu(torch.randn(2, 8).half(), torch.ones(8), torch.zeros(8))
    with pytest.raises(ValueError, match="unknown backend 'tpu'"):
        norm_relu(torch.randn(2, 8), torch.ones(8), torch.zeros(8), backend="tpu")
