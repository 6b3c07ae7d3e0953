"""A recorded CUDA graph of a step: what it reads and writes, and how it is replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from revgnn.capture.deferred import DeferredChecks
from revgnn.capture.obstacles import CaptureError


@dataclass
class Recording:
    """A CUDA graph of a step.

    Attributes:
        graph: the graph.
        inputs, outputs: the tensors that it reads and writes.
        checks: what tells whether a replay was right.
        parameters: the parameters that require a gradient.
        addresses: their addresses when the graph was recorded.
        grads: the gradients that the graph writes, by parameter.
        mode: the modes in which it was recorded; see `mode_of`.
    """

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: Any
    checks: DeferredChecks
    parameters: list[nn.Parameter]
    addresses: list[int]
    grads: list[Tensor | None]
    mode: tuple[bool, bool]

    def is_stale(self) -> bool:
        """Return whether a parameter has another address: the model was moved, or was given other tensors."""
        return any(p.data_ptr() != address for p, address in zip(self.parameters, self.addresses, strict=True))

    def replay(self, inputs: tuple[Tensor, ...], mode: tuple[bool, bool]) -> None:
        """Run the graph on other inputs.

        Raises:
            CaptureError: if the inputs have other shapes or dtypes than recorded, or `mode` is another one.
        """
        recorded, got = [_describe(t) for t in self.inputs], [_describe(t) for t in inputs]
        if recorded != got:
            raise CaptureError(
                f"this step was recorded for inputs {recorded}, got {got}; a graph repeats one size: make a CapturedStep for each, "
                "or run steps of changing size without capture."
            )
        if mode != self.mode:
            raise CaptureError(
                f"this step was recorded with (model.training, gradients) = {self.mode}, but is called with {mode}; call it as it "
                "was recorded, or call forget() first."
            )
        for static, value in zip(self.inputs, inputs, strict=True):
            static.copy_(value)
        self.graph.replay()
        for parameter, grad in zip(self.parameters, self.grads, strict=True):
            if parameter.grad is not grad:
                parameter.grad = grad


def mode_of(model: nn.Module) -> tuple[bool, bool]:
    """Return whether the model is in training mode, and whether gradients are enabled."""
    return model.training, torch.is_grad_enabled()


def map_outputs(function: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    """Return the outputs of a step with `function` applied to each tensor.

    Raises:
        CaptureError: if they hold anything but tensors and None.
    """
    leaves, structure = pytree.tree_flatten(outputs)
    for leaf in leaves:
        if leaf is not None and not isinstance(leaf, Tensor):
            raise CaptureError(f"a captured step returns tensors, got {type(leaf).__name__}, which a replay would not update.")
    return pytree.tree_unflatten([None if leaf is None else function(leaf) for leaf in leaves], structure)


def _describe(t: Tensor) -> str:
    return f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}"
