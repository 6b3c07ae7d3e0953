"""The assertions fail when they should, and pass when they should."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from revgnn.testing import (
    assert_close_to_truth,
    assert_gradients_equal,
    awkward_graphs,
    gradients_of,
    nan_filled_empty,
    peak_bytes,
)


class TestAwkwardGraphs:
    def test_names_are_unique_and_printed(self):
        graphs = awkward_graphs()
        assert len({str(g) for g in graphs}) == len(graphs) >= 10

    def test_they_are_awkward(self):
        graphs = {g.name: g.graph for g in awkward_graphs()}
        assert graphs["no edges"].num_edges == 0
        assert graphs["single node"].num_nodes == 1
        assert graphs["star in"].in_degree.tolist() == [37] + [0] * 37
        assert graphs["star out"].out_degree.tolist() == [37] + [0] * 37
        assert bool((graphs["self-loops only"].src == graphs["self-loops only"].dst).all())
        doubled = graphs["doubled edges"].edge_index
        assert doubled.unique(dim=1).shape[1] * 3 <= doubled.shape[1]
        isolated = graphs["first and last nodes isolated"]
        assert isolated.in_degree[-3:].sum() == isolated.out_degree[-3:].sum() == isolated.in_degree[:3].sum() == 0
        tail = graphs["power law"]
        assert tail.in_degree.max() > 10 * tail.in_degree.float().mean()
        assert tail.in_degree.min() == 0

    def test_edge_features_are_the_same_at_every_call(self):
        for first, second in zip(awkward_graphs(5, dtype=torch.float64), awkward_graphs(5, dtype=torch.float64), strict=True):
            assert first.graph.edge_attr is not None
            assert second.graph.edge_attr is not None
            assert first.graph.edge_attr.shape == (first.graph.num_edges, 5)
            assert first.graph.edge_attr.dtype == torch.float64
            assert torch.equal(first.graph.edge_attr, second.graph.edge_attr)
            assert torch.equal(first.graph.edge_index, second.graph.edge_index)


class TestCloseToTruth:
    @pytest.fixture
    def truth(self) -> Tensor:
        return torch.randn(50, 7, dtype=torch.float64)

    def test_accepts_the_result_of_plain_torch(self, truth: Tensor):
        reference = truth.float()
        assert_close_to_truth(reference.clone(), reference, truth)

    def test_limit_is_twice_the_references_error_and_one_rounding(self, truth: Tensor):
        reference = truth.float()
        reference[3, 4] += 1e-3
        rounding = float(truth.abs().max()) * torch.finfo(torch.float32).eps
        inside, outside = truth.float(), truth.float()
        inside[0, 0] += 2e-3 - 2 * rounding
        outside[0, 0] += 2e-3 + 4 * rounding
        assert_close_to_truth(inside, reference, truth)
        with pytest.raises(AssertionError, match=r"gradient of x at \(0, 0\)"):
            assert_close_to_truth(outside, reference, truth, "gradient of x")

    def test_nan_is_never_close_to_a_number(self, truth: Tensor):
        ours = truth.float()
        ours[2, 1] = torch.nan
        with pytest.raises(AssertionError, match=r"is nan at \(2, 1\)"):
            assert_close_to_truth(ours, truth.float(), truth)
        # Also if the reference is NaN as well.
        with pytest.raises(AssertionError, match="is nan"):
            assert_close_to_truth(ours, ours.clone(), truth)

    def test_infinities_must_agree_in_place_and_sign(self, truth: Tensor):
        truth[1, 1] = torch.inf
        assert_close_to_truth(truth.float(), truth.float(), truth)
        ours = truth.float()
        ours[1, 1] = -torch.inf
        with pytest.raises(AssertionError, match="is -inf"):
            assert_close_to_truth(ours, truth.float(), truth)

    def test_shape_and_dtype(self, truth: Tensor):
        with pytest.raises(AssertionError, match="float64"):
            assert_close_to_truth(truth, truth.float(), truth)
        with pytest.raises(AssertionError, match=r"\(7, 50\)"):
            assert_close_to_truth(truth.float().t(), truth.float(), truth)
        with pytest.raises(ValueError, match="truth must be float64"):
            assert_close_to_truth(truth.float(), truth.float(), truth.float())

    def test_empty(self):
        empty = torch.empty(0, 3)
        assert_close_to_truth(empty, empty, empty.double())


class Net(nn.Module):
    """Uses dropout and batch norm, so that random state and buffers matter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 4))
        self.unused = nn.Parameter(torch.ones(3))
        self.spoil = 0.0

    def forward(self, x: Tensor, scale: float) -> Tensor:
        return self.body(x) * scale + self.spoil * x.sum()


class TestGradients:
    @pytest.fixture
    def x(self) -> Tensor:
        return torch.randn(20, 6, requires_grad=True)

    def test_equal_networks_are_equal(self, x: Tensor):
        net = Net()
        assert_gradients_equal(copy.deepcopy(net), net, x, 0.5)
        assert x.grad is None
        assert all(p.grad is None for p in net.parameters())

    def test_autocast(self, x: Tensor):
        net = Net()
        found = gradients_of(net, x, 0.5, autocast=torch.bfloat16)
        assert found["output"] is not None
        assert found["output"].dtype == torch.bfloat16
        assert_gradients_equal(copy.deepcopy(net), net, x, 0.5, autocast=torch.bfloat16)

    def test_returns_output_gradients_and_buffers(self, x: Tensor):
        found = gradients_of(Net(), x, 0.5)
        assert {"output", "input 0", "parameter body.0.weight", "parameter unused", "buffer body.1.running_mean"} <= found.keys()
        assert found["parameter unused"] is None
        assert found["parameter body.0.weight"] is not None

    def test_the_random_state_of_the_caller_does_not_change(self, x: Tensor):
        net = Net()
        before = torch.get_rng_state()
        gradients_of(net, x, 0.5)
        assert torch.equal(torch.get_rng_state(), before)

    def test_one_wrong_gradient_is_found(self, x: Tensor):
        net = Net()
        other = copy.deepcopy(net)
        other.body[4].weight.register_hook(lambda g: g * (1 + 1e-6))
        with pytest.raises(AssertionError, match=r"1 of \d+ tensors differ:\n  parameter body.4.weight"):
            assert_gradients_equal(other, net, x, 0.5)

    def test_a_missing_gradient_is_found(self, x: Tensor):
        net = Net()
        other = copy.deepcopy(net)
        other.body[0].weight.requires_grad_(False)
        with pytest.raises(AssertionError, match=r"parameter body\.0\.weight: ours is missing"):
            assert_gradients_equal(other, net, x, 0.5)

    def test_a_moved_buffer_is_found(self, x: Tensor):
        net = Net()
        other = copy.deepcopy(net)

        def move(module: nn.Module, *_: object) -> None:
            module.num_batches_tracked.add_(1)

        other.body[1].register_forward_hook(move)
        with pytest.raises(AssertionError, match=r"buffer body\.1\.num_batches_tracked"):
            assert_gradients_equal(other, net, x, 0.5)

    def test_the_gradient_of_the_input_is_compared(self, x: Tensor):
        net = Net()
        other = copy.deepcopy(net)
        other.register_full_backward_hook(lambda module, grads, _: (grads[0] * 2, *grads[1:]))
        with pytest.raises(AssertionError, match="input 0"):
            assert_gradients_equal(other, net, x, 0.5)

    def test_networks_that_differ_from_the_start_are_refused(self, x: Tensor):
        with pytest.raises(ValueError, match="differ before they run"):
            assert_gradients_equal(Net(), Net(), x, 0.5)
        with pytest.raises(ValueError, match="do not have the same parameters"):
            assert_gradients_equal(Net(), nn.Linear(6, 4), x)

    def test_nothing_to_compare_is_refused(self):
        class Constant(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.ones(3, requires_grad=True) * 2

        with pytest.raises(ValueError, match="nothing to compare"):
            assert_gradients_equal(Constant(), Constant(), torch.ones(3))


@torch.library.custom_op("revgnn_test::unwritten", mutates_args=())
def unwritten(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_empty_memory_is_nan():
    settings = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    with nan_filled_empty():
        for fresh in (
            torch.empty(5),
            torch.empty_like(torch.ones(5)),
            torch.ones(5).new_empty(5),
            torch.empty(5, dtype=torch.bfloat16),
        ):
            assert fresh.isnan().all()
        assert unwritten(torch.ones(5)).isnan().all()
        assert (torch.empty(5, dtype=torch.int64) == torch.iinfo(torch.int64).max).all()
        # `put_` has no deterministic implementation: neither an error nor a warning.
        torch.ones(3).put_(torch.tensor([0, 0]), torch.ones(2))
    assert settings == (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)


def test_peak_bytes():
    x = torch.ones(1000)
    assert peak_bytes(lambda: x + 1 + 1) == 8000
    assert peak_bytes(lambda: None) == 0
