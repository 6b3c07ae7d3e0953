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
`test_degrees_add_up.body(edges=Edges(...))`. Where that is too long, take the blob that the failure prints, from which hypothesis
draws the case again: `REVGNN_CASE=AXicY2... pytest -m slow -k degrees_add_up`.

A law that today's code breaks is marked `@known_fault("what is wrong")`, or one parameter of it is. It then draws up to
`PERSISTENT` times as many cases, and stops at the first one that shows the fault. Remove the mark together with the fault: a law
that holds although it is marked fails.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, reproduce_failure, settings
from hypothesis.errors import UnsatisfiedAssumption
from hypothesis.strategies import SearchStrategy

from tests.properties.process import Worker

THOROUGH = 60
"""How many times as many cases the slow suite draws."""
PERSISTENT = 12
"""How many times as many cases the default suite draws of a law with a known fault, until one shows it."""
WANTED = {"default": 2_000, "thorough": 100_000}
"""Cases that all laws together draw at least. `test_suite.py` holds the suite to it."""
CASE_VARIABLE = "REVGNN_CASE"
"""Environment variable that holds the blob of a case to draw again."""

Body = Callable[..., None]


class Declared(NamedTuple):
    """A law that was imported."""

    cases: int
    """In the default suite, for each choice of its parameters."""
    is_exhaustive: bool
    """Whether there are no more cases than these."""
    test: Any

    @property
    def parameters(self) -> int:
        """How many choices of parameters there are."""
        marks = [mark for mark in self.test.pytestmark if mark.name == "parametrize" and mark.args[0] != "suite"]
        return math.prod(len(list(mark.args[1])) for mark in marks)


declared: list[Declared] = []


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
                try:
                    worker.run(body.__module__, body.__name__, {**fixed, **generated})
                except UnsatisfiedAssumption:
                    raise
                except BaseException:
                    drawn += 1
                    raise
                drawn += 1  # not if the case does not belong to the law

            # The key of hypothesis's database.
            one.__name__ = re.sub(r"\W", "_", "_".join([body.__name__, *map(str, fixed.values())]))
            is_known = request.node.get_closest_marker("xfail") is not None
            factor = THOROUGH if suite == "thorough" else PERSISTENT if is_known else 1
            wanted = cases * (1 if all_there_are else factor)
            run = _settings(suite, wanted, shrink=not is_known)(given(**strategies)(one))
            if blob := os.environ.get(CASE_VARIABLE):
                run = reproduce_failure(hypothesis.__version__, blob.encode())(run)
            try:
                run()
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
        thorough = pytest.param("thorough", marks=[pytest.mark.slow, pytest.mark.timeout(7200)])
        declared.append(Declared(cases, all_there_are, test))
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
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
