"""What the blocks of a stack are called with after their input: a graph, edge features, a dropout mask, any tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


class PerGroup(tuple[Any, ...]):
    """A value for each group: the blocks of group `i` are given element `i`. Any other argument goes to all blocks as it is."""

    __slots__ = ()


class PerLayer(tuple[Any, ...]):
    """A value for each layer, repeats counted: all blocks of layer `n` are given element `n`, in both evaluations.

    An example is a seed of random numbers that the groups of a layer share.
    """

    __slots__ = ()


pytree.register_pytree_node(PerGroup, lambda values: (list(values), None), lambda values, _: PerGroup(values))
pytree.register_pytree_node(PerLayer, lambda values: (list(values), None), lambda values, _: PerLayer(values))


class BlockArguments:
    """Arguments and keyword arguments of every block, and the tensors in them that require a gradient.

    Tensors are found inside tuples, lists, dicts and named tuples, and in `PerGroup` and `PerLayer`. Those that require a gradient
    are inputs of the stack like its state: they get one from every strategy.

    Args:
        args, kwargs: what a block is called with after its input.
        groups: number of groups, G.
        depth: number of layers, repeats counted.

    Raises:
        ValueError: if a `PerGroup` or `PerLayer` does not have one value for each group or layer.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], groups: int, depth: int) -> None:
        _check_lengths((*args, *kwargs.values()), groups, depth)
        self._groups = groups
        self._leaves, self._structure = pytree.tree_flatten((args, kwargs))
        self._trainable = [i for i, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        self._has_per_layer = any(isinstance(value, PerLayer) for value in (*args, *kwargs.values()))
        self._by_group = self._split_by_group()
        self._versions: list[tuple[Tensor, int]] = []

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that require a gradient."""
        return [self._leaves[i] for i in self._trainable]

    def note_versions(self) -> None:
        """Note how often each tensor in the arguments has been written to, with or without a gradient, in graphs too."""
        self._versions = [(t, t._version) for leaf in self._leaves for t in _tensors_in(leaf) if not t.is_inference()]

    def check_versions(self, subject: str) -> None:
        """Raise `RuntimeError` if a tensor in the arguments has been written to since its version was noted, naming the argument.

        Args:
            subject: what cannot be evaluated again.
        """
        for tensor, version in self._versions:
            if tensor._version != version:
                raise RuntimeError(
                    f"{self._name(tensor)}, of shape {tuple(tensor.shape)}, was changed in place between the forward and the "
                    f"backward pass (version {tensor._version}, expected {version}), so {subject} cannot be evaluated again; pass "
                    "a new tensor in each call, or call backward first."
                )

    def _name(self, tensor: Tensor) -> str:
        """Return what a tensor in the arguments is called in the call of the stack."""
        args, kwargs = pytree.tree_unflatten(self._leaves, self._structure)
        named = [(f"argument {n} after the state", value) for n, value in enumerate(args)]
        named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
        for name, value in named:
            for leaf in pytree.tree_leaves(value):
                if any(t is tensor for t in _tensors_in(leaf)):
                    return name if leaf is tensor else f"a tensor of {name}"
        return "an argument"

    def of_block(self, layer: int, group: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments and keyword arguments of the block of this group in this layer."""
        args, kwargs = self._by_group[group]
        return _pick(args, kwargs, PerLayer, layer) if self._has_per_layer else (args, kwargs)

    def with_tensors(self, tensors: Sequence[Tensor]) -> BlockArguments:
        """Return the same arguments with other tensors in place of `tensors`."""
        if not self._trainable:
            return self
        other = object.__new__(BlockArguments)
        other.__dict__.update(self.__dict__)
        other._leaves = list(self._leaves)
        for i, tensor in zip(self._trainable, tensors, strict=True):
            other._leaves[i] = tensor
        other._by_group = other._split_by_group()
        return other

    def for_one_block(self) -> BlockArguments:
        """Return the same arguments with an autograd node of its own for each tensor in `tensors`.

        The gradients that one block contributes are summed at that node first.
        """
        if not self._trainable or not torch.is_grad_enabled():
            return self
        return self.with_tensors([t.view_as(t) for t in self.tensors])

    def _split_by_group(self) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        args, kwargs = pytree.tree_unflatten(self._leaves, self._structure)
        if not any(isinstance(value, PerGroup) for value in (*args, *kwargs.values())):
            return [(args, kwargs)] * self._groups
        return [_pick(args, kwargs, PerGroup, group) for group in range(self._groups)]


def _tensors_in(leaf: Any) -> Iterator[Tensor]:
    """Yield the tensors of an argument that is no tuple, list or dict: itself, or those among its attributes, as in a graph.

    Attributes that are tuples, lists or dicts are looked into; modules are not, since a snapshot knows those of the stack.
    """
    if isinstance(leaf, Tensor):
        yield leaf
        return
    if isinstance(leaf, nn.Module):
        return
    slots = (name for cls in type(leaf).__mro__ for name in getattr(cls, "__slots__", ()))
    for name in (*getattr(leaf, "__dict__", ()), *slots):
        value = getattr(leaf, name, None)
        values = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else (value,)
        yield from (each for each in values if isinstance(each, Tensor))


def _pick(
    args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[tuple[Any, ...]], index: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with element `index` in place of each value of this kind."""
    return (
        tuple(value[index] if isinstance(value, kind) else value for value in args),
        {name: value[index] if isinstance(value, kind) else value for name, value in kwargs.items()},
    )


def _check_lengths(values: Sequence[Any], groups: int, depth: int) -> None:
    for value in values:
        if isinstance(value, PerGroup) and len(value) != groups:
            raise ValueError(f"a PerGroup argument must have one value for each of the {groups} groups, got {len(value)}.")
        if isinstance(value, PerLayer) and len(value) != depth:
            raise ValueError(f"a PerLayer argument must have one value for each of the {depth} layers, got {len(value)}.")
