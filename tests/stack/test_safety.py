"""What users do inside and around a stack, and other reversible networks get wrong."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from revgnn.nn import GENConv, PreActivation
from revgnn.stack import (
    AdditiveCoupling,
    Backprop,
    Checkpoint,
    PerGroup,
    Residual,
    ResidualStack,
    Reversible,
    ReversibleStack,
    Stack,
    StateRangeError,
)
from tests.stack.networks import Scale, gen_stack

RECOMPUTING = [Reversible(), Checkpoint(), Reversible(segments=2)]
ids = {"ids": str}


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(60, 16)


@pytest.mark.parametrize("strategy", RECOMPUTING, **ids)
def test_the_input_stays_readable(strategy, x, random_graph) -> None:
    stack = gen_stack(4, 2, 8, gradient=strategy)
    h = torch.relu(x.clone().requires_grad_())  # an activation, which autograd saves for its own backward pass
    copy = h.detach().clone()
    out = stack(h, random_graph)
    assert torch.equal(h, copy)
    (out.sum() + (3 * h).sum()).backward()
    assert torch.equal(h, copy)


@pytest.mark.parametrize("strategy", RECOMPUTING, **ids)
def test_backward_twice_with_retain_graph(strategy, x, random_graph) -> None:
    stack = gen_stack(4, 2, 8, gradient=strategy, dropout=0.2)
    x.requires_grad_()
    loss = stack(x, random_graph).square().sum()
    first = torch.autograd.grad(loss, [x, *stack.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [x, *stack.parameters()])
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("strategy", RECOMPUTING, **ids)
def test_gradients_accumulate(strategy, x, random_graph) -> None:
    stack = gen_stack(3, 2, 8, gradient=strategy)
    stack(x, random_graph).sum().backward()
    once = [p.grad.clone() for p in stack.parameters()]
    stack(x, random_graph).sum().backward()
    for parameter, grad in zip(stack.parameters(), once, strict=True):
        assert torch.equal(parameter.grad, grad + grad)


@pytest.mark.parametrize("strategy", RECOMPUTING, **ids)
def test_double_backward_is_refused(strategy, x, random_graph) -> None:
    stack = gen_stack(3, 2, 8, gradient=strategy)
    x.requires_grad_()
    with pytest.raises(RuntimeError, match=r"cannot be differentiated twice.*Backprop"):
        torch.autograd.grad(stack(x, random_graph).sum(), x, create_graph=True)


@pytest.mark.parametrize("strategy", RECOMPUTING, **ids)
def test_parameters_changed_before_backward_are_refused(strategy, x, random_graph) -> None:
    stack = gen_stack(3, 2, 8, gradient=strategy)
    loss = stack(x, random_graph).sum()
    with torch.no_grad():
        next(stack.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="changed in place between the forward and the backward pass"):
        loss.backward()


@pytest.mark.parametrize("strategy", [Backprop(), *RECOMPUTING], **ids)
def test_batch_norm_updates_its_statistics_once_a_step(strategy, x, random_graph) -> None:
    stack = gen_stack(3, 2, 8, norm="batch", gradient=strategy)
    stack(x, random_graph).sum().backward()
    counts = {int(b) for name, b in stack.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {1}
    assert all(m.track_running_stats for m in stack.modules() if isinstance(m, nn.BatchNorm1d))


@pytest.mark.parametrize("strategy", [Reversible(), Checkpoint()], **ids)
def test_each_block_is_evaluated_exactly_twice(strategy, x, random_graph) -> None:
    stack = gen_stack(5, 2, 8, gradient=strategy)
    calls: dict[nn.Module, int] = {}
    for layer in stack.layers:
        for block in layer.blocks:
            block.register_forward_hook(lambda module, *_: calls.update({module: calls.get(module, 0) + 1}))
    stack(x, random_graph).sum().backward()
    assert len(calls) == 10
    assert set(calls.values()) == {2}


@pytest.mark.parametrize("strategy", RECOMPUTING, **ids)
def test_tensors_that_a_hook_has_seen_do_not_change_later(strategy, x, random_graph) -> None:
    stack = gen_stack(4, 2, 8, gradient=strategy)
    seen = []
    stack.layers[0].blocks[1].register_forward_hook(
        lambda _, inputs, out: seen.append((inputs[0], inputs[0].clone(), out, out.clone()))
    )
    stack(x, random_graph).sum().backward()
    assert len(seen) == 2
    for inputs, inputs_then, out, out_then in seen:
        assert torch.equal(inputs, inputs_then)
        assert torch.equal(out, out_then)
    assert torch.equal(seen[0][1], seen[1][1]), "the second evaluation has the input of the first"


def test_no_grad_and_eval(x, random_graph) -> None:
    stack = gen_stack(4, 2, 8, norm="batch", dropout=0.5)
    stack.eval()
    with torch.no_grad():
        a = stack(x, random_graph)
    b = stack(x, random_graph)
    assert not a.requires_grad
    assert torch.equal(a, b)


def test_torch_manual_seed_governs_dropout(x, random_graph) -> None:
    stack = gen_stack(4, 2, 8, dropout=0.5)
    torch.manual_seed(3)
    first, after_first = stack(x, random_graph), torch.rand(1)
    second = stack(x, random_graph)
    torch.manual_seed(3)
    again, after_again = stack(x, random_graph), torch.rand(1)
    assert torch.equal(first, again)
    assert torch.equal(after_first, after_again)
    assert not torch.equal(first, second)


def test_each_block_draws_numbers_of_its_own() -> None:
    class Noise(nn.Module):
        def forward(self, y):
            drawn.append(torch.rand(4))
            return torch.zeros_like(y)

    drawn: list[torch.Tensor] = []
    ReversibleStack([[Noise(), Noise()] for _ in range(3)])(torch.randn(5, 4))
    assert len({tuple(d.tolist()) for d in drawn}) == 6


def test_a_block_that_ignores_its_input(x) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.randn(60, 8))

        def forward(self, y):
            return self.value

    stack = ReversibleStack([[Constant(), Constant()] for _ in range(3)])
    results = []
    for strategy in (Backprop(), Reversible()):
        stack.gradient = strategy
        stack.zero_grad()
        stack(x).square().sum().backward()
        results.append([p.grad.clone() for p in stack.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_everything_frozen(x, random_graph) -> None:
    stack = gen_stack(3, 2, 8).requires_grad_(False)
    assert not stack(x, random_graph).requires_grad
    x.requires_grad_()
    stack(x, random_graph).sum().backward()
    assert x.grad is not None


def test_channels_that_do_not_divide(random_graph) -> None:
    with pytest.raises(ValueError, match=r"multiple of the 2 groups, got \(60, 15\)"):
        gen_stack(2, 2, 8)(torch.randn(60, 15), random_graph)


def test_a_block_that_changes_the_width(x) -> None:
    with pytest.raises(ValueError, match=r"block 0 of layer 0 \(Linear\) must keep the shape.*\(60, 8\).*\(60, 9\)"):
        ReversibleStack([[nn.Linear(8, 9), nn.Linear(8, 8)]])(x)


def test_arguments_are_split_only_if_they_are_per_group(x) -> None:
    """Not if their last size happens to equal the number of channels."""

    class Checks(nn.Module):
        def forward(self, y, whole, part):
            assert whole.shape == (60, 16)
            assert part.shape == (1,)
            return y * part

    ReversibleStack([[Checks(), Checks()]])(x, torch.randn(60, 16), PerGroup([torch.ones(1), torch.zeros(1)]))
    with pytest.raises(ValueError, match="one value for each of the 2 groups, got 3"):
        ReversibleStack([[Checks(), Checks()]])(x, torch.randn(60, 16), PerGroup([1, 2, 3]))


def test_a_strategy_that_does_not_fit_is_refused_at_construction() -> None:
    with pytest.raises(ValueError, match=r"layer 0 \(Residual\) cannot be inverted.*Checkpoint"):
        ResidualStack([nn.Linear(4, 4)], gradient=Reversible())
    with pytest.raises(ValueError, match="cannot be cut into segments=5"):
        ReversibleStack([[nn.Linear(4, 4), nn.Linear(4, 4)]], segments=5)
    with pytest.raises(ValueError, match="at least 2 blocks"):
        AdditiveCoupling([nn.Linear(4, 4)])
    with pytest.raises(ValueError, match=r"same number of groups, got \[1, 2\]"):
        Stack([Residual(nn.Linear(4, 4)), AdditiveCoupling([nn.Linear(4, 4), nn.Linear(4, 4)])])


def test_a_block_that_changes_its_buffer_is_refused(x) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, y):
            self.calls += 1
            return self.linear(y) / self.calls

    blocks = [[Counts(), Counts()]]
    with pytest.raises(ValueError, match=r"changes its buffer '0\.blocks\.0\.calls'.*Backprop"):
        ReversibleStack(blocks)(x)
    ReversibleStack(blocks, gradient=Backprop())(x).sum().backward()


def test_a_state_that_outgrows_its_grid_moves_to_a_coarser_one() -> None:
    x = torch.rand(10, 4) + 0.5
    stack = ReversibleStack([[Scale(1.5), Scale(1.5)] for _ in range(6)])
    with pytest.warns(UserWarning, match=r"exact below 1024 only.*Going on with 2\^-"):
        stack(x)
    assert stack.coarsened > 0
    grads = []
    for strategy in (Backprop(), Reversible()):
        stack.gradient = strategy
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            grads.append(torch.autograd.grad(stack(x).sum(), list(stack.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))

    copy = ReversibleStack([[Scale(1.5), Scale(1.5)] for _ in range(6)])
    copy.load_state_dict(stack.state_dict())
    assert copy.coarsened == stack.coarsened


def test_a_coarser_grid_does_not_update_batch_norm_twice() -> None:
    stack = ReversibleStack([[nn.Sequential(nn.BatchNorm1d(2), Scale(900.0)) for _ in range(2)] for _ in range(2)])
    with pytest.warns(UserWarning, match="Going on"):
        stack(torch.randn(10, 4))
    assert {int(m.num_batches_tracked) for m in stack.modules() if isinstance(m, nn.BatchNorm1d)} == {1}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_state_beyond_any_grid_is_an_error(bad: float) -> None:
    with pytest.raises(StateRangeError, match="reached a magnitude of"):
        ReversibleStack([[nn.Linear(2, 2), nn.Linear(2, 2)]])(torch.full((3, 4), bad))


def test_tensor_hooks_on_parameters_run_once(x, random_graph) -> None:
    results = []
    for strategy in (Backprop(), Reversible(), Checkpoint()):
        stack = gen_stack(3, 2, 8, gradient=strategy)
        for parameter in stack.parameters():
            parameter.register_hook(lambda grad: 2 * grad)
        stack(x, random_graph).square().sum().backward()
        results.append([p.grad for p in stack.parameters()])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_backward_inside_autocast(x, random_graph) -> None:
    """The backward pass must not use weights from the cache of autocast: they were cast without gradients."""
    grads = []
    for strategy in (Backprop(), Reversible(), Checkpoint()):
        stack = gen_stack(3, 2, 8, gradient=strategy)
        with torch.autocast("cpu", torch.bfloat16):
            stack(x, random_graph).square().sum().backward()
        grads.append([p.grad for p in stack.parameters()])
    for other in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[0], other, strict=True))


def test_a_tied_block_of_pre_activation_and_gen(random_graph, x) -> None:
    block = PreActivation(GENConv(8, 8, aggr="max", norm="layer", bias=True))
    stack = ReversibleStack([[block, block] for _ in range(4)])
    stack(x, random_graph).sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def test_a_hidden_dependency_is_refused(x) -> None:
    """A gradient that the recomputation cannot return must not be lost without an error."""
    hidden = torch.randn(8, requires_grad=True)

    class Closure(nn.Module):
        def forward(self, y):
            return y * (hidden * 2)

    stack = ReversibleStack([[Closure(), Closure()]])
    for _ in range(2):  # not only the first time
        with pytest.raises(RuntimeError, match="pass it as an argument"):
            stack(x.requires_grad_()).sum().backward()
