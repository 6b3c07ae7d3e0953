"""Why a step cannot be recorded as a CUDA graph: the error, and modules that know the reason beforehand."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn


class CaptureError(ValueError):
    """A step that cannot be recorded as a CUDA graph. The message says why."""


@runtime_checkable
class KnowsCaptureObstacle(Protocol):
    """A module that can tell whether its steps can be recorded; those of one that decides something on the host cannot."""

    def capture_obstacle(self) -> str | None:
        """Return why a training step cannot be recorded as a CUDA graph; None if it can."""
        ...


def refuse_obstacles(model: nn.Module) -> None:
    """Raise `CaptureError` if the model or a module in it knows why its steps cannot be recorded."""
    for module in model.modules():
        if isinstance(module, KnowsCaptureObstacle):
            obstacle = module.capture_obstacle()
            if obstacle is not None:
                raise CaptureError(obstacle)
