"""Walks through modules. Those of `nn.Module` spell out the name of all they meet, and a step walks a thousand layers, often."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def modules_in(roots: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules and all below them, each once."""
    found = list(dict.fromkeys(roots))
    seen = set(found)
    for module in found:  # grows as it goes
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return found


def wanted_parameters(*roots: nn.Module) -> list[nn.Parameter]:
    """Parameters of the modules and of all below them that want a gradient, each once."""
    own = (p for module in modules_in(roots) for p in module._parameters.values())
    return list({id(p): p for p in own if p is not None and p.requires_grad}.values())
