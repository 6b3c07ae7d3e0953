"""The forward pass of one stage, for one part: what arrives, the layers of the stage, and what leaves.

Random numbers do not depend on the cut. The first stage draws as one process does until the stack begins. The state of torch's
generators then travels with the part. Every stage draws from it the mask of all layers and the seed of the stack, from which each
block has numbers by its place, and the last stage goes on to the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from revgnn.distributed.pipeline.cut import Cut, given_dtype, state_dtype, trunk_of
from revgnn.distributed.pipeline.statistics import Statistics
from revgnn.distributed.pipeline.sums import Entrance, Exit, Piece, SharedSums
from revgnn.memory import rehearsing
from revgnn.models.base import AbstractModel, AbstractStackModel
from revgnn.models.randomness import draw_step_randomness
from revgnn.models.target_model import TargetModel
from revgnn.ops import grid
from revgnn.stack import AbstractLayer, GradientStrategy, Reversible
from revgnn.stack.host_access import ImmediateHostAccess
from revgnn.stack.snapshot import frozen_statistics
from revgnn.train.batches import Batch


class PeakOfState(ImmediateHostAccess):
    """Notes the magnitude of the state of one run instead of checking it: all stages together decide whether a part left its grid.

    Attributes:
        peak: the magnitude, float64, shape (); None before it is known, and for a state on no grid.
    """

    def __init__(self) -> None:
        self.peak: Tensor | None = None
        self._limit = math.inf

    def check_range(self, peak: Tensor, bits: int, dtype: torch.dtype) -> None:
        self.peak = torch.where(peak.isnan(), torch.inf, peak.double())
        self._limit = grid.limit(dtype, bits)

    def check_repeated(self, repeated: Tensor, message: str) -> None:
        if self.peak is None or float(self.peak) <= self._limit:  # else the step is taken again
            super().check_repeated(repeated, message)


class Stage:
    """Some layers of a network, and its encoder or head at the ends.

    Args:
        model: the network, of which at least the modules of this stage are there.
        cut: of the whole network.
        index: of the stage.
        whole: the gradient strategy of the whole stack.
        device: of the state.

    Attributes:
        dtype, channels: of the state between stages.
        carried: numbers that travel with a state: random states on the way forward, sums of gradients on the way back.
        peak: the largest magnitude of the state in the last forward pass; None if the state is on no grid.
        frees_input: nothing needs what has arrived once the layers have run.
        statistics: of batch norm in this stage.
    """

    def __init__(self, model: AbstractModel, cut: Cut, index: int, whole: GradientStrategy, device: torch.device) -> None:
        self.model, self.cut, self.index, self.whole, self.device = model, cut, index, whole, device
        self.trunk: AbstractStackModel = trunk_of(model)
        assert self.trunk.stack is not None
        self.stack = self.trunk.stack
        self.layers = cut.layers[index]
        self.is_first, self.is_last = index == 0, index == len(cut.layers) - 1
        self.given = given_dtype(self.trunk)
        self.dtype, self.channels = state_dtype(self.stack, self.given), model.config.channels
        self.tied = _tied(model, cut, index)
        self.sizes = _sizes(self.trunk, cut, model)
        self.carried = max(2 * sum(self.sizes), len(random_state(device)))
        self.peak: Tensor | None = None
        self.frees_input = isinstance(whole, Reversible)
        roots = list(cut.roots(model, index))
        self.statistics = Statistics(roots, [root for root in roots if isinstance(root, AbstractLayer)])
        self._called = _Called(model)

    def forward(self, batch: Batch, state: Tensor | None, carry: Tensor | None, *, frozen: bool = False) -> tuple[Tensor, ...]:
        """Return the state and what travels with it, or the logits of the last stage.

        Args:
            state: (M, D), of the stage before; None in the first.
            carry: (`carried`,), likewise.
            frozen: statistics of batch norm in the layers stay as they are.
        """
        is_trained, edges, sums = torch.is_grad_enabled(), self.trunk.edge_arguments(batch.graph), None
        if is_trained:
            sums, edges, state, tied = self._enter(edges, state, carry)
        else:
            tied = {}

        def run() -> Tensor:
            h = self._through_layers(batch, state, carry, edges, sums, frozen=frozen)
            if not self.is_last:
                return h
            logits = self.trunk.decode(h, batch.graph)
            return self.model.head(logits, batch.targets.get("targets")) if isinstance(self.model, TargetModel) else logits

        # modules are tied, not weights of different modules: to replace a weight under one of its names is enough
        replaced = {f"model.{name}": t for name, t in tied.items()}
        h = functional_call(self._called, replaced, (run,), tie_weights=False) if tied else run()
        if self.is_last or sums is None:
            return (h,)
        slots = [n for n, t in enumerate(sums.tensors) if t is not None]
        carried = carry if carry is not None else self._first_carry
        return Exit.apply(sums, slots, h, carried.detach(), *(sums.tensors[n] for n in slots))

    def _enter(
        self, edges: tuple[Any, ...], state: Tensor | None, carry: Tensor | None
    ) -> tuple[SharedSums, tuple[Any, ...], Tensor | None, dict[str, Tensor]]:
        """Return the sums of this part, and edges, state and tied weights as this stage uses them."""
        leaves, structure = pytree.tree_flatten(edges)
        of_edges = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        tensors: list[Tensor | None] = [leaves[n] for n in of_edges]
        tensors += [None if owned is None else self.model.get_parameter(owned) for owned in self.tied.names]
        owned = [self.is_first] * len(of_edges) + self.tied.is_owner
        sums = SharedSums(self.sizes, tensors, owned)
        if state is None:
            return sums, edges, None, {}
        slots = [n for n, t in enumerate(tensors) if t is not None and not owned[n]]
        given = [t.detach() for n in slots if (t := tensors[n]) is not None]
        state, *shared = Entrance.apply(sums, slots, state, carry, *given)  # pyright: ignore[reportGeneralTypeIssues]
        for slot, tensor in zip(slots, shared, strict=True):
            tensors[slot] = tensor
        for n, place in enumerate(of_edges):
            leaves[place] = tensors[n]
        tied = {name: tensors[slot] for slot in slots if (name := self.tied.name_of(slot - len(of_edges))) is not None}
        return sums, pytree.tree_unflatten(leaves, structure), state, tied  # pyright: ignore[reportReturnType]

    def _through_layers(
        self,
        batch: Batch,
        state: Tensor | None,
        carry: Tensor | None,
        edges: tuple[Any, ...],
        sums: SharedSums | None,
        *,
        frozen: bool,
    ) -> Tensor:
        trunk, stack, is_training = self.trunk, self.stack, self.model.training
        if self.is_first:
            h = trunk.encode(batch.graph, batch.x, batch.species, edges)
            if is_training and not self.is_last:
                self._first_carry = self._pack(random_state(self.device))
        else:
            assert state is not None
            h = state
            if is_training:
                assert carry is not None
                set_random_state(self.device, self._unpack(carry))
        arguments = draw_step_randomness(trunk.config, stack, h, None, training=is_training)
        stack.gradient = Piece(
            self.whole, self.layers, self.whole.recomputes, None if self.is_first else self.given, not self.is_last, sums
        )
        access = stack.host_access = PeakOfState()
        with frozen_statistics(stack.modules()) if frozen else nullcontext():
            h = stack(h, batch.graph, *edges, **arguments)
        self.peak = access.peak
        return h

    def _pack(self, state: Tensor) -> Tensor:
        """Return bytes as numbers, which no copy changes."""
        carry = torch.zeros(self.carried, device=self.device)
        carry[: len(state)] = state.to(self.device, torch.float32)
        return carry

    def _unpack(self, carry: Tensor) -> Tensor:
        return carry.detach()[: len(random_state(self.device))].to("cpu", torch.uint8)


@dataclass(frozen=True)
class _Tied:
    """The shared weights of layers and norms, by number, and what one stage has of them."""

    names: list[str | None]
    """None for those that the stage does not use."""
    is_owner: list[bool]

    def name_of(self, number: int) -> str | None:
        return self.names[number] if number >= 0 else None


def _tied(model: AbstractModel, cut: Cut, index: int) -> _Tied:
    stages = {owned.name: owned.stages for owned in cut.parameters}
    names = [name if index in stages[name] else None for name in cut.shared]
    return _Tied(names, [stages[name][0] == index for name in cut.shared])


def _sizes(trunk: AbstractStackModel, cut: Cut, model: AbstractModel) -> list[int]:
    """Return how many numbers each shared tensor has, edges first."""
    edges = None if trunk.edge_encoder is None else getattr(trunk, trunk.edge_encoder)
    sizes = [] if edges is None else [p.numel() for p in edges.parameters() if p.requires_grad]
    return sizes + [cut.numel[name] for name in cut.shared]


class _Called(nn.Module):
    """Calls a function; `functional_call` of it replaces weights of the model for the time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Tensor]) -> Tensor:
        return work()


def random_state(device: torch.device) -> Tensor:
    """Return the state of torch's generators of the CPU and the device, uint8 on the CPU."""
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Go on from what `random_state` returned. In a rehearsal, whose tensors have no values, nothing is changed."""
    if rehearsing():
        return
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size].clone())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[size:].clone(), device)
