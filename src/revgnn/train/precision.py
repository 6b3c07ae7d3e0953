"""Mixed precision: the forward pass in a shorter floating-point type, weights and gradients in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, amp: str) -> AbstractContextManager:
    """A context in which `amp` ("none", "bf16" or "fp16") applies."""
    return nullcontext() if amp == "none" else torch.autocast(device.type, dtype=_DTYPES[amp])


def grad_scaler(device: torch.device, amp: str) -> torch.amp.GradScaler:
    """Scales the loss for fp16, whose smallest numbers would swallow gradients; elsewhere it passes everything through."""
    return torch.amp.GradScaler(device.type, enabled=amp == "fp16")
