"""The memory of a run at any depth, from rehearsals of a few layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from revgnn.experiments.planner.rehearse import Memory, Rehearsed, Traffic, rehearse_evaluation
from revgnn.experiments.planner.size import DataSize
from revgnn.models.config import EquilibriumConfig, ModelConfig, StackConfig
from revgnn.train.config import EvalConfig, RunConfig

DEPTHS = (4, 6)
"""Layers of a stack to extrapolate from: even, since some networks repeat a pair of layers; and an even number apart, so that both
halves of the backward pass begin at the same place in a layer."""

_EXACT = 8
"""Layers up to which a stack is rehearsed as it is."""


@dataclass
class Rehearsals:
    """Rehearsals of one kind on one data set and one device. Each is made once.

    Deeper networks are not rehearsed: layers are alike, so what each part needs at the peak of each phase is linear in their
    number. Under checkpointing it is linear in the number of stored states and in that of the layers between two of them.

    Attributes:
        rehearse: `rehearse_step`, `rehearse_evaluation`, or what one process of several does.
        of_evaluation: whether it rehearses an evaluation, not a training step. Default: whether it is `rehearse_evaluation`.
    """

    rehearse: Callable[[RunConfig, DataSize, torch.device], Rehearsed]
    data: DataSize
    device: torch.device
    of_evaluation: bool | None = None
    _made: dict[str, Rehearsed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.of_evaluation is None:
            self.of_evaluation = self.rehearse is rehearse_evaluation

    def of(self, run: RunConfig) -> Rehearsed:
        """Return what a run needs."""
        model = run.model
        if isinstance(model, EquilibriumConfig):
            return self._of_equilibrium(run, model)
        if not isinstance(model, StackConfig):
            raise TypeError(f"{type(model).__name__} is the configuration of no known family.")
        return self._of_stack(run, model)

    def _at(self, run: RunConfig, **changes: object) -> Rehearsed:
        """Return the rehearsal of a run whose network is changed."""
        # what the other kind of rehearsal depends on must not make this one again
        same: dict[str, object] = {"data": None, "notes": (), "preset": None, "epochs": 1, "seed": 0}
        if self.of_evaluation:
            same |= {"parts": 1, "amp": "none"}
        else:
            same["evaluation"] = EvalConfig()
        model = run.model.model_copy(update=changes)
        run = run.model_copy(update={**same, "model": model})
        key = run.model_dump_json()
        if key not in self._made:
            self._made[key] = self.rehearse(run, self.data, self.device)
        return self._made[key]

    def _of_stack(self, run: RunConfig, model: StackConfig) -> Rehearsed:
        extra = model.depth - stacked_layers(model)
        layers = model.depth - extra
        if model.effective_gradient == "checkpoint":
            every = model.checkpoint_every or max(1, math.isqrt(layers))
            return self._checkpointed(run, model, every, extra)
        segments = getattr(model, "segments", 1) if model.effective_gradient == "reversible" else 1
        low, high = DEPTHS if segments == 1 else (2 * segments, 4 * segments)
        if layers <= max(_EXACT, high):
            return self._at(run)
        share = (layers - low) / (high - low)
        return blend([(1 - share, self._at(run, depth=low + extra)), (share, self._at(run, depth=high + extra))])

    def _checkpointed(self, run: RunConfig, model: StackConfig, every: int, extra: int) -> Rehearsed:
        layers = model.depth - extra
        if layers <= _EXACT or every >= layers or every == 1 or self.of_evaluation:
            return self._linear_in_depth(run, model, every, extra)
        shares = _shares(layers / every, 2, 3), _shares(every, 2, 4)
        return blend(
            (of_states * of_between, self._at(run, depth=states * between + extra, checkpoint_every=between))
            for states, of_states in zip((2, 3), shares[0], strict=True)
            for between, of_between in zip((2, 4), shares[1], strict=True)
        )

    def _linear_in_depth(self, run: RunConfig, model: StackConfig, every: int, extra: int) -> Rehearsed:
        """Return what a stack needs of which every state is stored, or only the first."""
        layers = model.depth - extra
        if layers <= _EXACT:
            return self._at(run)
        depths = DEPTHS
        return blend(
            (share, self._at(run, depth=depth + extra, checkpoint_every=1 if every == 1 else depth))
            for depth, share in zip(depths, _shares(layers, *depths), strict=True)
        )

    def _of_equilibrium(self, run: RunConfig, model: EquilibriumConfig) -> Rehearsed:
        """Return what a solve needs whose history is full; and what the unrolled network needs, if the run begins with it."""
        found = []
        settings = model.effective_solver
        if model.gradient is None:
            limits: dict[str, int] = {"pretraining": 0}
            if settings.method != "reversible":  # which keeps some bits of every step
                full = settings.history + 4
                names = ("forward_steps", "backward_steps", "evaluation_steps")
                limits |= {name: min(getattr(settings, name), full) for name in names}
            found.append(self._at(run, solver=settings.model_copy(update=limits)))
        if model.gradient is not None or settings.pretraining:
            unrolled = {"gradient": "backprop"}
            if model.depth <= _EXACT:
                found.append(self._at(run, **unrolled))
            else:
                depths = DEPTHS
                made = [self._at(run, depth=depth, **unrolled) for depth in depths]
                found.append(blend(zip(_shares(model.depth, *depths), made, strict=True)))
        return max(found, key=lambda each: each.peak.total)


def stacked_layers(model: ModelConfig) -> int:
    """Return the layers of the stack: all but those before and after it, which are always there."""
    match model.family:
        case "revgat":
            return model.depth - 2
        case "residual":
            return model.depth - (0 if getattr(model, "repeats_pair", False) else 1)
    return model.depth


def blend(found: Iterable[tuple[float, Rehearsed]]) -> Rehearsed:
    """Return the sum of what was found, each times its share. Shares add up to 1 and may be negative."""
    terms = list(found)

    def mix(phase: str, part: str) -> float:
        return max(0.0, sum(share * getattr(each.peaks[phase], part) for share, each in terms))

    peaks = {phase: Memory(*(mix(phase, part) for part in Memory._fields)) for phase in terms[0][1].peaks}
    traffic = Traffic(
        *(
            sum(share * of_one for (share, _), of_one in zip(terms, each, strict=True))
            for each in zip(*(t.traffic for _, t in terms), strict=True)
        )
    )
    return Rehearsed(round(sum(share * each.parameters for share, each in terms)), peaks, traffic)


def _shares(value: float, low: float, high: float) -> tuple[float, float]:
    """Return how much the values at `low` and at `high` count in that of a linear function at `value`."""
    share = (value - low) / (high - low)
    return 1 - share, share
