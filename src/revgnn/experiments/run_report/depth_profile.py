"""How large states, updates and gradients are, layer by layer, with the best weights of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from revgnn.models.base import AbstractStackModel
from revgnn.stack import Stack
from revgnn.train.inference.saved_run import SavedRun
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.optimization import LossScaler
from revgnn.train.run.session import differentiate


@dataclass(frozen=True)
class DepthProfile:
    """One number for each layer, in the order in which they are applied; root mean squares over all nodes and channels.

    Attributes:
        state: of the state after the layer.
        update: of what the layer adds to the state.
        gradient: of the gradient of the layer's parameters in a training step; None if layers share their parameters, or have none.
    """

    state: list[float]
    update: list[float]
    gradient: list[float] | None = None


@dataclass
class _Sums:
    """Sums of squares of each layer over several forward passes."""

    state: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)
    count: list[int] = field(default_factory=list)

    def add(self, place: int, before: list[Tensor], after: list[Tensor]) -> None:
        while len(self.count) <= place:
            self.state.append(0.0)
            self.update.append(0.0)
            self.count.append(0)
        for old, new in zip(before, after, strict=True):
            self.state[place] += float(new.double().square().sum())
            self.update[place] += float((new.double() - old.double()).square().sum())
            self.count[place] += new.numel()

    def root_means(self, sums: list[float]) -> list[float]:
        return [(total / max(count, 1)) ** 0.5 for total, count in zip(sums, self.count, strict=True)]


def activation_profile(saved: SavedRun) -> tuple[DepthProfile | None, Tensor]:
    """Return states and updates by depth, None without a stack of layers; and the run's logits, which are computed on the way.

    Memory stays that of the run's evaluation: each layer leaves two numbers.
    """
    stack = stack_of(saved.session.model)
    if stack is None:
        return None, saved.logits()
    sums = _Sums()
    with watched(stack, sums.add):
        logits = saved.logits()
    return DepthProfile(sums.root_means(sums.state), sums.root_means(sums.update)), logits


def gradient_profile(saved: SavedRun, profile: DepthProfile) -> DepthProfile:
    """Return the profile with the gradients of one training step on the first labelled part, under the run's own strategy.

    It is made in float32: gradients of fp16 are scaled. No weight changes; the session is of no use for training afterwards.
    """
    session = saved.session
    stack = stack_of(session.model)
    if stack is None or stack.repeats > 1 or len(set(stack.layers)) < len(stack.sequence):
        return profile
    config = session.config.model_copy(update={"amp": "none", "capture": False})
    session = replace(session, config=config, captured=None, scaler=LossScaler(session.device, "none"))
    with own_random_numbers(session.device, config.seed):
        batch = next((b for b in session.batches.view(config.parts, config.seed) if b.num_labelled), None)
        if batch is None or config.distillation is not None:
            return profile
        session.model.train()
        _skip_no_layer(session.model)
        session.model.zero_grad(set_to_none=True)
        differentiate(session, batch)
    gradients = [_root_mean_square(layer) for layer in stack.sequence]
    session.model.zero_grad(set_to_none=True)
    known = [g for g in gradients if g is not None]
    return replace(profile, gradient=known) if len(known) == len(gradients) else profile


def _skip_no_layer(model: nn.Module) -> None:
    """Let training steps of a model evaluate all of its layers."""
    for trunk in model.modules():
        if isinstance(trunk, AbstractStackModel):
            trunk.config = trunk.config.model_copy(update={"stochastic_depth": 0.0})


def stack_of(model: nn.Module) -> Stack | None:
    """Return the stack of layers of a model; None if it has none."""
    return next((module for module in model.modules() if isinstance(module, Stack)), None)


@contextmanager
def watched(stack: Stack, note: Callable[[int, list[Tensor], list[Tensor]], None]) -> Iterator[None]:
    """Within the block, call `note(place, before, after)` with the state, in groups, around each layer of each forward pass.

    A layer that stands in several places is noted in each.
    """
    place = 0

    def begin(*_: object) -> None:
        nonlocal place
        place = 0

    def pass_on(_: nn.Module, args: tuple[list[Tensor], object], after: list[Tensor]) -> None:
        nonlocal place
        note(place, args[0], after)
        place += 1

    hooks = [stack.register_forward_pre_hook(begin), *(layer.register_forward_hook(pass_on) for layer in set(stack.layers))]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _root_mean_square(layer: nn.Module) -> float | None:
    gradients = [p.grad for p in layer.parameters() if p.grad is not None]
    count = sum(g.numel() for g in gradients)
    if not count:
        return None
    value = (sum(float(g.double().square().sum()) for g in gradients) / count) ** 0.5
    return value if torch.isfinite(torch.tensor(value)) else None
