"""Laws: tests that hold for every case of a kind, tried on generated cases. This file says how many.

```python
@law(cases=100, edges=edge_lists())
def test_degrees_add_up(edges: Edges) -> None:
    graph = edges.graph()
    expect(int(graph.in_degree.sum()) == graph.num_edges, "the degrees do not add up")
```

Each law is two tests: one in the default suite, with as many cases as it says, and one in the slow suite (`make verify`), with
`THOROUGH` times as many. The default suite draws the same cases every time, the slow suite others each time.

A law's body runs in a worker process (`tests.properties.process`): a case that crashes or hangs fails the law, and is named. A body
takes plain values that can be pickled and printed. To try a case again, paste what the failure prints:
`test_degrees_add_up.body(edges=Edges(...))`.

A law that today's code breaks is marked `@known_fault("what is wrong")`, or one parameter of it is. It then stops at the first case
that shows the fault. Remove the mark together with the fault: a law that holds although it is marked fails.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from tests.properties.process import Worker

THOROUGH = 40
"""How many times as many cases the slow suite draws."""
WANTED = {"default": 2_000, "thorough": 100_000}
"""Cases that all laws together draw at least. `test_suite.py` holds the suite to it."""

Body = Callable[..., None]

declared: dict[str, int] = {}
"""The cases of each law that was imported, by its name."""
exhaustive: set[str] = set()
"""Laws that have no more cases than these."""


def law(*, cases: int, all_there_are: bool = False, **strategies: SearchStrategy[Any]) -> Callable[[Body], Any]:
    """Decorator: a test that runs the function on generated cases in a worker process.

    Args:
        cases: in the default suite.
        all_there_are: whether the strategies have no more cases than these; the slow suite then draws no more.
        strategies: what to draw for each argument. Other arguments come from pytest: fixtures and parameters.
    """

    def decorate(body: Body) -> Any:
        def test(suite: str, request: pytest.FixtureRequest, worker: Worker, record_property: Any, **fixed: Any) -> None:
            drawn = 0

            def one(**generated: Any) -> None:
                nonlocal drawn
                drawn += 1
                worker.run(body.__module__, body.__name__, {**fixed, **generated})

            # The key of hypothesis's database.
            one.__name__ = re.sub(r"\W", "_", "_".join([body.__name__, *map(str, fixed.values())]))
            is_known = request.node.get_closest_marker("xfail") is not None
            wanted = cases * (THOROUGH if suite == "thorough" and not all_there_are else 1)
            try:
                _settings(suite, wanted, shrink=not is_known)(given(**strategies)(one))()
                assert drawn >= wanted // 2, f"only {drawn} of {wanted} cases were drawn; the strategy is too narrow."
            finally:
                record_property("generated_cases", drawn)
                print(f"{one.__name__}: {drawn} generated cases")  # noqa: T201  (shown with -s)

        test.__name__ = test.__qualname__ = body.__name__
        test.__doc__, test.__module__ = body.__doc__, body.__module__
        test.body = body  # type: ignore[attr-defined]  # for the worker, which finds it by its name
        others = [p for p in inspect.signature(body).parameters.values() if p.name not in strategies]
        own = [p for p in inspect.signature(test).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        test.__signature__ = inspect.Signature([*own, *others])  # type: ignore[attr-defined]  # pytest reads what to pass from it
        declared[f"{body.__module__}.{body.__name__}"] = cases
        if all_there_are:
            exhaustive.add(f"{body.__module__}.{body.__name__}")
        thorough = pytest.param("thorough", marks=[pytest.mark.slow, pytest.mark.timeout(7200)])
        return pytest.mark.parametrize("suite", ["default", thorough])(test)

    return decorate


def known_fault(reason: str) -> pytest.MarkDecorator:
    """Return the mark of a law that a known fault breaks. An error while cases are drawn does not count as the fault."""
    return pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)


def expect(condition: Any, message: object) -> None:
    """Raise `AssertionError` with a message unless the condition holds. In a worker, `assert` alone would not say what failed."""
    if not condition:
        raise AssertionError(str(message))


def _settings(suite: str, cases: int, *, shrink: bool) -> settings:
    phases = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if shrink else [])]
    return settings(
        max_examples=cases,
        derandomize=suite == "default",
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
