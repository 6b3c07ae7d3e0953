"""Solvers: the solution, its status, the best iterate, bounded memory, and refused settings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from revgnn.equilibrium.solvers import AbstractSolver, Anderson, Broyden, ExactRelaxation, FixedPoint, ReversibleRelaxation, Status
from revgnn.equilibrium.solvers.exact import BITS, LIMIT
from revgnn.memory import PeakMemory

KINDS = [FixedPoint, Anderson, Broyden]
ACCELERATED = [Anderson, Broyden]


class Affine:
    """f(z) = A z + b on states (n / 4, 4), with eigenvalues of A spread over a range."""

    def __init__(self, low: float, high: float, n: int = 40, dtype: torch.dtype = torch.float64) -> None:
        basis = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]
        self.matrix = (basis * torch.linspace(low, high, n, dtype=torch.float64) @ basis.t()).to(dtype)
        self.b = torch.randn(n, dtype=dtype)
        self.z0 = torch.zeros(n // 4, 4, dtype=dtype)

    def __call__(self, z: Tensor) -> Tensor:
        return (self.matrix @ z.flatten() + self.b).view_as(z)

    @property
    def solution(self) -> Tensor:
        identity = torch.eye(len(self.b), dtype=self.b.dtype)
        return torch.linalg.solve(identity - self.matrix, self.b).view_as(self.z0)


def relative_residual(f: Affine, z: Tensor) -> float:
    return float((f(z) - z).norm() / f(z).norm())


# --- solutions ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "rtol", "wanted"), [(torch.float64, 1e-12, 1e-10), (torch.float32, 1e-6, 1e-4)], ids=str)
def test_a_contraction_is_solved(kind, dtype, rtol, wanted) -> None:
    f = Affine(-0.9, 0.9, dtype=dtype)
    solution = kind(max_steps=400, rtol=rtol).solve(f, f.z0)
    assert solution.status is Status.CONVERGED
    assert solution.z.shape == f.z0.shape
    assert (solution.z - f.solution).norm() < wanted * f.solution.norm()


@pytest.mark.parametrize("kind", ACCELERATED)
def test_acceleration_solves_what_is_not_a_contraction(kind) -> None:
    f = Affine(-2.0, 0.5)
    assert kind(max_steps=120, rtol=1e-10).solve(f, f.z0).status is Status.CONVERGED
    assert FixedPoint(max_steps=120).solve(f, f.z0).status is Status.DIVERGED
    assert FixedPoint(max_steps=120, damping=0.5).solve(f, f.z0).status is Status.CONVERGED


@pytest.mark.parametrize("kind", ACCELERATED)
def test_acceleration_takes_a_fraction_of_the_steps(kind) -> None:
    f = Affine(0.0, 0.98)
    plain = FixedPoint(max_steps=2000, rtol=1e-8).solve(f, f.z0)
    fast = kind(max_steps=2000, rtol=1e-8).solve(f, f.z0)
    assert plain.status is fast.status is Status.CONVERGED
    assert 5 * fast.steps < plain.steps


def test_anderson_with_a_full_window_needs_as_many_steps_as_there_are_eigenvalues() -> None:
    f = Affine(-0.8, 0.8, n=12)
    assert Anderson(max_steps=14, rtol=1e-10, window=12, regularisation=0.0).solve(f, f.z0).status is Status.CONVERGED


def test_broyden_restarts_when_its_memory_is_full() -> None:
    f = Affine(-0.9, 0.9)
    assert Broyden(max_steps=400, rtol=1e-10, memory=5).solve(f, f.z0).status is Status.CONVERGED


@pytest.mark.parametrize("kind", ACCELERATED)
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_the_state_does_not_matter(kind, scale) -> None:
    f = Affine(-0.9, 0.9)
    plain = kind(max_steps=15, rtol=1e-12).solve(f, f.z0)
    f.b *= scale
    scaled = kind(max_steps=15, rtol=1e-12).solve(f, f.z0)
    assert scaled.residuals == pytest.approx(plain.residuals, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_nonlinear_map_with_kinks(kind) -> None:
    weight = torch.randn(50, 50) * 0.06
    b = torch.randn(20, 50)

    def f(z: Tensor) -> Tensor:
        return torch.relu(z @ weight + b)

    solution = kind(max_steps=200, rtol=1e-6).solve(f, torch.zeros(20, 50))
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(f(solution.z), solution.z, rtol=0, atol=1e-5)


# --- the result of a solve -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_iterate_is_returned_with_its_residual(kind) -> None:
    f, seen = Affine(-1.3, 0.9), []  # plain iteration approaches the solution, then moves away

    def recorded(z: Tensor) -> Tensor:
        seen.append((float((f(z) - z).norm()), z))
        return f(z)

    solution = kind(max_steps=12, rtol=1e-14).solve(recorded, f.solution + 1e-3 * torch.randn_like(f.z0))
    assert solution.status is Status.MAX_STEPS
    assert solution.steps == len(solution.residuals) == 12
    assert solution.residual in solution.residuals
    assert relative_residual(f, solution.z) == pytest.approx(solution.residual, rel=1e-9)
    assert solution.z is min(seen, key=lambda pair: pair[0])[1]


def test_a_growing_iterate_is_not_the_best() -> None:
    # As the states grow, their relative residual falls to a third; the initial state is nearer to a solution.
    z0 = torch.tensor([1.0, -1.0])
    solution = FixedPoint(max_steps=12).solve(lambda z: -0.25 * z.abs() + 1.5 * z + torch.tensor([-0.9, 0.3]), z0)
    assert min(solution.residuals) < solution.residual
    assert torch.equal(solution.z, z0)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_evaluations_of_f(kind) -> None:
    f, calls = Affine(-0.9, 0.9), []

    def counted(z: Tensor) -> Tensor:
        calls.append(z)
        return f(z)

    assert kind(max_steps=300, rtol=1e-6).solve(counted, f.z0).steps == len(calls) < 300
    assert torch.equal(calls[0], f.z0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_at_the_solution_is_returned(kind) -> None:
    f = Affine(-0.9, 0.9)
    z0 = f.solution
    copy = z0.clone()
    solution = kind(rtol=1e-8).solve(f, z0)
    assert (solution.status, solution.steps) == (Status.CONVERGED, 1)
    assert torch.equal(solution.z, copy)
    assert torch.equal(z0, copy)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_zero_is_a_solution_like_any_other(kind) -> None:
    solution = kind().solve(lambda z: 0.5 * z, torch.zeros(4))
    assert (solution.status, solution.residuals) == (Status.CONVERGED, [0.0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_absolute_tolerance_is_per_element(kind) -> None:
    solver = kind(max_steps=200, rtol=0.0, atol=1e-3)
    steps = {solver.solve(lambda z: 0.5 * z, torch.ones(n, dtype=torch.float64)).steps for n in (4, 40_000)}
    assert len(steps) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_not_finite_is_divergence_and_the_best_iterate_is_returned(kind) -> None:
    f, count = Affine(-0.9, 0.9), 0

    def breaks(z: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return f(z) if count < 5 else torch.full_like(z, math.nan)

    solution = kind(rtol=1e-12).solve(breaks, f.z0)
    assert (solution.status, solution.steps) == (Status.DIVERGED, 5)
    assert solution.z.isfinite().all()
    assert relative_residual(f, solution.z) == pytest.approx(solution.residual, rel=1e-9)


def test_a_first_value_that_is_not_finite() -> None:
    z0 = torch.ones(3)
    solution = Anderson().solve(lambda z: z * math.inf, z0)
    assert (solution.status, solution.residual) == (Status.DIVERGED, math.inf)
    assert torch.equal(solution.z, z0)


@pytest.mark.parametrize("kind", ACCELERATED)
def test_a_constant_residual_gives_a_finite_result(kind) -> None:
    solution = kind(max_steps=10).solve(lambda z: z + 1.0, torch.zeros(5))  # no solution, and every residual is the same
    assert solution.status in (Status.MAX_STEPS, Status.DIVERGED)
    assert solution.z.isfinite().all()


# --- the reversible relaxation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "rtol", "wanted"), [(torch.float64, 1e-8, 1e-6), (torch.float32, 1e-6, 1e-4)], ids=str)
@pytest.mark.parametrize("relaxation", [0.5, 0.875])
def test_a_contraction_is_solved_by_reversible_relaxation(relaxation, dtype, rtol, wanted) -> None:
    f, calls = Affine(-0.9, 0.9, dtype=dtype), []

    def counted(z: Tensor) -> Tensor:
        calls.append(z)
        return f(z)

    solution = ReversibleRelaxation(2000, rtol, relaxation=relaxation).solve(counted, f.z0)
    assert solution.status is Status.CONVERGED
    assert solution.steps == len(solution.residuals) == len(calls)
    assert torch.equal(solution.z, calls[-1])
    assert solution.residual == solution.residuals[-1] == pytest.approx(relative_residual(f, solution.z), rel=1e-6)
    assert (solution.z - f.solution).norm() < wanted * f.solution.norm()


def test_damping_f_extends_what_reversible_relaxation_solves() -> None:
    f = Affine(-2.0, 0.5)
    for relaxation in (0.25, 0.5, 0.875):
        assert ReversibleRelaxation(300, damping=1.0, relaxation=relaxation).solve(f, f.z0).status is not Status.CONVERGED
        assert ReversibleRelaxation(300, damping=0.5, relaxation=relaxation).solve(f, f.z0).status is Status.CONVERGED


@pytest.mark.parametrize("relaxation", [0.5, 0.25, 0.875, 13 / 16, 1 / 64, 63 / 64, 21 / 32])
def test_a_relaxation_is_undone_to_the_last_bit(relaxation: float) -> None:
    exact, cut_bits = ExactRelaxation(relaxation), []
    start = torch.randn(1000) * torch.logspace(-12, 2, 1000)
    start[0], start[1] = LIMIT, -LIMIT
    state = exact.start(start)
    values = [torch.randn(1000, dtype=torch.float64) * 10.0 ** (n % 5 - 2) for n in range(50)]
    values[7] = torch.full((1000,), LIMIT, dtype=torch.float64)
    path = []
    for age, f in enumerate(values):
        path.append(state)
        state = exact.advance(state, f, age, cut_bits)
        torch.testing.assert_close(state, (1 - relaxation) * path[-1] + relaxation * f, rtol=0, atol=2.0**-BITS)
    assert len(cut_bits) == (len(values) - 1) // exact.period
    for age, f in reversed(list(enumerate(values))):
        state = exact.retreat(state, f, age, cut_bits)
        assert torch.equal(state, path[age]), age
    assert not cut_bits


def test_a_start_out_of_range_is_refused() -> None:
    for value in (1e3, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite state of magnitude up to 512"):
            ReversibleRelaxation().solve(lambda z: z, torch.full((3,), value))


def test_reversible_relaxation_ends_when_f_is_out_of_range() -> None:
    solution = ReversibleRelaxation(40).solve(lambda z: 4 * z + 1, torch.zeros(3))
    assert solution.status is Status.DIVERGED
    assert solution.z.abs().max() <= 512
    count = iter(range(40))
    solution = ReversibleRelaxation(40, 1e-9).solve(lambda z: 0.5 * z + 1 if next(count) < 4 else z * math.nan, torch.zeros(3))
    assert (solution.status, solution.steps, solution.residual) == (Status.DIVERGED, 5, math.inf)
    assert solution.z.isfinite().all()


# --- memory ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "history"),
    [(FixedPoint(), 0), (Anderson(window=4), 10), (Broyden(memory=10), 10)],
    ids=["fixed", "anderson", "broyden"],
)
def test_memory_is_that_of_the_history_for_any_number_of_steps(solver: AbstractSolver, history: int) -> None:
    n = 300_000
    scale = torch.linspace(-0.99, 0.99, n)

    def peak(max_steps: int) -> int:
        limited = type(solver)(**{**vars(solver), "max_steps": max_steps, "rtol": 1e-12})
        with PeakMemory() as memory:
            assert limited.solve(lambda z: z * scale + 1.0, torch.zeros(n)).status is Status.MAX_STEPS
        return memory.peak_bytes

    few, many = peak(15), peak(30)
    assert many == few
    assert many <= 4 * n * (history + 6) + 4 * 2**20  # and the chunks of inner products


# --- bad input ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (FixedPoint, {"max_steps": 0}, "max_steps must be 1 or more"),
        (FixedPoint, {"rtol": -1.0}, "rtol must be a finite number"),
        (Broyden, {"atol": math.nan}, "atol must be a finite number"),
        (FixedPoint, {"damping": 0.0}, "damping must be above 0"),
        (Anderson, {"window": 0}, "window must be 1 or more"),
        (Anderson, {"mixing": 1.5}, "mixing must be above 0"),
        (Anderson, {"regularisation": -1.0}, "regularisation must be"),
        (Anderson, {"restart": 1.0}, "restart must be above 1"),
        (Broyden, {"memory": 0}, "memory must be 1 or more"),
        (Broyden, {"mixing": 0.0}, "mixing must be above 0"),
        (Broyden, {"restart": math.nan}, "restart must be above 1"),
        (ReversibleRelaxation, {"max_steps": 2}, "max_steps must be 3 or more, got 2"),
        (ReversibleRelaxation, {"damping": 0.0}, "damping must be above 0"),
        (ReversibleRelaxation, {"relaxation": 1.0}, "must be above 0 and below 1, got 1.0: a full step forgets"),
        (ReversibleRelaxation, {"relaxation": math.nan}, "must be above 0 and below 1"),
        (ReversibleRelaxation, {"relaxation": 0.99}, "must be a multiple of 1/64, .* got 0.99, the nearest is 0.984375"),
        (ReversibleRelaxation, {"relaxation": 1e-9}, "got 1e-09, the nearest is 0.015625"),
    ],
)
def test_bad_settings_are_refused(kind, values, message) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_a_state_of_low_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 or float64, got torch\.bfloat16"):
        Anderson().solve(lambda z: z, torch.zeros(3, dtype=torch.bfloat16))


def test_a_step_that_changes_shape_or_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must keep shape and dtype .*\(3,\) torch.float32, but returned \(3,\) torch.float64"):
        Anderson().solve(lambda z: z.double(), torch.zeros(3))
    with pytest.raises(ValueError, match=r"but returned \(1, 3\)"):
        Anderson().solve(lambda z: z[None], torch.zeros(3))
