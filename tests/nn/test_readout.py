"""Readouts against PyTorch Geometric's pools, gradients included; the state of a graph does not depend on its neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import AttentionalAggregation, global_add_pool, global_max_pool, global_mean_pool

from revgnn.nn.readout import READOUTS, Readout
from revgnn.testing import assert_close_to_truth

SIZES = torch.tensor([3, 1, 7, 1, 1, 12])
D = 5
POOLS = {"sum": global_add_pool, "mean": global_mean_pool, "max": global_max_pool}


def indptr(sizes: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])


def theirs(readout: Readout, h: Tensor, batch: Tensor) -> Tensor:
    if readout.gate is None:
        return POOLS[readout.how](h, batch)
    return AttentionalAggregation(readout.gate)(h, batch)


@pytest.mark.parametrize("how", READOUTS)
def test_value_and_gradients_are_those_of_their_pools(how: str) -> None:
    readout = Readout(how, D).double()
    h = torch.randn(int(SIZES.sum()), D, dtype=torch.float64, requires_grad=True)
    batch = torch.repeat_interleave(torch.arange(len(SIZES)), SIZES)
    weight = torch.randn(len(SIZES), D, dtype=torch.float64)
    inputs = [h, *readout.parameters()]
    ours, other = readout(h, indptr(SIZES)), theirs(readout, h, batch)
    torch.testing.assert_close(ours, other, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((out * weight).sum(), inputs) for out in (ours, other)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("how", READOUTS)
def test_float32_is_as_close_to_the_truth_as_theirs(how: str) -> None:
    readout, h = Readout(how, D), 3 * torch.randn(int(SIZES.sum()), D)
    batch = torch.repeat_interleave(torch.arange(len(SIZES)), SIZES)
    truth = theirs(readout.double(), h.double(), batch).detach()
    readout.float()
    assert_close_to_truth(readout(h, indptr(SIZES)).detach(), theirs(readout, h, batch).detach(), truth)


@pytest.mark.parametrize("how", READOUTS)
def test_a_graph_does_not_depend_on_the_others_bit_for_bit(how: str) -> None:
    """The gate of attention is a matrix product, whose rounding may depend on the number of rows."""
    readout, h = Readout(how, D), torch.randn(int(SIZES.sum()), D)
    together, offsets = readout(h, indptr(SIZES)), indptr(SIZES)
    for g in range(len(SIZES)):
        rows = h[offsets[g] : offsets[g + 1]]
        alone = readout(rows, torch.tensor([0, len(rows)]))
        if how == "attention":
            torch.testing.assert_close(alone[0], together[g], rtol=1e-6, atol=1e-6)
        else:
            assert torch.equal(alone[0], together[g])


@pytest.mark.parametrize("how", READOUTS)
def test_under_autocast_it_reduces_in_float32(how: str) -> None:
    h = torch.randn(int(SIZES.sum()), D)
    with torch.autocast("cpu", torch.bfloat16):
        assert Readout(how, D)(h.bfloat16(), indptr(SIZES)).dtype == torch.float32


def test_huge_gates_do_not_overflow() -> None:
    readout = Readout("attention", 1)
    assert readout.gate is not None
    torch.nn.init.constant_(readout.gate.weight, 1e4)
    out = readout(torch.tensor([[1.0], [3.0], [-2.0]]), torch.tensor([0, 2, 3]))
    assert out.tolist() == [[3.0], [-2.0]]


def test_an_unknown_readout() -> None:
    with pytest.raises(ValueError, match="a readout is one of sum, mean, max, attention, got 'min'"):
        Readout("min", D)
