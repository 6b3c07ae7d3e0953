"""The deepest, the widest, the fewest parts that fit; the gradient strategies side by side; and a run made to fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from revgnn.experiments.planner.cost import Pass, width_unit
from revgnn.experiments.planner.plan import Limits, Plan, Planner
from revgnn.models.config import EquilibriumConfig
from revgnn.train.config import RunConfig

MOST_LAYERS = 100_000
"""Depth up to which is searched."""

MOST_CHANNELS = 16_384
"""Width up to which is searched."""


class Inverse(NamedTuple):
    """The answers to inverse questions. A plan is None if no value fits, or the question has no meaning for the network.

    Attributes:
        deepest, widest: the largest depth, and the largest width, other settings as they are.
        fewest_parts: the smallest number of parts for training, and for evaluation.
    """

    deepest: Plan | None
    widest: Plan | None
    fewest_parts: Plan | None


class Fitted(NamedTuple):
    """A run that was made to fit.

    Attributes:
        plan: of the run.
        changes: sentences that say what was changed; none if it was right as it was.
    """

    plan: Plan
    changes: tuple[str, ...]


def inverse(planner: Planner, run: RunConfig, limits: Limits) -> Inverse:
    """Return the deepest, the widest and the fewest parts that stay within the limits."""
    return Inverse(deepest(planner, run, limits), widest(planner, run, limits), fewest_parts(planner, run, limits))


def deepest(planner: Planner, run: RunConfig, limits: Limits) -> Plan | None:
    """Return the plan of the largest depth that fits, `MOST_LAYERS` at most."""
    if isinstance(run.model, EquilibriumConfig) and run.model.gradient is None:
        return None
    pairs = isinstance(run.model, EquilibriumConfig) or getattr(run.model, "repeats_pair", False)
    unit, least = (2, 2) if pairs else (1, 2 if run.model.family == "revgat" else 1)
    return _largest(planner, limits, lambda depth: _with_model(run, depth=depth), unit, (least, MOST_LAYERS), run.model.depth)


def widest(planner: Planner, run: RunConfig, limits: Limits) -> Plan | None:
    """Return the plan of the largest width that fits, to within 2 %; `MOST_CHANNELS` at most."""
    unit = width_unit(run)
    bounds = unit, MOST_CHANNELS
    return _largest(
        planner, limits, lambda channels: _with_model(run, channels=channels), unit, bounds, run.model.channels, slack=0.02
    )


def fewest_parts(planner: Planner, run: RunConfig, limits: Limits, *, at_least: tuple[int, int] = (1, 1)) -> Plan | None:
    """Return the plan with the fewest parts of the graph that fit, for training and for evaluation.

    Args:
        at_least: parts for training, and for evaluation.
    """
    if planner.data.row != "node" or run.capture:
        return None
    # Hours count for the parts of training only: those of evaluation hardly change them.
    evaluation = _fewest(
        planner, lambda parts: _with_parts(run, at_least[0], parts), Plan.evaluation_bytes, limits._replace(hours=None), at_least[1]
    )
    if evaluation is None:
        return None
    parts = evaluation.run.evaluation.parts
    plan = _fewest(planner, lambda n: _with_parts(run, n, parts), Plan.training_bytes, limits, at_least[0])
    return plan if plan is not None and plan.fits(limits) else None


def strategies(planner: Planner, run: RunConfig) -> list[tuple[str, Plan]]:
    """Return the plan under each gradient strategy that the network has, by name; the run's own comes first.

    Storing every layer saves the second evaluation of each. Seconds of the gradients of equilibria are known of the run's own only.
    """
    model = run.model
    own = model.effective_gradient
    if isinstance(model, EquilibriumConfig):
        settings = model.effective_solver
        changes: dict[str, dict[str, Any]] = {
            name: {"gradient": None, "solver": settings.model_copy(update={"method": _method(settings.method), "gradient": name})}
            for name in ("implicit", "phantom", "one-step")
        }
        solver = settings.model_copy(update={"method": "reversible", "gradient": None, "warm_start": False})
        changes |= {"reversible": {"gradient": None, "solver": solver}, "backprop": {"gradient": "backprop"}}
    else:
        changes = {name: {"gradient": name} for name in ("reversible", "checkpoint", "backprop")}
        if model.groups == 1:
            del changes["reversible"]
    changes[own] = {}
    plans = {name: planner.plan(_with_model(run, **each)) for name, each in changes.items()}
    return [(name, _timed(planner, run, plans[name])) for name in (own, *(n for n in plans if n != own))]


def fit(planner: Planner, run: RunConfig, limits: Limits) -> Fitted | None:
    """Return the run, changed until it fits; None if nothing that is tried makes it fit.

    What is changed first changes least: stored layers are computed again (with the same gradients), the graph is cut into more
    parts, and at last there are fewer layers.
    """
    plan = planner.plan(run)
    if plan.fits(limits):
        return Fitted(plan, ())
    changes: list[str] = []
    if not isinstance(run.model, EquilibriumConfig) and run.model.effective_gradient == "backprop":
        gradient = "checkpoint" if run.model.groups == 1 else "reversible"
        run = _with_model(run, gradient=gradient)
        changes.append(f"model.gradient={gradient} instead of backprop: the same gradients, with layers computed again")
        plan = planner.plan(run)
        if plan.fits(limits):
            return Fitted(plan, tuple(changes))
    cut = fewest_parts(planner, run, limits, at_least=(run.parts, run.evaluation.parts))
    if cut is not None:
        for key, before, after in (
            ("parts", run.parts, cut.run.parts),
            ("evaluation.parts", run.evaluation.parts, cut.run.evaluation.parts),
        ):
            if before != after:
                changes.append(f"{key}={after} instead of {before}")
        return Fitted(cut, tuple(changes))
    shallow = deepest(planner, run, limits)
    if shallow is None or shallow.run.model.depth >= run.model.depth:
        return None
    changes.append(f"model.depth={shallow.run.model.depth} instead of {run.model.depth}")
    return Fitted(shallow, tuple(changes))


# --- searching --------------------------------------------------------------------------------------------------------------------


def _largest(
    planner: Planner,
    limits: Limits,
    with_value: Callable[[int], RunConfig],
    unit: int,
    bounds: tuple[int, int],
    first: int,
    *,
    slack: float = 0.0,
) -> Plan | None:
    """Return the plan with the largest multiple of `unit` between two bounds that fits. What is needed grows with it.

    Args:
        first: where the search begins.
        slack: relative distance to the largest, or to the limits, that is good enough.
    """

    def plan_of(value: int) -> tuple[Plan, float]:
        plan = planner.plan(with_value(value))
        return plan, plan.share(limits)

    least, most = bounds[0], bounds[1] // unit * unit
    low = high = min(max(first, least), most)
    best, low_share = plan_of(low)
    high_share = low_share
    while low_share > 1.0:
        if low == least:
            return None
        high, high_share = low, low_share
        low = max(_multiple(low // 2, unit), least)
        best, low_share = plan_of(low)
    while high_share <= 1.0:
        if high == most:
            return best
        low, low_share = high, high_share
        high = min(_multiple(2 * high, unit), most)
        plan, high_share = plan_of(high)
        best = plan if high_share <= 1.0 else best
    halve = False
    while high - low > max(unit, slack * low) and low_share < 1.0 - slack:
        # in turns: where a power law between both ends crosses the limit, and half way
        guess = (low + high) / 2 if halve else low * (high / low) ** _crossing(low_share, high_share)
        middle = min(max(_multiple(int(guess), unit), low + unit), high - unit)
        halve = not halve
        plan, share = plan_of(middle)
        if share <= 1.0:
            low, low_share, best = middle, share, plan
        else:
            high, high_share = middle, share
    return best


def _crossing(low: float, high: float) -> float:
    """Return where, from 0 to 1, a power law from `low` to `high` is 1."""
    return 0.5 if low <= 0.0 or high <= low else math.log(1.0 / low) / math.log(high / low)


def _multiple(value: int, unit: int) -> int:
    return max(unit, value // unit * unit)


def _fewest(
    planner: Planner, with_parts: Callable[[int], RunConfig], bytes_of: Callable[[Plan], float], limits: Limits, least: int
) -> Plan | None:
    """Return the plan with the smallest number of parts for which these bytes fit. They fall with it, and so do hours."""

    def share(parts: int) -> float:
        plan = planner.plan(with_parts(parts))
        of_time = plan.share(limits._replace(memory_bytes=None))
        return max(of_time, 0.0 if limits.memory_bytes is None else bytes_of(plan) / limits.memory_bytes)

    low, high, most = least - 1, least, max(planner.data.num_nodes // 2, least)
    while share(high) > 1.0:
        if high == most or (high == least and share(most) > 1.0):
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if share(middle) <= 1.0 else (middle, high)
    return planner.plan(with_parts(high))


def _with_parts(run: RunConfig, parts: int, evaluation_parts: int) -> RunConfig:
    evaluation = run.evaluation.model_copy(update={"parts": evaluation_parts})
    return run.model_copy(update={"parts": parts, "evaluation": evaluation})


def _with_model(run: RunConfig, **changes: Any) -> RunConfig:
    return run.model_copy(update={"model": run.model.model_copy(update=changes)})


def _method(method: str) -> str:
    """Return a method that has an adjoint system."""
    return "anderson" if method == "reversible" else method


def _timed(planner: Planner, run: RunConfig, plan: Plan) -> Plan:
    """Return the plan with the seconds of its gradient strategy, which may not be the one that was probed."""
    own, other = run.model.effective_gradient, plan.run.model.effective_gradient
    if planner.cost is None or own == other or (own != "backprop" and other != "backprop" and run.model.family != "equilibrium"):
        return plan
    if run.model.family == "equilibrium":
        return plan._replace(seconds=None)
    sign = -1.0 if other == "backprop" else 1.0
    step, forward = planner.cost.step, planner.cost.forward
    layer = type(step.layer)(*(max(0.0, a + sign * b) for a, b in zip(step.layer, forward.layer, strict=True)))
    cost = type(planner.cost)(**{**vars(planner.cost), "step": Pass(step.rest, layer)})
    return plan._replace(seconds=cost.of(plan.run, planner.data))
