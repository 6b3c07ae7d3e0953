"""Which stage of a pipeline has which layers, weights and buffers of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from revgnn.models.base import AbstractModel, AbstractStackModel
from revgnn.models.target_model import TargetModel
from revgnn.ops.dropout import draws_from_own
from revgnn.stack import AbstractReversibleLayer, Checkpoint, GradientStrategy, Stack
from revgnn.stack.layers import ReverseStep, Step


@draws_from_own
class ElsewhereLayer(AbstractReversibleLayer):
    """Stands for a layer of another process. It has no blocks, and cannot be called.

    Args:
        groups: of the layer.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self._groups = groups

    @property
    def groups(self) -> int:
        return self._groups

    def advance(self, state: list[Tensor], step: Step) -> list[Tensor]:
        raise AssertionError("this layer belongs to another process")

    def reverse(self, state: list[Tensor], grads: list[Tensor], reverse_step: ReverseStep) -> None:
        raise AssertionError("this layer belongs to another process")


@dataclass(frozen=True)
class Owned:
    """A parameter or buffer of a network, or the extra state of a module."""

    name: str
    stages: tuple[int, ...]
    """Stages that use it, ascending; the first owns it. Without any, each process has it, as the grid of the stack."""
    first_name: str
    """The first name of the same tensor: tied layers have several."""

    @property
    def owner(self) -> int:
        return self.stages[0] if self.stages else 0


class Cut:
    """The cut of a network into stages, made from the whole network.

    Args:
        model: the whole network.
        stages: how many.
        layers: numbers of the layers of each; default: as `cut_layers` says.

    Attributes:
        layers: of each stage, numbers of layers with repeats counted.
        state: all entries of the network's `state_dict`.
        parameters: all parameters, each once, in the order of the network.
        numel: how many numbers each of them has.
        shared: names of the parameters of layers and norms that several stages use, as tied layers have.

    Raises:
        ValueError: for a network that has no stack, fewer layers than stages, or tied layers with batch norm.
    """

    def __init__(self, model: AbstractModel, stages: int, layers: list[range] | None = None) -> None:
        trunk = trunk_of(model)
        assert trunk.stack is not None
        self.layers = cut_layers(len(trunk.stack.sequence), trunk.stack.gradient, stages) if layers is None else layers
        users: dict[int, set[int]] = {}
        for stage in range(stages):
            for module in self.roots(model, stage):
                for tensor in (*module.parameters(), *module.buffers()):
                    users.setdefault(id(tensor), set()).add(stage)
        named = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
        first: dict[int, str] = {}
        for name, tensor in named.items():
            first.setdefault(id(tensor), name)
        self.state = [self._owned(name, named.get(name), users, first) for name in model.state_dict()]
        self.parameters = [self._owned(name, p, users, first) for name, p in model.named_parameters()]
        self.numel = {name: p.numel() for name, p in model.named_parameters()}
        edges = () if trunk.edge_encoder is None else {id(p) for p in _parameters(trunk, (trunk.edge_encoder,))}
        self.shared = [
            owned.name
            for owned, p in zip(self.parameters, model.parameters(), strict=True)
            if len(owned.stages) > 1 and id(p) not in edges
        ]
        for module in model.modules():
            if isinstance(module, _NormBase) and any(len(users.get(id(t), ())) > 1 for t in module.buffers()):
                raise ValueError(
                    "tied layers with batch norm cannot be cut over processes: its running statistics move from layer to layer; "
                    "set model.norm=layer."
                )

    def roots(self, model: AbstractModel, stage: int) -> Iterator[nn.Module]:
        """Yield the modules that a stage uses."""
        trunk = trunk_of(model)
        assert trunk.stack is not None
        sequence = trunk.stack.sequence
        yield from dict.fromkeys(sequence[n] for n in self.layers[stage])
        names = () if trunk.edge_encoder is None else (trunk.edge_encoder,)
        names += (trunk.encoder if stage == 0 else ()) + (trunk.decoder if stage == len(self.layers) - 1 else ())
        yield from (module for name in names if (module := getattr(trunk, name)) is not None)
        if stage == len(self.layers) - 1 and isinstance(model, TargetModel):
            yield model.head

    @staticmethod
    def _owned(name: str, tensor: Tensor | None, users: dict[int, set[int]], first: dict[int, str]) -> Owned:
        if tensor is None:
            return Owned(name, (), name)
        return Owned(name, tuple(sorted(users[id(tensor)])), first[id(tensor)])

    def strip(self, model: AbstractModel, stages: set[int]) -> None:
        """Remove from a network what none of these stages uses. Names and weights of the others stay."""
        trunk = trunk_of(model)
        assert trunk.stack is not None
        groups = trunk.stack.groups
        kept = {module for stage in stages for module in self.roots(model, stage)}
        for name, layer in list(trunk.stack.layers.named_children()):
            if layer not in kept:
                trunk.stack.layers[int(name)] = ElsewhereLayer(groups)
        for name in (*trunk.encoder, *trunk.decoder):
            if getattr(trunk, name) not in kept:
                setattr(trunk, name, None)
        if isinstance(model, TargetModel) and model.head not in kept:
            model.head = nn.Identity()


def trunk_of(model: AbstractModel) -> AbstractStackModel:
    """Return the network of nodes in a model.

    Raises:
        ValueError: if it is no stack of layers.
    """
    trunk = model.trunk if isinstance(model, TargetModel) else model
    if not isinstance(trunk, AbstractStackModel) or trunk.stack is None:
        what = f"family={model.config.family}" if not isinstance(trunk, AbstractStackModel) else f"depth={model.config.depth}"
        raise ValueError(f"a network of {what} has no stack of layers to cut over processes; use --parallel parts.")
    return trunk


def cut_layers(depth: int, gradient: GradientStrategy, stages: int) -> list[range]:
    """Return the layers of each stage, equally many up to one; of a stack with checkpoints, equally many stored states.

    Args:
        depth: layers of the stack.
        gradient: its strategy.

    Raises:
        ValueError: for more stages than layers or stored states.
    """
    if stages > depth:
        raise ValueError(f"{depth} layers cannot be cut into {stages} stages; use fewer processes or pieces, or a deeper network.")
    starts = list(range(depth))
    if isinstance(gradient, Checkpoint):
        starts = [layers.start for layers in gradient.ranges(depth)]
        if stages > len(starts):
            raise ValueError(
                f"{depth} layers with {len(starts)} stored states cannot be cut into {stages} stages, which begin at one each; set "
                f"model.checkpoint_every={depth // stages} or less."
            )
    bounds = [*(starts[len(starts) * s // stages] for s in range(stages)), depth]
    return [range(a, b) for a, b in pairwise(bounds)]


def _parameters(trunk: nn.Module, names: tuple[str, ...]) -> Iterator[nn.Parameter]:
    for name in names:
        module = getattr(trunk, name)
        if module is not None:
            yield from module.parameters()


def given_dtype(trunk: AbstractStackModel) -> torch.dtype:
    """Return the dtype of what the whole stack is given, at least float32: that of its weights."""
    own = next((p.dtype for p in trunk.parameters() if p.is_floating_point()), torch.float32)
    return torch.promote_types(own, torch.float32)


def state_dtype(stack: Stack, given: torch.dtype) -> torch.dtype:
    """Return the dtype of the state between layers."""
    return torch.float64 if stack.state == "float64" else given
