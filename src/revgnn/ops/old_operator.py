"""Operators for autograd and `torch.compile`, which cost little where neither compiler nor tracer looks on.

An operator that torch's dispatcher knows (`torch.library.custom_op`) passes through some hundred lines of Python a call: the price
of a small kernel. Where nobody listens, the same functions run as a plain `torch.autograd.Function`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

CPU_AND_CUDA = ("cpu", "cuda")
_PLAIN = (Tensor, nn.Parameter)


def is_observed(arguments: tuple[Any, ...]) -> bool:
    """Whether a compiler, a tracer, a transform, a dispatch mode or a tensor subclass is to be told of each operator.

    A dispatch mode that is content with what operators are made of says so by an attribute `sees_through_operators`.
    """
    return (
        torch.compiler.is_compiling()
        or (torch._C._len_torch_dispatch_stack() > 0 and not _seen_through())
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or any(isinstance(a, Tensor) and type(a) not in _PLAIN for a in arguments)
    )


def _seen_through() -> bool:
    return all(getattr(mode, "sees_through_operators", False) for mode in _get_current_dispatch_mode_stack())


class Operator:
    """A function of tensors and numbers, made known to torch's dispatcher. Made by `operator`.

    Attributes:
        registered: what the dispatcher knows. Calling the operator gives the same, and calls it where `is_observed`.
    """

    def __init__(self, name: str, function: Callable[..., Any], devices: tuple[str, ...]) -> None:
        self.registered = torch.library.custom_op(name, function, mutates_args=(), device_types=devices)
        self._name = name
        self._function = function
        self._differentiable: type[torch.autograd.Function] | None = None

    def register_fake(self, fake: Callable[..., Any]) -> None:
        """Shapes and dtypes of the results, for tensors without data."""
        self.registered.register_fake(fake)

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """As `torch.library.CustomOpDef.register_autograd`. `backward` returns a gradient, or None, for each argument."""
        self.registered.register_autograd(backward, setup_context=setup_context)
        function = self._function

        # not with `setup_context` of its own: torch would then look up the signature of `forward` in each call
        def run(ctx: Any, *arguments: Any) -> Any:
            out = function(*arguments)
            setup_context(ctx, arguments, out)
            return out

        @once_differentiable
        def run_back(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
            found = backward(ctx, *grads)
            return tuple(None if isinstance(grad, list) else grad for grad in found)  # a list of tensors: constants

        name = self._name.replace("::", "_")
        methods = {"forward": staticmethod(run), "backward": staticmethod(run_back)}
        self._differentiable = type(name, (torch.autograd.Function,), methods)

    def __call__(self, *arguments: Any) -> Any:
        if is_observed(arguments):
            return self.registered(*arguments)
        if self._differentiable is None or not torch.is_grad_enabled():
            return self._function(*arguments)
        return self._differentiable.apply(*arguments)


def operator(name: str, devices: tuple[str, ...] = CPU_AND_CUDA) -> Callable[[Callable[..., Any]], Operator]:
    """Decorator: the function as an `Operator` called `name`, "namespace::name". Its arguments are positional, and annotated."""
    return lambda function: Operator(name, function, devices)
