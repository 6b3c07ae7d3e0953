"""What `torch.jit.trace` and `torch.export` record of a stack: the value, for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def refuse_tracing_with_gradients() -> None:
    """Raise `RuntimeError` if gradients are enabled while `torch.jit.trace` records."""
    if torch.jit.is_tracing() and torch.is_grad_enabled():  # pyright: ignore[reportPrivateImportUsage]
        raise RuntimeError(
            "torch.jit.trace records the value of a stack, for inference, but gradients are enabled; trace inside `with "
            "torch.no_grad():`, with the model in evaluation mode, or use torch.export."
        )


@torch.library.custom_op("revgnn::recorded_value", mutates_args=())
def recorded_value(value: Tensor) -> Tensor:
    """Return a copy of the value of a stack that was traced or exported. It refuses to be differentiated."""
    return value.clone()


@recorded_value.register_fake
def _(value):
    return torch.empty_like(value)


def _refuse(ctx: Any, grad: Tensor) -> Tensor:
    raise RuntimeError(
        "a stack that was recorded by torch.jit.trace or torch.export gives its value only, and has no gradient; train the stack "
        "itself, and record it afterwards."
    )


recorded_value.register_autograd(_refuse)
