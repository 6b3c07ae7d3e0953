"""Mixed precision: the forward pass in a shorter floating-point type, weights and gradients in float32."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Diverged(FloatingPointError):
    """The loss, a gradient, or the state of the network left its range. It is seen before the weights are spoilt."""


def autocast(device: torch.device, amp: str) -> AbstractContextManager:
    """A context in which `amp` ("none", "bf16" or "fp16") applies."""
    return nullcontext() if amp == "none" else torch.autocast(device.type, dtype=_DTYPES[amp])


def grad_scaler(device: torch.device, amp: str) -> LossScaler:
    """What takes the steps of a run in this precision."""
    return LossScaler(device, amp)


class LossScaler:
    """Backward pass and optimiser step that never let a number that is not finite reach the weights.

    In fp16 the loss is scaled first (Micikevicius et al. 2018, arXiv:1710.03740), as small gradients would be lost. If a gradient
    then overflows, the step is skipped and the scale halved; after 2,000 steps without, it is doubled. In the other precisions
    nothing is scaled, so a gradient that is not finite is the network's own.

    Attributes:
        skipped: steps skipped since they were last counted by `take_skipped`.
    """

    def __init__(self, device: torch.device, amp: str) -> None:
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        self.skipped = 0

    @property
    def scales(self) -> bool:
        """fp16: steps may be skipped."""
        return self._scaler.is_enabled()

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, auxiliary: Tensor | None, clip_norm: float | None
    ) -> float:
        """`differentiate`, then `update`. Arguments, result and errors are theirs."""
        return self.update(model, optimizer, loss, self.differentiate(loss, auxiliary), clip_norm)

    def differentiate(self, loss: Tensor, auxiliary: Tensor | None) -> Tensor:
        """The backward pass of `loss + auxiliary`, scaled; nothing is read on the host.

        Args:
            loss, auxiliary: scalars in float32, or None for the latter.

        Returns:
            The sum.
        """
        total = loss if auxiliary is None else loss + auxiliary
        self._scaler.scale(total).backward()
        return total

    def update(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, total: Tensor, clip_norm: float | None
    ) -> float:
        """Clip the gradient's norm, and move the weights.

        Loss and norm are read together, once a step: a GPU waits for each reading.

        Args:
            loss: as `differentiate` was given it.
            total: what it returned.
            clip_norm: None: no clipping.

        Returns:
            `loss`.

        Raises:
            Diverged: the sum or a gradient is not finite; in fp16, not even with a scale of 1. Weights and the optimiser's
                moments are as before.
        """
        self._scaler.unscale_(optimizer)
        norm = _clipped(model, clip_norm)
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
        """Steps skipped since the last call; None where no step is ever skipped."""
        skipped, self.skipped = self.skipped, 0
        return skipped if self.scales else None

    def state_dict(self) -> dict[str, Any]:
        """Scale and counters, numbers all; empty where nothing is scaled."""
        return {**self._scaler.state_dict(), "skipped": self.skipped} if self.scales else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        if self.scales:
            self.skipped = state.get("skipped", 0)
            self._scaler.load_state_dict({key: value for key, value in state.items() if key != "skipped"})


def _clipped(model: nn.Module, clip_norm: float | None) -> Tensor:
    """The norm of the whole gradient, which is then shrunk to `clip_norm`. It is not finite if, and only if, an entry is not,
    or their squares leave float32: then no step is worth taking either."""
    if clip_norm is not None:
        return nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
