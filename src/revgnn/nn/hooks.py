"""Hooks on modules: what stands in the way of computing several modules in one pass."""

from __future__ import annotations

from torch import nn


def has_hooks(*modules: nn.Module) -> bool:
    """Whether a forward or backward hook is registered on one of the modules, so that each must be called by itself."""
    for m in modules:  # noqa: SIM110 (a generator costs as much again)
        if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks:
            return True
    return False
