"""What all layers of a stack share: the graph, edge features, a dropout mask, any tensor the caller passes along."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class PerGroup(tuple[Any, ...]):
    """A value for each group: a block of group `i` is given element `i`. Anything else is given to all blocks whole."""

    __slots__ = ()


class PerLayer(tuple[Any, ...]):
    """A value for each layer, repeats counted: all blocks of layer `n` are given element `n`, also when they are evaluated again.

    A seed, say, of random numbers that the groups of a layer have in common.
    """

    __slots__ = ()


pytree.register_pytree_node(PerGroup, lambda values: (list(values), None), lambda values, _: PerGroup(values))
pytree.register_pytree_node(PerLayer, lambda values: (list(values), None), lambda values, _: PerLayer(values))


class Shared:
    """Arguments and keyword arguments for every block, in which gradients are looked for.

    Tensors are found inside tuples, lists, dicts and named tuples, and in `PerGroup` and `PerLayer`. Those that require a
    gradient get one, whatever the strategy: they are inputs of the stack like its state.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], groups: int, depth: int) -> None:
        self.groups = groups
        self.depth = depth
        self._leaves, self._spec = pytree.tree_flatten((args, kwargs))
        self._wanted = [i for i, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        self._by_group = self._arguments(self._leaves)

    @property
    def tensors(self) -> list[Tensor]:
        """Those that require a gradient."""
        return [self._leaves[i] for i in self._wanted]

    def arguments(self, layer: int, group: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the block of this group in this layer is called with, after its input."""
        args, kwargs = self._by_group[group]
        if not any(isinstance(value, PerLayer) for value in (*args, *kwargs.values())):
            return args, kwargs

        def pick(value: Any) -> Any:
            return value[layer] if isinstance(value, PerLayer) else value

        return tuple(map(pick, args)), {name: pick(value) for name, value in kwargs.items()}

    def replaced(self, tensors: list[Tensor]) -> Shared:
        """The same with other tensors in place of `tensors`."""
        if not self._wanted:
            return self
        other = object.__new__(Shared)
        leaves = list(self._leaves)
        for i, tensor in zip(self._wanted, tensors, strict=True):
            leaves[i] = tensor
        other.groups, other.depth, other._leaves, other._spec = self.groups, self.depth, leaves, self._spec
        other._wanted = self._wanted
        other._by_group = self._arguments(leaves)
        return other

    def aliased(self) -> Shared:
        """The same with an autograd node for each tensor: what one block adds to its gradient is summed apart first."""
        return self.replaced([t.view_as(t) for t in self.tensors]) if self._wanted and torch.is_grad_enabled() else self

    def _arguments(self, leaves: list[Any]) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        args, kwargs = pytree.tree_unflatten(leaves, self._spec)
        everything = (*args, *kwargs.values())
        for value in everything:
            if isinstance(value, PerGroup) and len(value) != self.groups:
                raise ValueError(f"a PerGroup argument must have one value for each of the {self.groups} groups, got {len(value)}.")
            if isinstance(value, PerLayer) and len(value) != self.depth:
                raise ValueError(f"a PerLayer argument must have one value for each of the {self.depth} layers, got {len(value)}.")

        def pick(value: Any, group: int) -> Any:
            return value[group] if isinstance(value, PerGroup) else value

        if not any(isinstance(value, PerGroup) for value in everything):
            return [(args, kwargs)] * self.groups
        return [(tuple(pick(v, g) for v in args), {k: pick(v, g) for k, v in kwargs.items()}) for g in range(self.groups)]
