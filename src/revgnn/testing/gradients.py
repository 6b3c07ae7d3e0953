"""Compare two ways to differentiate one network, bit for bit."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn


def gradients_of(module: nn.Module, *inputs: Any, seed: int = 0, autocast: torch.dtype | None = None) -> dict[str, Tensor | None]:
    """Run `module(*inputs)` and a backward pass from random gradients of the output, and return everything to compare.

    Args:
        module: called in the mode it is in (training or evaluation). Its gradients are cleared before and after.
        inputs: tensors that require a gradient are replaced by new leaves; everything else, for example a graph, is passed on.
        seed: of torch's generators, for the forward pass (dropout) and for the gradients of the output.
        autocast: dtype of the forward pass under autocast; the backward pass runs outside autocast.

    Returns:
        "output" (a tensor), "input 0", ... (gradients), "parameter NAME" (gradients, None if there is none) and
        "buffer NAME" (values afterwards, for example running statistics).
    """
    leaves = [x.detach().clone().requires_grad_() if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
    module.zero_grad(set_to_none=True)
    device = next((x.device for x in leaves if isinstance(x, Tensor)), torch.device("cpu"))
    # The caller's random state must not change.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with torch.autocast(device.type, autocast) if autocast is not None else contextlib.nullcontext():
            output = module(*leaves)
        torch.manual_seed(seed + 1)
        output.backward(torch.randn_like(output))
    found: dict[str, Tensor | None] = {"output": output.detach().clone()}
    for i, x in enumerate(leaves):
        if isinstance(x, Tensor) and x.requires_grad:
            found[f"input {i}"] = x.grad
    for name, parameter in module.named_parameters():
        found[f"parameter {name}"] = parameter.grad
    for name, buffer in module.named_buffers():
        found[f"buffer {name}"] = buffer.detach().clone()
    module.zero_grad(set_to_none=True)
    return found


def assert_gradients_equal(
    ours: nn.Module, expected: nn.Module, *inputs: Any, seed: int = 0, autocast: torch.dtype | None = None
) -> None:
    """Assert that both modules give bit for bit the same output, gradients and buffers; see `gradients_of`.

    Parameters and buffers are matched by name and must be equal at the start: build the second module with
    `load_state_dict(first.state_dict())` or `copy.deepcopy`.

    Raises:
        AssertionError: if a tensor differs; the message names each, and by how much.
        ValueError: if the modules differ before they run, or if there is no gradient at all to compare.
    """
    states = ours.state_dict(), expected.state_dict()
    if states[0].keys() != states[1].keys():
        raise ValueError(f"the modules do not have the same parameters: {sorted(states[0].keys() ^ states[1].keys())}.")
    changed = [name for name in states[0] if not _same(states[0][name], states[1][name])]
    if changed:
        raise ValueError(f"the modules differ before they run, in {changed[0]} and {len(changed) - 1} more; copy the state first.")
    found = gradients_of(ours, *inputs, seed=seed, autocast=autocast)
    wanted = gradients_of(expected, *inputs, seed=seed, autocast=autocast)
    if all(value is None for name, value in wanted.items() if name.startswith(("input", "parameter"))):
        raise ValueError("no input and no parameter received a gradient: there is nothing to compare.")
    wrong = [_difference(name, found[name], wanted[name]) for name in wanted if not _same(found[name], wanted[name])]
    if wrong:
        shown = "\n".join(wrong[:8]) + (f"\nand {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise AssertionError(f"{len(wrong)} of {len(wanted)} tensors differ:\n{shown}")


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and torch.equal(a, b)


def _difference(name: str, ours: Tensor | None, expected: Tensor | None) -> str:
    if ours is None or expected is None:
        return f"  {name}: ours is {'missing' if ours is None else 'present'}, expected {'none' if expected is None else 'one'}"
    if ours.dtype != expected.dtype or ours.shape != expected.shape:
        return f"  {name}: ours is {ours.dtype} {tuple(ours.shape)}, expected {expected.dtype} {tuple(expected.shape)}"
    gap = (ours.double() - expected.double()).abs()
    largest = float(expected.double().abs().amax())
    count = int((ours != expected).sum())
    return f"  {name}: {count} of {gap.numel()} elements, up to {float(gap.amax()):.3g} apart (the largest is {largest:.3g})"
