"""The random numbers that the blocks of a stack share."""

from __future__ import annotations

from revgnn import shared_dropout_mask


def test_shared_mask_keeps_the_mean() -> None:
    mask = shared_dropout_mask((1000, 100), 0.2)
    assert set(mask.unique().tolist()) == {0.0, 1.25}
    assert abs(float(mask.mean()) - 1.0) < 0.01
