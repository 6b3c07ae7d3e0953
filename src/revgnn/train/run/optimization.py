"""The optimiser step: learning rate, mixed precision, clipping, update."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.train.config import OptimConfig, RunConfig

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Diverged(FloatingPointError):
    """The loss, a gradient or the network's state is not finite or left its range. The weights are still unchanged."""


def build_optimizer(config: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return Adam in its fused form, which updates all parameters of a device in one pass, or RMSprop, which has no such form."""
    if config.name == "rmsprop":
        return torch.optim.RMSprop(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


def peak_rate(config: RunConfig) -> float:
    """Return the learning rate of a run, before warm-up and schedule.

    Above `optim.reference_depth` it falls with the root of the depth: blocks that start at zero all move by about the rate in the
    first steps, and what they add to the state together grows with their number.
    """
    optim = config.optim
    if optim.reference_depth is None:
        return optim.lr
    return optim.lr * min(1.0, math.sqrt(optim.reference_depth / config.model.depth))


def learning_rate(config: RunConfig, epochs_done: float, steps: int | None = None) -> float:
    """Return the learning rate of a step. It depends only on the configuration and on `epochs_done`.

    Args:
        epochs_done: epochs trained before this step, with a fraction within an epoch.
        steps: of an epoch; default: one for each part.
    """
    optim = config.optim
    rate = peak_rate(config)
    if optim.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, epochs_done / config.epochs)))
    if epochs_done < optim.warmup:
        steps = config.parts if steps is None else steps
        rate *= (epochs_done * steps + 1) / (optim.warmup * steps)
    return rate


def autocast(device: torch.device, amp: str) -> AbstractContextManager:
    """Return the autocast context of `amp`: "none", "bf16" or "fp16"."""
    return nullcontext() if amp == "none" else torch.autocast(device.type, dtype=_DTYPES[amp])


class LossScaler:
    """Backward pass and optimiser step. A loss or gradient that is not finite never reaches the weights.

    In fp16 the loss is multiplied by a scale, since small gradients would become 0 (Micikevicius et al. 2018,
    arXiv:1710.03740). If a gradient overflows, the step is skipped and the scale is halved. After 2,000 steps without an overflow
    the scale is doubled. In the other precisions nothing is scaled, and a gradient that is not finite is an error.

    Attributes:
        skipped: steps skipped since the last call of `take_skipped`.
        clip: scales the whole gradient down; another one where processes hold parts of it. See `clip_gradient`.
    """

    clip: Callable[[nn.Module, float | None], Tensor]

    def __init__(self, device: torch.device, amp: str) -> None:
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        self.skipped = 0
        self.clip = clip_gradient

    @property
    def scales(self) -> bool:
        """Whether the loss is scaled, so that steps may be skipped: only in fp16."""
        return self._scaler.is_enabled()

    def prepare(self, device: torch.device) -> None:
        """Create the scale, as a backward pass does: for a process that has none before its first update."""
        self._scaler.scale(torch.zeros((), device=device))

    def differentiate(self, loss: Tensor, auxiliary: Tensor | None) -> Tensor:
        """Run the backward pass of `loss + auxiliary`, scaled. The host waits for no value.

        Args:
            loss: a scalar in float32.
            auxiliary: likewise, or None.

        Returns:
            The sum, without the scale.
        """
        total = loss if auxiliary is None else loss + auxiliary
        self._scaler.scale(total).backward()
        return total

    def update(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, total: Tensor, clip_norm: float | None
    ) -> float:
        """Clip the norm of the gradient and update the weights.

        Loss and norm are read together, once a step, since the host waits for a GPU at each reading.

        Args:
            loss: the argument of `differentiate`.
            total: its result.
            clip_norm: largest norm of the whole gradient; None: no clipping.

        Returns:
            The value of `loss`.

        Raises:
            Diverged: if the sum or a gradient is not finite; in fp16, if a gradient is not finite even at a scale of 1. Weights
                and the optimiser's state are unchanged.
        """
        self._scaler.unscale_(optimizer)
        norm = self.clip(model, clip_norm)
        value, total_value, norm_value = torch.stack([t.detach().float() for t in (loss, total, norm)]).tolist()
        if not math.isfinite(total_value):
            raise Diverged(f"the loss is {total_value}")
        if math.isfinite(norm_value):
            self._scaler.step(optimizer)
            self._scaler.update()
            return value
        if not self.scales:
            raise Diverged(f"the norm of the gradient is {norm_value}, though the loss is {value:.6g}")
        self.skipped += 1
        self._scaler.update()
        if (scale := self._scaler.get_scale()) < 1.0:
            raise Diverged(f"gradients are not finite at any scale of the loss; the last tried was {2 * scale:g}")
        return value

    def take_skipped(self) -> int | None:
        """Return the number of steps skipped since the last call; None in precisions that skip no step."""
        skipped, self.skipped = self.skipped, 0
        return skipped if self.scales else None

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and its counters as numbers; an empty dict if nothing is scaled."""
        return {**self._scaler.state_dict(), "skipped": self.skipped} if self.scales else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        if self.scales:
            self.skipped = state.get("skipped", 0)
            self._scaler.load_state_dict({key: value for key, value in state.items() if key != "skipped"})


def clip_gradient(model: nn.Module, clip_norm: float | None) -> Tensor:
    """Scale the whole gradient down to the norm `clip_norm`, and return its norm before.

    The norm is not finite if an entry is not finite, or if the sum of squares overflows float32. Neither is a usable gradient.
    """
    if clip_norm is not None:
        return nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
