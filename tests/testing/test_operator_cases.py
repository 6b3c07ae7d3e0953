"""The inputs on which kernels and definitions are compared have one right gradient."""

from __future__ import annotations

import pytest
import torch

from revgnn.ops import Power
from revgnn.testing import operators

CPU = torch.device("cpu")
CLAMPED = [case for case in operators.CASES if "clamped" in case.variant and "edge features" in case.variant]


@pytest.mark.parametrize("case", CLAMPED, ids=str)
def test_no_message_is_at_a_limit(case: operators.Case) -> None:
    """There float32 and float64 clamp differently, and so do releases of torch in the gradient."""
    graphs = {**dict(operators.GRAPHS_WITH_FEATURES), "tangle": operators.tangle()}
    how = operators.REDUCERS[case.variant.split(", edge features")[0]](torch.tensor(1.3))
    assert isinstance(how, Power)
    assert how.clamp is not None
    for problem in case.problems(CPU):
        graph = graphs[problem.name]
        for seed in range(4):
            leaves = problem.draw(seed)
            edge_attr = leaves["edge_attr"]
            messages = leaves["x"][graph.src.long()] + edge_attr @ leaves["weight"] + leaves["bias"]
            assert not bool(((messages - how.clamp[1]).abs() < 1e-3).any())


def test_a_draw_near_a_limit_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CLAMPED if "mean clamped" in case.variant)
    problem = next(p for p in case.problems(CPU) if p.name == "power law")
    first = problem.draw(0)
    seen: list[torch.Tensor] = []

    def second_only(graph: object, reducer: str, leaves: dict[str, torch.Tensor]) -> bool:
        seen.append(leaves["x"])
        return len(seen) == 2

    monkeypatch.setattr(operators, "decides_alike", second_only)
    again = problem.draw(0)
    assert torch.equal(seen[0], first["x"])
    assert torch.equal(again["x"], seen[1])
    assert not torch.equal(again["x"], first["x"])
