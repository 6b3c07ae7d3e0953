"""What is drawn for some rows of a larger tensor is what is drawn for all of it, in these rows."""

from __future__ import annotations

import pytest
import torch

from revgnn.models import shared_dropout_mask
from revgnn.ops.dropout import dropout, normal_like, rows_of_larger

ROWS = torch.tensor([1, 4, 5, 30, 96])


def drawn(x: torch.Tensor, rate: float) -> list[torch.Tensor]:
    """Return a mask, dropout of `x`, normal numbers, and the next number."""
    torch.manual_seed(3)
    return [shared_dropout_mask((len(x), 6), rate), dropout(x, rate, training=True), normal_like(x), torch.rand(1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_rows_are_those_of_the_whole(rate: float, dtype: torch.dtype) -> None:
    x = torch.randn(97, 6, dtype=dtype)
    *whole, after = drawn(x, rate)
    with rows_of_larger(ROWS, 97):
        found = drawn(x[ROWS], rate)
    for rows, of_all in zip(found, whole, strict=False):
        assert torch.equal(rows, of_all[ROWS])
    assert torch.equal(found[-1], after)


def test_another_tensor_is_an_error() -> None:
    with rows_of_larger(ROWS, 97), pytest.raises(ValueError, match="drawn for 5 rows of 97, but the tensor has 3"):
        dropout(torch.randn(3, 2), 0.5, training=True)
