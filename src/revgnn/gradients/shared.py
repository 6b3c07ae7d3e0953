"""What all layers of a stack share: the graph, edge features, a dropout mask, any tensor the caller passes along."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class PerGroup(tuple[Any, ...]):
    """A value for each group: a block of group `i` is given element `i`. Anything else is given to all blocks whole."""

    __slots__ = ()


pytree.register_pytree_node(PerGroup, lambda values: (list(values), None), lambda values, _: PerGroup(values))


class Shared:
    """Arguments and keyword arguments for every block, in which gradients are looked for.

    Tensors are found inside tuples, lists, dicts and named tuples, and in `PerGroup`. Those that require a gradient get
    one, whatever the strategy: they are inputs of the stack like its state.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], groups: int) -> None:
        self.groups = groups
        self._leaves, self._spec = pytree.tree_flatten((args, kwargs))
        self._wanted = [i for i, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        self._by_group = self._arguments(self._leaves)

    @property
    def tensors(self) -> list[Tensor]:
        """Those that require a gradient."""
        return [self._leaves[i] for i in self._wanted]

    def arguments(self, group: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a block of this group is called with, after its input."""
        return self._by_group[group]

    def replaced(self, tensors: list[Tensor]) -> Shared:
        """The same with other tensors in place of `tensors`."""
        if not self._wanted:
            return self
        other = object.__new__(Shared)
        leaves = list(self._leaves)
        for i, tensor in zip(self._wanted, tensors, strict=True):
            leaves[i] = tensor
        other.groups, other._leaves, other._spec, other._wanted = self.groups, leaves, self._spec, self._wanted
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

        def pick(value: Any, group: int) -> Any:
            return value[group] if isinstance(value, PerGroup) else value

        if not any(isinstance(value, PerGroup) for value in everything):
            return [(args, kwargs)] * self.groups
        return [(tuple(pick(v, g) for v in args), {k: pick(v, g) for k, v in kwargs.items()}) for g in range(self.groups)]
