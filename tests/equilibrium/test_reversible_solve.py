"""A reversible solve has the gradient of storing all its iterations, to the last bit; if it cannot, it raises."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from revgnn.equilibrium import Implicit, SolveRecord, equilibrium, reversible_equilibrium, unrolled
from revgnn.equilibrium.reversible_solve import ReversibleSolve
from revgnn.equilibrium.solvers import Anderson, ReversibleRelaxation, Status
from revgnn.equilibrium.solvers.exact import BITS
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import EquilibriumBlock
from revgnn.nn import EdgeEncoding, GENConv
from revgnn.ops import grid
from revgnn.testing.graphs import NamedGraph, awkward_graphs

pytestmark = pytest.mark.filterwarnings("ignore:an equilibrium was not solved")

RELAXATIONS = [0.9375, 0.5, 0.75, 1 / 64, 13 / 16]
CHANNELS = 6


class Contraction(nn.Module):
    """z to tanh(z W + b + s x), with a learned scale s, and a parameter that is not used."""

    def __init__(self, channels: int = CHANNELS, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        nn.init.orthogonal_(self.linear.weight, gain=0.7)
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.unused = nn.Parameter(torch.zeros(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(self.dropout(z)) + self.scale * x)


class Stored(nn.Module):
    """The same iterations in plain float64 operations, differentiated by autograd, which stores all of them.

    Each tensor that an evaluation uses gets a node of its own, where the gradients of one evaluation are summed first.
    """

    def __init__(self, block: nn.Module, solver: ReversibleRelaxation, autocast: bool = False) -> None:
        super().__init__()
        self.block, self.solver, self.autocast = block, solver, autocast

    def forward(self, z0: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seed, state = int(torch.randint(2**62, ())), torch.get_rng_state()
        golden = 0x9E3779B97F4A7C15
        b, exact = self.solver.relaxation, self.solver.exact
        start = grid.round_to_grid(z0.double(), BITS)
        newest, older = start.view_as(z0), start.view_as(z0)
        for n in range(self.solver.max_steps - 1):
            z = newest.to(z0.dtype).view_as(z0)
            parameters = {name: p.view_as(p) for name, p in self.block.named_parameters()}
            aliased = tuple(a.view_as(a) if isinstance(a, Tensor) else a for a in args)
            torch.manual_seed((seed + golden) % 2**63)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast, cache_enabled=False):
                f = functional_call(self.block, parameters, (z, *aliased), kwargs).to(z.dtype)
            g = f if self.solver.damping == 1 else torch.lerp(z, f, self.solver.damping)
            age = n // 2
            if age and age % exact.period == 0:
                older = grid.round_to_grid(older, BITS)
            newest, older = (1 - b) * older + b * grid.round_to_grid(g.double(), BITS), newest
        torch.set_rng_state(state)
        return newest.to(z0.dtype)


class Reversed(Stored):
    """The solve that is tested, as a module."""

    def forward(self, z0: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            return reversible_equilibrium(self.block, z0, *args, solver=self.solver, **kwargs)


def outcome(module: nn.Module, z0: Tensor, *args: Any, seed: int = 3, **kwargs: Any) -> list[Tensor | None]:
    """Return the value, the next random number, and the gradients of the state, the arguments and the parameters."""
    z0 = z0.detach().clone().requires_grad_()
    args = tuple(a.detach().clone().requires_grad_() if isinstance(a, Tensor) else a for a in args)
    inputs = [z0, *[a for a in args if isinstance(a, Tensor)], *module.parameters()]
    torch.manual_seed(seed)
    z = module(z0, *args, **kwargs)
    after = torch.rand(1)
    torch.manual_seed(seed + 1)
    grads = torch.autograd.grad((z * torch.randn_like(z)).sum(), inputs, allow_unused=True)
    return [z.detach(), after, *grads]


def assert_same(ours: list[Tensor | None], expected: list[Tensor | None]) -> None:
    for n, (a, b) in enumerate(zip(ours, expected, strict=True)):
        assert (a is None) == (b is None), n
        assert a is None or torch.equal(a, b), f"{n}: {(a - b).abs().max()} apart"


def fixed(steps: int, **kwargs: Any) -> ReversibleRelaxation:
    """Return a solver of this many evaluations at any residual."""
    return ReversibleRelaxation(steps, rtol=0.0, **kwargs)


# --- to the last bit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("damping", [1.0, 0.75])
def test_gradients_are_those_of_storing_all_iterations(damping: float, relaxation: float, dtype: torch.dtype) -> None:
    block, solver = Contraction().to(dtype), fixed(60, damping=damping, relaxation=relaxation)
    x, z0 = torch.randn(9, CHANNELS, dtype=dtype), torch.randn(9, CHANNELS, dtype=dtype)
    assert_same(outcome(Reversed(block, solver), z0, x), outcome(Stored(block, solver), z0, x))


@pytest.mark.parametrize("steps", [3, 4, 17, 400])
def test_for_any_number_of_iterations(steps: int) -> None:
    block, solver = Contraction(), fixed(steps)
    x, z0 = torch.randn(9, CHANNELS), torch.randn(9, CHANNELS)
    assert_same(outcome(Reversed(block, solver), z0, x), outcome(Stored(block, solver), z0, x))


def paper_block(aggregation: str, edge_dim: int | None, channels: int = 16) -> EquilibriumBlock:
    convs = [GENConv(channels, channels, aggregation, norm="layer", bias=True, edge_dim=edge_dim, map_edges=True) for _ in range(2)]
    return EquilibriumBlock(convs[0], convs[1], (nn.LayerNorm(channels), nn.LayerNorm(channels)))


@pytest.mark.parametrize("aggregation", ["max", "mean", "softmax"])
def test_with_the_block_of_the_paper_on_a_real_graph(aggregation: str, tolokers: Graph) -> None:
    block, solver = paper_block(aggregation, None), fixed(30)
    x, mask = torch.randn(300, 16), torch.empty(300, 16).bernoulli_(0.7).div_(0.7)
    z0 = torch.zeros(300, 16)
    assert_same(
        outcome(Reversed(block, solver), z0, x, tolokers, mask=mask), outcome(Stored(block, solver), z0, x, tolokers, mask=mask)
    )


class WithEdges(nn.Module):
    """The block of the paper. It makes the encoded edge features of the tensors of an encoder, which are arguments."""

    def __init__(self, aggregation: str) -> None:
        super().__init__()
        self.block = paper_block(aggregation, 5)

    def forward(self, z: Tensor, x: Tensor, weight: Tensor, bias: Tensor, graph: Graph) -> Tensor:
        return self.block(z, x, graph, EdgeEncoding(graph.edge_attr, weight, bias))


@pytest.mark.parametrize("aggregation", ["max", "softmax"])
@pytest.mark.parametrize("named", awkward_graphs(3), ids=str)
def test_edge_features_and_awkward_graphs(named: NamedGraph, aggregation: str) -> None:
    block, solver, n = WithEdges(aggregation), fixed(12), named.graph.num_nodes
    args = (torch.zeros(n, 16), torch.randn(n, 16), torch.randn(3, 5), torch.randn(5), named.graph)
    assert_same(outcome(Reversed(block, solver), *args), outcome(Stored(block, solver), *args))


def test_dropout_is_drawn_once_a_solve_and_again_in_the_backward_pass() -> None:
    block, solver = Contraction(dropout=0.4), fixed(20)
    x, z0 = torch.randn(9, CHANNELS), torch.randn(9, CHANNELS)
    ours = outcome(Reversed(block, solver), z0, x)
    assert_same(ours, outcome(Stored(block, solver), z0, x))
    assert not torch.equal(ours[0], outcome(Reversed(block, solver), z0, x, seed=4)[0])  # pyright: ignore[reportArgumentType]


def test_bf16_autocast() -> None:
    block, solver = Contraction(), fixed(20)
    x, z0 = torch.randn(9, CHANNELS), torch.randn(9, CHANNELS)
    ours = outcome(Reversed(block, solver, autocast=True), z0, x)
    assert_same(ours, outcome(Stored(block, solver, autocast=True), z0, x))
    assert not torch.equal(ours[0], outcome(Reversed(block, solver), z0, x)[0])  # pyright: ignore[reportArgumentType]


# --- the solution -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def block() -> Contraction:
    return Contraction().double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(9, CHANNELS, dtype=torch.float64, requires_grad=True)


def solved(block: nn.Module, x: Tensor, solver: ReversibleRelaxation | None = None, **kwargs: Any) -> Tensor:
    return reversible_equilibrium(block, torch.zeros_like(x), x, solver=solver or ReversibleRelaxation(200, 1e-8), **kwargs)


def gradients(block: nn.Module, x: Tensor, z: Tensor) -> list[Tensor | None]:
    loss = (z * torch.linspace(-1, 2, z.numel(), dtype=z.dtype).view_as(z)).sum()
    return list(torch.autograd.grad(loss, [x, *block.parameters()], allow_unused=True))


@pytest.mark.parametrize(("damping", "relaxation"), [(1.0, 0.5), (0.75, 0.875), (0.5, 0.75)])
def test_agrees_with_a_converged_unroll_and_with_the_implicit_gradient(damping, relaxation, block, x) -> None:
    expected = unrolled(lambda z: block(z, x), torch.zeros_like(x), steps=300)
    exact = gradients(block, x, expected)
    tight = Anderson(200, 1e-13)
    implicit = gradients(block, x, equilibrium(lambda z: block(z, x), torch.zeros_like(x), solver=tight, gradient=Implicit(tight)))
    ours = solved(block, x, fixed(400, damping=damping, relaxation=relaxation))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-8)  # f is rounded to 2^-32
    for grad, stored, other in zip(gradients(block, x, ours), exact, implicit, strict=True):
        assert (grad is None) == (stored is None)
        assert grad is None or (grad - stored).abs().max() <= 1e-7 * stored.abs().max()
        assert grad is None or (grad - other).abs().max() <= 1e-7 * other.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_are_exact_after_few_iterations(dtype: torch.dtype) -> None:
    """Compared with finite differences of the value. f is linear, so a large difference has only rounding errors."""
    weight = (torch.randn(4, 4, dtype=dtype) / 4).requires_grad_()

    class Linear(nn.Module):
        def forward(self, z: Tensor, x: Tensor) -> Tensor:
            return z @ weight.detach() + x

    x = torch.randn(3, 4, dtype=dtype, requires_grad=True)
    direction = torch.randn(3, 4, dtype=dtype)

    def value(x: Tensor) -> Tensor:
        return reversible_equilibrium(Linear(), torch.zeros_like(x), x, solver=fixed(4)).double().sum()

    (grad,) = torch.autograd.grad(value(x), x)
    with torch.no_grad():
        difference = (value(x + 8 * direction) - value(x - 8 * direction)) / 16
    assert float((grad * direction).double().sum()) == pytest.approx(
        float(difference), rel=1e-5 if dtype == torch.float32 else 1e-8
    )


def test_without_gradients_the_value_is_the_same(block, x) -> None:
    with torch.no_grad():
        plain = solved(block, x)
    assert not plain.requires_grad
    assert torch.equal(plain, solved(block, x))
    assert torch.equal(plain, equilibrium(lambda z: block(z, x), torch.zeros_like(x), solver=ReversibleRelaxation(200, 1e-8)))


# --- the record -------------------------------------------------------------------------------------------------------------------


def test_a_record_holds_the_solve(block, x) -> None:
    record = SolveRecord()
    solved(block, x, record=record)
    assert record.forward is not None
    assert record.forward.status is Status.CONVERGED
    assert record.forward.residual == record.forward.residuals[-1] <= 1e-8
    assert record.forward.steps == len(record.forward.residuals)
    assert (record.solves, record.failures) == (1, 0)


def test_not_converging_warns_once(block, x) -> None:
    record = SolveRecord()
    with pytest.warns(UserWarning, match="not solved to rtol=1e-09: ReversibleRelaxation ended as max_steps after 4 steps"):
        solved(block, x, ReversibleRelaxation(4, 1e-9), record=record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(block, x, ReversibleRelaxation(4, 1e-9), record=record).sum().backward()
    assert (record.solves, record.failures) == (2, 2)


def test_leaving_the_range_ends_the_solve_and_gradients_are_still_exact() -> None:
    class Grows(nn.Module):
        def forward(self, z: Tensor, x: Tensor) -> Tensor:
            return 4 * z + x

    x, record = torch.ones(2, 3, requires_grad=True), SolveRecord()
    z = solved(Grows(), x, fixed(40), record=record)
    assert record.forward is not None
    assert record.forward.status is Status.DIVERGED
    stored = Stored(Grows(), fixed(record.forward.steps))(torch.zeros(2, 3), x)
    assert torch.equal(z, stored)
    assert torch.equal(*(torch.autograd.grad(value.sum(), x)[0] for value in (z, stored)))


# --- safety -----------------------------------------------------------------------------------------------------------------------


class Moving(Contraction):
    """From the n-th evaluation on, one element of its value has another last bit.

    The counter is in a list: an attribute of a module would be put back for the second evaluation.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = [n]

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        f = super().forward(z, x)
        self.left[0] -= 1
        if self.left[0] < 0:
            f = f.clone()
            with torch.no_grad():
                f.view(-1)[7] = torch.nextafter(f.view(-1)[7], torch.tensor(math.inf))
        return f


@pytest.mark.parametrize("n", [10, 15, 18])
def test_a_block_that_gives_another_value_in_the_second_evaluation_is_refused(n: int) -> None:
    x = torch.randn(9, CHANNELS, requires_grad=True)
    z = solved(Moving(n), x, fixed(10))
    with pytest.raises(RuntimeError, match=r"did not end at the initial state, but up to \S+ away"):
        z.sum().backward()


@pytest.mark.parametrize("place", [1, 2])
def test_a_perturbed_state_is_refused(place: int, block, x, monkeypatch) -> None:
    """The saved tensors are the initial state, the two states of the solver, and the bits cut off."""
    backward = ReversibleSolve.backward

    def perturbed(self: ReversibleSolve, saved: tuple[Tensor, ...], *args: Any) -> Tensor:
        tensors = [t.clone() for t in saved]
        tensors[place].view(-1)[3] += 2.0**-40
        return backward(self, tuple(tensors), *args)

    monkeypatch.setattr(ReversibleSolve, "backward", perturbed)
    with pytest.raises(RuntimeError, match="did not end at the initial state"):
        solved(block, x, fixed(12)).sum().backward()


def test_attributes_that_change_between_the_passes(x) -> None:
    """Modes, rates and counters: the backward pass finds those of the forward pass, and leaves the new ones."""

    class Changing(Contraction):
        factor = 0.9

        def forward(self, z: Tensor, x: Tensor) -> Tensor:
            return self.factor * super().forward(z, x)

    block = Changing(dropout=0.4).double()
    torch.manual_seed(3)
    expected = gradients(block, x, solved(block, x, fixed(12)))
    torch.manual_seed(3)
    z = solved(block, x, fixed(12))
    block.factor, block.dropout.p = 0.5, 0.1
    block.eval()
    for a, b in zip(gradients(block, x, z), expected, strict=True):
        assert a is None if b is None else torch.equal(a, b)
    assert (block.factor, block.dropout.p, block.training) == (0.5, 0.1, False)


@pytest.mark.parametrize("evaluation", [0, -1])
def test_a_loss_from_inside_the_block_is_refused(evaluation: int, block, x) -> None:
    seen: list[Tensor] = []
    block.linear.register_forward_hook(lambda module, args, out: seen.append(out))
    for _ in range(2):
        seen.clear()
        z = solved(block, x, fixed(5))
        with pytest.raises(RuntimeError, match="a gradient reached a tensor inside the block Contraction"):
            (z.sum() + seen[evaluation].square().sum()).backward()


def test_a_mask_that_is_refilled_before_the_backward_pass_is_refused(x) -> None:
    class Masked(Contraction):
        def forward(self, z: Tensor, x: Tensor, mask: Tensor) -> Tensor:
            return super().forward(z, x) * mask

    mask = torch.ones_like(x)
    z = reversible_equilibrium(Masked().double(), torch.zeros_like(x), x, mask, solver=fixed(5))
    mask.zero_()
    with pytest.raises(RuntimeError, match=r"argument 1 after the state.* was changed in place"):
        z.sum().backward()


def test_a_tensor_whose_gradient_would_be_lost_is_refused(block, x) -> None:
    class Closure(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return block(z, x)

    with pytest.raises(RuntimeError, match=r"Closure uses a tensor .* neither one of its parameters nor an argument"):
        reversible_equilibrium(Closure(), torch.zeros_like(x), solver=fixed(5))


def test_a_hidden_dependency_that_appears_later_is_refused(x) -> None:
    extra: list[Tensor] = []

    class Late(Contraction):
        def forward(self, z: Tensor, x: Tensor) -> Tensor:
            f = super().forward(z, x)
            return f * extra[0] if extra else f

    block = Late().double()
    z = solved(block, x, fixed(5))
    extra.append(torch.ones((), dtype=torch.float64, requires_grad=True))
    with pytest.raises(RuntimeError, match="uses a tensor"):
        z.sum().backward()


@pytest.mark.parametrize(
    "module", [nn.BatchNorm1d(CHANNELS), nn.utils.parametrizations.spectral_norm(nn.Linear(CHANNELS, CHANNELS))]
)
def test_a_block_that_changes_its_buffer_is_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"changes its buffer '.*(num_batches_tracked|_u|_v)'"):
        reversible_equilibrium(module, torch.zeros(9, CHANNELS), solver=fixed(5))


def test_double_backward_is_refused(block, x) -> None:
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(solved(block, x).sum(), x, create_graph=True)


@pytest.mark.parametrize("what", ["parameter", "argument"])
def test_tensors_changed_before_the_backward_pass_are_refused(what: str, block, x) -> None:
    argument = x * 1.0
    z = solved(block, argument)
    with torch.no_grad():
        (block.linear.weight if what == "parameter" else argument).mul_(0.5)
    with pytest.raises(RuntimeError, match="changed in place"):
        z.sum().backward()


def test_backward_twice_with_retain_graph(block, x) -> None:
    loss = solved(block, x, fixed(40)).square().sum()
    first = torch.autograd.grad(loss, [x, block.linear.weight], retain_graph=True)
    second = torch.autograd.grad(loss, [x, block.linear.weight])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_result_may_be_changed_in_place(block, x) -> None:
    z0 = torch.randn_like(x)
    copied = z0.clone()

    def solve() -> Tensor:
        return reversible_equilibrium(block, z0, x, solver=fixed(9))

    plain = gradients(block, x, solve() * 2)
    for a, b in zip(gradients(block, x, solve().mul_(2)), plain, strict=True):
        assert a is None if b is None else torch.equal(a, b)
    assert torch.equal(z0, copied)


def test_frozen_parameters_and_inputs_get_none(block, x) -> None:
    block.linear.weight.requires_grad_(False)
    solved(block, x.detach()).sum().backward()
    assert block.linear.weight.grad is None
    assert block.scale.grad is not None
    assert block.unused.grad is None


def test_tensor_hooks_run_once_with_the_whole_gradient(block, x) -> None:
    encoded, seen = x * 1.0, []
    for tensor in (block.linear.weight, encoded):
        tensor.register_hook(lambda grad: seen.append(grad.clone()))
    solved(block, encoded, fixed(9)).sum().backward()
    assert len(seen) == 2
    assert any(torch.equal(grad, block.linear.weight.grad) for grad in seen)
    assert any(torch.equal(grad, x.grad) for grad in seen)


def test_a_start_at_the_solution_is_still_differentiated(block, x) -> None:
    z0 = solved(block, x, ReversibleRelaxation(200, 1e-9)).detach()
    record, loose = SolveRecord(), ReversibleRelaxation(rtol=1e-3)
    z = reversible_equilibrium(block, z0, x, solver=loose, record=record)
    assert record.forward.status is Status.CONVERGED
    assert record.forward.steps == 3
    expected = gradients(block, x, Stored(block, fixed(3))(z0, x))
    for a, b in zip(gradients(block, x, z), expected, strict=True):
        assert a is None if b is None else torch.equal(a, b)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e3])
def test_a_first_evaluation_out_of_range_is_an_error(value: float, x) -> None:
    class Broken(Contraction):
        def forward(self, z: Tensor, x: Tensor) -> Tensor:
            return super().forward(z, x) + value

    with pytest.raises(ArithmeticError, match="not finite or exceeds a magnitude of 512"):
        solved(Broken().double(), x)


# --- memory -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relaxation", [0.5, 0.875])
def test_memory_grows_by_a_few_bits_an_evaluation(relaxation: float) -> None:
    block, x = Contraction(16), torch.randn(500, 16)

    def peak(steps: int) -> int:
        block.zero_grad(set_to_none=True)
        with PeakMemory() as memory:
            solved(block, x, fixed(steps, relaxation=relaxation), record=SolveRecord(warned=True)).sum().backward()
        return memory.peak_bytes

    few, many = peak(30), peak(174)
    # an int16 for each period; to store all iterations takes a float32 an evaluation for the states alone
    assert many - few == 2 * x.numel() * (174 - 30) / fixed(30, relaxation=relaxation).exact.period
