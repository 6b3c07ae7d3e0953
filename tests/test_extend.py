"""What the pages of docs/extend add keeps the laws of its kind: those that revgnn's own are tested for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.equilibrium.solvers import test_solvers as solvers
from tests.pages import ROOT, run_page
from tests.stack.networks import gen_stack
from tests.stack.test_exactness import assert_exact


def names_of(page: str) -> dict[str, Any]:
    return run_page(ROOT / "docs" / "extend" / f"{page}.md", call_tests=False)


def test_the_strategy_is_exact(tolokers: Any) -> None:
    """On a real graph, with dropout, batch norm and autocast."""
    strategies = [names_of("strategy")["StoreLast"](layers) for layers in (1, 5)]
    for norm, autocast in (("layer", None), ("batch", torch.bfloat16)):
        stack = gen_stack(12, 2, 8, norm=norm, dropout=0.2)
        assert_exact(stack, torch.randn(300, 16), tolokers, strategies=strategies, autocast=autocast)


@pytest.fixture(scope="module")
def aitken() -> type:
    return names_of("solver")["Aitken"]


LAWS = [
    solvers.test_the_best_iterate_is_returned_with_its_residual,
    solvers.test_steps_are_the_evaluations_of_f,
    solvers.test_a_start_at_the_solution_is_returned,
    solvers.test_a_nonlinear_map_with_kinks,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
def test_the_solver_keeps(law: Any, aitken: type) -> None:
    law(aitken)


@pytest.mark.parametrize(("dtype", "rtol", "wanted"), [(torch.float64, 1e-12, 1e-10), (torch.float32, 1e-6, 1e-4)], ids=str)
def test_the_solver_solves_a_contraction(aitken: type, dtype: torch.dtype, rtol: float, wanted: float) -> None:
    solvers.test_a_contraction_is_solved(aitken, dtype, rtol, wanted)
