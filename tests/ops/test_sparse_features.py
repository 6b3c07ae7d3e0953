"""Products of features that are mostly zeros: equal to dense ones, from entries that are found once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from revgnn import GATConv, GCNConv, GENConv, SAGEConv
from revgnn.graph import Graph
from revgnn.memory import Rehearsal
from revgnn.nn.base import AbstractConv
from revgnn.ops import sparse_features
from revgnn.ops.sparse_features import Entries, entries_of, linear
from tests.nn.peers import cora

CONVS = {
    "GCN": lambda: GCNConv(300, 8),
    "GCN without normalisation": lambda: GCNConv(300, 8, normalize=False),
    "SAGE": lambda: SAGEConv(300, 8),
    "SAGE that widens": lambda: SAGEConv(300, 310),
    "GAT": lambda: GATConv(300, 4, heads=2, residual=True),
    "GEN": lambda: GENConv(300, 8, norm="layer"),
}


def sparse(rows: int, channels: int, per_row: int, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Features with a few random entries in each row but the first, which has none, as have the last row and column."""
    rng = torch.Generator().manual_seed(seed)
    columns = torch.randint(0, channels - 1, (rows, per_row), generator=rng)
    x = torch.zeros(rows, channels, dtype=dtype)
    x.scatter_(1, columns, torch.randn(rows, per_row, generator=rng, dtype=dtype))
    x[0] = x[-1] = 0
    return x


def weight_of(x: Tensor, out_channels: int = 8) -> Tensor:
    return torch.randn(out_channels, x.shape[1], dtype=x.dtype, generator=torch.Generator().manual_seed(1))


def found(x: Tensor, weight: Tensor) -> Entries:
    entries = entries_of(x, weight)
    assert entries is not None
    return entries


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(1, 256, 5), (40, 256, 0), (50, 257, 16), (33, 319, 3), (3000, 1433, 18)], ids=str)
def test_entries_are_those_that_are_not_zero(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x = sparse(*shape, dtype=dtype)
    x[:, -1] = torch.arange(len(x)) % 16 == 3  # the last channel of the last word
    entries = found(x, weight_of(x))
    row, column = x.nonzero(as_tuple=True)
    assert torch.equal(entries.indptr[1:], (x != 0).sum(1).cumsum(0))
    assert torch.equal(entries.column.long(), column)
    assert torch.equal(entries.value, x[row, column])
    by_column, by_row = x.t().nonzero(as_tuple=True)
    assert torch.equal(entries.column_indptr[1:], (x != 0).sum(0).cumsum(0))
    assert torch.equal(entries.row.long(), by_row)
    assert torch.equal(entries.value[entries.position], x[by_row, by_column])


def test_signs_of_zero_and_what_is_not_a_number() -> None:
    x = sparse(64, 256, 2)
    x[5, 7], x[6, 8], x[7, 9] = -0.0, torch.nan, torch.inf
    out = linear(x, found(x, weight_of(x)), weight_of(x), None)
    dense = x @ weight_of(x).t()
    torch.testing.assert_close(out, dense, equal_nan=True)
    assert out[6].isnan().all()


@pytest.mark.parametrize("out_channels", [1, 8, 200])
def test_value_and_gradients_are_those_of_a_dense_map(out_channels: int) -> None:
    x = sparse(50, 300, 9).requires_grad_()
    layer = nn.Linear(300, out_channels, dtype=torch.float64)
    projection = torch.randn(50, out_channels, dtype=torch.float64)
    outs = [linear(x, found(x, layer.weight), layer.weight, layer.bias), layer(x)]
    for ours, theirs in zip(
        *([out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], projection)] for out in outs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONVS)
def test_convolutions_agree_with_dense_features(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph.from_edge_index(torch.randint(0, 50, (2, 200), generator=torch.Generator().manual_seed(2)), 50)
    x, conv = sparse(50, 300, 9).requires_grad_(), CONVS[name]().double()
    ours = results(conv, x, graph)
    assert entries_of(x, weight_of(x)) is not None
    monkeypatch.setattr(sparse_features, "FEWEST_CHANNELS", 10**9)
    for one, other in zip(ours, results(conv, x, graph), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def results(conv: AbstractConv, x: Tensor, graph: Graph) -> list[Tensor]:
    """Value, and gradients of everything."""
    out = conv(x, graph)
    projection = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out.detach(), *torch.autograd.grad(out, [x, *conv.parameters()], projection)]


@pytest.mark.parametrize("name", CONVS)
def test_a_second_evaluation_has_the_same_bits(name: str) -> None:
    """Reversible blocks evaluate once without a graph of autograd, and once with one; other tensors, equal numbers."""
    graph = Graph.from_edge_index(torch.randint(0, 50, (2, 200), generator=torch.Generator().manual_seed(2)), 50)
    x, conv = sparse(50, 300, 9, dtype=torch.float32), CONVS[name]()
    with torch.no_grad():
        first = conv(x, graph)
    with torch.inference_mode():
        unseen = conv(x, graph)
    assert torch.equal(first, conv(x.clone().requires_grad_(), graph))
    assert torch.equal(first, unseen)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x = sparse(3000, 1433, 18, dtype=torch.float32)
    threads, outs = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            leaf, weight = x.clone(), weight_of(x).requires_grad_()
            out = linear(leaf, found(leaf, weight), weight, None)
            outs.append((out.detach(), *torch.autograd.grad(out.square().sum(), weight)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in outs[1:] for a, b in zip(outs[0], other, strict=True))


REFUSED: dict[str, Callable[[], Tensor]] = {
    "dense": lambda: torch.randn(40, 300),
    "narrow": lambda: sparse(40, 255, 2),
    "sparse only in the rows that are looked at": lambda: torch.randn(80, 300) * (torch.arange(80) % 10 != 0).unsqueeze(1),
    "half precision": lambda: sparse(40, 300, 2, dtype=torch.float32).half(),
    "not contiguous": lambda: sparse(300, 300, 2).t(),
    "no rows": lambda: sparse(2, 300, 1)[:0],
    "meta": lambda: torch.empty(40, 300, device="meta"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_features_take_the_dense_product(kind: str) -> None:
    x = REFUSED[kind]()
    assert entries_of(x, torch.empty(8, x.shape[1], dtype=x.dtype, device=x.device)) is None


def test_what_has_to_see_operators_sees_the_dense_product() -> None:
    x = sparse(40, 300, 2, dtype=torch.float32)
    with torch.autocast("cpu"):
        assert entries_of(x, weight_of(x)) is None
    assert torch.func.vmap(lambda row: row.sum() if entries_of(x, row.unsqueeze(0)) is None else row)(weight_of(x)).shape == (8,)
    with Rehearsal():
        assert entries_of(torch.zeros(40, 300), torch.zeros(8, 300)) is None
    with torch.inference_mode():
        assert entries_of(torch.zeros(40, 300), weight_of(x)) is None


def test_entries_are_found_once_and_again_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    x = sparse(40, 300, 2)
    weight, entries = weight_of(x), found(x, weight_of(x))
    assert entries_of(x, weight) is entries
    x[3, 4] = 5.0
    changed = found(x, weight)
    assert changed is not entries
    torch.testing.assert_close(linear(x, changed, weight, None), x @ weight.t())
    before = len(sparse_features._known)
    del x
    gc.collect()
    assert len(sparse_features._known) == before - 1
    monkeypatch.setattr(sparse_features, "LIMIT", 3)
    kept = [sparse(8, 256, 1, seed=seed) for seed in range(5)]
    for each in kept:
        entries_of(each, weight_of(each))
    assert len(sparse_features._known) <= 3


def test_other_data_in_the_same_tensor_are_seen() -> None:
    """Entries of more channels than there are now would be read out of bounds."""
    x = sparse(40, 600, 2)
    found(x, weight_of(x))
    for other in (sparse(30, 256, 3, seed=1), sparse(30, 256, 3, seed=2), sparse(30, 256, 3, dtype=torch.float32)):
        x.data = other
        torch.testing.assert_close(linear(x, found(x, weight_of(x)), weight_of(x), None), other @ weight_of(x).t())


def test_coras_words_are_sparse(copy_of_real_data: Callable[[str], Path]) -> None:
    x, _ = cora(copy_of_real_data("planetoid/Cora"))
    assert len(found(x, weight_of(x)).value) == 49_216
