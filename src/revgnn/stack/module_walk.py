"""The modules and parameters below some modules. The methods of `nn.Module` also build all names, which takes longer."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def modules_in(roots: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the modules and all modules below them, each once."""
    found = list(dict.fromkeys(roots))
    seen = set(found)
    for module in found:  # the list grows meanwhile
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return found


def trainable_parameters(roots: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters of the modules, and of all modules below them, that require a gradient, each once."""
    parameters = (p for module in modules_in(roots) for p in module._parameters.values())
    return list({id(p): p for p in parameters if p is not None and p.requires_grad}.values())
