"""A permutation is a function of its seed."""

from __future__ import annotations

import pytest
import torch

from revgnn.ops.permutation import permutation

LARGEST = 2**63 - 1


@pytest.mark.parametrize("size", [0, 1, 1000])
@pytest.mark.parametrize("seed", [0, 7, LARGEST])
def test_it_is_one_and_the_same_each_time(size: int, seed: int) -> None:
    like = torch.empty(size, 3)
    random = torch.get_rng_state()
    order = permutation(seed, like)
    assert torch.equal(order.sort().values, torch.arange(size))
    assert torch.equal(order, permutation(torch.tensor(seed), like))
    assert torch.equal(random, torch.get_rng_state())


def test_other_seeds_give_others() -> None:
    like = torch.empty(1000)
    assert len({bytes(permutation(seed, like).numpy()) for seed in range(50)}) == 50


def test_every_place_is_as_likely() -> None:
    """Over 4,000 seeds each of 10 entries stands in front about 400 times (standard deviation 19)."""
    like = torch.empty(10)
    first = torch.stack([permutation(seed, like)[0] for seed in range(4000)])
    assert (first.bincount(minlength=10) - 400).abs().max() < 5 * 19


def test_it_is_a_sound_operator() -> None:
    torch.library.opcheck(torch.ops.revgnn.permutation, (torch.tensor(3), torch.empty(17)))
