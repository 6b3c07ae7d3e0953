"""The gradient of an equilibrium is that of an infinitely deep network, and needs the memory of one evaluation."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from revgnn.equilibrium import Implicit, Phantom, SolveRecord, equilibrium, jacobian_penalty, one_step, unrolled
from revgnn.equilibrium.solvers import Anderson, Broyden, FixedPoint, Status
from revgnn.memory import PeakMemory

TIGHT = {"max_steps": 300, "rtol": 1e-13}
SOLVERS = [FixedPoint(**TIGHT), Anderson(**TIGHT), Broyden(**TIGHT)]
GRADIENTS = [*[Implicit(solver) for solver in SOLVERS], Phantom(steps=120, damping=0.9)]
INEXACT = [Phantom(), one_step()]
names = {"ids": lambda value: type(getattr(value, "solver", value)).__name__}


class Contraction(nn.Module):
    """z to tanh(z W + b + s x), with a learned scale s, and a parameter that is not used."""

    def __init__(self, channels: int = 6, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        nn.init.orthogonal_(self.linear.weight, gain=0.7)
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.unused = nn.Parameter(torch.zeros(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(self.dropout(z)) + self.scale * x)


@pytest.fixture
def model() -> Contraction:
    return Contraction().double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(9, 6, dtype=torch.float64, requires_grad=True)


def gradients(model: nn.Module, x: Tensor, z: Tensor) -> list[Tensor | None]:
    loss = (z * torch.linspace(-1, 2, z.numel(), dtype=z.dtype).view_as(z)).sum()
    return list(torch.autograd.grad(loss, [x, *model.parameters()], allow_unused=True))


def solved(model: nn.Module, x: Tensor, solver=SOLVERS[1], **kwargs) -> Tensor:
    return equilibrium(lambda z: model(z, x), torch.zeros_like(x), solver=solver, **kwargs)


# --- the gradient ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS, **names)
@pytest.mark.parametrize("gradient", GRADIENTS, **names)
def test_agrees_with_a_converged_unroll(solver, gradient, model, x) -> None:
    expected = unrolled(lambda z: model(z, x), torch.zeros_like(x), steps=300)
    ours = solved(model, x, solver, gradient=gradient)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)
    for a, b in zip(gradients(model, x, ours), gradients(model, x, expected), strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-6, atol=1e-9)


def test_the_value_does_not_depend_on_the_gradient(model, x) -> None:
    values = [solved(model, x, gradient=gradient).detach() for gradient in [*GRADIENTS, *INEXACT]]
    with torch.no_grad():
        values.append(solved(model, x))
    assert all(torch.equal(value, values[0]) for value in values)


def test_one_step_is_the_gradient_of_one_evaluation_at_the_solution(model, x) -> None:
    z = solved(model, x, gradient=one_step())
    expected = gradients(model, x, model(z.detach(), x))
    for a, b in zip(gradients(model, x, z), expected, strict=True):
        assert a is None if b is None else torch.equal(a, b)


def test_an_adjoint_solve_of_one_step_gives_the_one_step_gradient(model, x) -> None:
    with pytest.warns(UserWarning, match="the adjoint system of an equilibrium was not solved"):
        ours = gradients(model, x, solved(model, x, gradient=Implicit(Anderson(max_steps=1))))
    for a, b in zip(ours, gradients(model, x, solved(model, x, gradient=one_step())), strict=True):
        assert a is None if b is None else torch.allclose(a, b, rtol=1e-12)


def test_more_phantom_steps_come_nearer(model, x) -> None:
    (exact, *_) = gradients(model, x, solved(model, x))
    errors = [float((gradients(model, x, solved(model, x, gradient=Phantom(k, 0.5)))[0] - exact).norm()) for k in (1, 5, 20)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_gradients_accumulate(model, x) -> None:
    solved(model, x).sum().backward()
    once = [p.grad.clone() for p in (x, model.linear.weight, model.scale)]
    solved(model, x).sum().backward()
    for parameter, grad in zip((x, model.linear.weight, model.scale), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * grad)
    assert model.unused.grad is None


def test_in_float32_as_accurate_as_a_stored_unroll(model, x) -> None:
    expected = gradients(model, x, solved(model, x))
    single, x32 = copy.deepcopy(model).float(), x.detach().float().requires_grad_()
    solver = Anderson(max_steps=60, rtol=1e-6)
    ours = gradients(single, x32, solved(single, x32, solver, gradient=Implicit(solver)))
    stored = gradients(single, x32, unrolled(lambda z: single(z, x32), torch.zeros_like(x32), steps=100))

    def error(found: Tensor, exact: Tensor) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    for implicit, plain, exact in zip(ours, stored, expected, strict=True):
        if exact is not None:
            assert error(implicit, exact) <= 2 * error(plain, exact) + 10 * solver.rtol


# --- safety ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", [GRADIENTS[1], *INEXACT], **names)
def test_double_backward_is_refused(gradient, model, x) -> None:
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(solved(model, x, gradient=gradient).sum(), x, create_graph=True)


def test_unrolled_may_be_differentiated_twice(model, x) -> None:
    (first,) = torch.autograd.grad(unrolled(lambda z: model(z, x), torch.zeros_like(x), steps=5).sum(), x, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), x)[0].abs().max() > 0


def test_backward_twice_with_retain_graph(model, x) -> None:
    loss = solved(model, x).square().sum()
    first = torch.autograd.grad(loss, [x, model.linear.weight], retain_graph=True)
    second = torch.autograd.grad(loss, [x, model.linear.weight])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_result_may_be_changed_in_place(model, x) -> None:
    plain = gradients(model, x, solved(model, x) * 2)
    for a, b in zip(gradients(model, x, solved(model, x).mul_(2)), plain, strict=True):
        assert a is None if b is None else torch.equal(a, b)


def test_a_parameter_changed_before_the_backward_pass_is_refused(model, x) -> None:
    z = solved(model, x)
    with torch.no_grad():
        model.linear.weight.mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_frozen_parameters_and_inputs_get_none(model, x) -> None:
    model.linear.weight.requires_grad_(False)
    solved(model, x.detach()).sum().backward()
    assert model.linear.weight.grad is None
    assert model.scale.grad is not None


def test_no_graph_under_no_grad(model, x) -> None:
    with torch.no_grad():
        assert not solved(model, x).requires_grad


@pytest.mark.parametrize("solver", SOLVERS, **names)
def test_dropout_is_drawn_once_a_solve(solver, x) -> None:
    model = Contraction(dropout=0.4).double()
    nn.init.orthogonal_(model.linear.weight, gain=0.4)
    torch.manual_seed(5)
    ours = solved(model, x, solver, gradient=Implicit(solver))  # would not converge if each evaluation drew a mask
    after = torch.rand(1)
    torch.manual_seed(5)
    expected = unrolled(lambda z: model(z, x), torch.zeros_like(x), steps=200)
    assert torch.equal(after, torch.rand(1)), "the random state depends on the number of steps of a solve"
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)
    for a, b in zip(gradients(model, x, ours), gradients(model, x, expected), strict=True):
        assert a is None if b is None else torch.allclose(a, b, rtol=1e-6, atol=1e-9)
    assert not torch.equal(solved(model, x), ours)


def test_under_autocast_the_state_stays_in_float32() -> None:
    model, x = Contraction(), torch.randn(9, 6, requires_grad=True)
    solver, tight = Anderson(rtol=1e-2), Anderson(rtol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        z = solved(model, x, solver, gradient=Implicit(solver))
    assert z.dtype == torch.float32
    for a, b in zip(gradients(model, x, z), gradients(model, x, solved(model, x, tight)), strict=True):
        assert a is None if b is None else (a - b).norm() < 0.05 * b.norm()


# --- the record -----------------------------------------------------------------------------------------------------------------


def test_a_record_holds_both_solves(model, x) -> None:
    record = SolveRecord()
    z = solved(model, x, record=record)
    assert record.forward is not None
    assert record.backward is None
    z.sum().backward()
    assert record.backward is not None
    assert record.forward.status is Status.CONVERGED
    assert record.forward.residual <= 1e-13
    assert record.forward.steps == len(record.forward.residuals)
    assert (record.solves, record.failures) == (2, 0)


def test_not_converging_warns_once_and_is_counted(model, x) -> None:
    record = SolveRecord()
    short = Anderson(max_steps=2, rtol=1e-9)
    with pytest.warns(UserWarning, match=r"not solved to rtol=1e-09: Anderson ended as max_steps after 2 steps.*given once"):
        solved(model, x, short, record=record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(model, x, short, gradient=Implicit(short), record=record).sum().backward()
    assert (record.solves, record.failures) == (3, 3)


# --- memory ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FixedPoint, Anderson, Broyden])
def test_memory_does_not_depend_on_the_number_of_iterations(kind) -> None:
    model, x = Contraction(16).double(), torch.randn(500, 16, dtype=torch.float64)
    nn.init.orthogonal_(model.linear.weight, gain=2.0)
    history = {} if kind is FixedPoint else {"window": 2} if kind is Anderson else {"memory": 5}

    def peak(steps: int) -> int:
        solver = kind(max_steps=steps, rtol=1e-12, **history)
        model.zero_grad(set_to_none=True)
        with PeakMemory() as memory:
            solved(model, x, solver, gradient=Implicit(solver), record=SolveRecord(warned=True)).sum().backward()
        return memory.peak_bytes

    state = x.numel() * x.element_size()
    assert peak(40) <= peak(15) + state  # the best iterate need not be one of the last


# --- the Jacobian ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 0.03), (torch.float32, 0.03)], ids=str)
def test_the_penalty_is_the_mean_squared_singular_value(dtype, tolerance) -> None:
    model, x = Contraction().to(dtype), torch.randn(4, 6, dtype=dtype)
    model.requires_grad_(False)
    z = torch.rand(4, 6, dtype=dtype)
    jacobian = torch.autograd.functional.jacobian(lambda z: model(z, x), z).reshape(24, 24)
    exact = float(jacobian.square().sum() / 24)
    assert float(jacobian_penalty(lambda z: model(z, x), z, probes=4000)) == pytest.approx(exact, rel=tolerance)


def test_the_gradient_of_the_penalty_is_that_of_the_norm() -> None:
    weight = torch.randn(8, 8, dtype=torch.float64, requires_grad=True)
    penalty = jacobian_penalty(lambda z: z @ weight, torch.rand(5, 8, dtype=torch.float64), probes=3000)
    (grad,) = torch.autograd.grad(penalty, weight)
    exact = 2 * weight.detach() / 8  # J acts on each of 5 rows, and the state has 40 elements
    assert float((grad - exact).norm() / exact.norm()) < 0.1


def test_the_penalty_draws_one_dropout_mask() -> None:
    model, x, z = Contraction(dropout=0.5), torch.randn(9, 6), torch.rand(9, 6)
    assert float(jacobian_penalty(lambda z: model(z, x), z).detach()) < 10  # two masks would differ much more than h


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: Phantom(steps=0), "steps must be 1 or more"),
        (lambda: Phantom(damping=math.nan), "damping must be above 0"),
        (lambda: unrolled(lambda z: z, torch.zeros(1), steps=0), "steps must be 1 or more"),
        (lambda: jacobian_penalty(lambda z: z, torch.zeros(1), probes=0), "probes must be 1 or more"),
    ],
)
def test_bad_settings_are_refused(work, message) -> None:
    with pytest.raises(ValueError, match=message):
        work()
