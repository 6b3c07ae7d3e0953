"""DEQ-GNN: the state of the nodes is the fixed point of one graph block (Li et al. 2021, arXiv:2106.07476)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from revgnn.equilibrium import (
    AbstractEquilibriumGradient,
    Implicit,
    Phantom,
    SolveRecord,
    equilibrium,
    jacobian_penalty,
    one_step,
    reversible_equilibrium,
    unrolled,
)
from revgnn.equilibrium.solvers import AbstractSolver, Anderson, Broyden, FixedPoint, ReversibleRelaxation
from revgnn.graph import Graph
from revgnn.models.config import ModelConfig
from revgnn.models.solver_config import SolverConfig
from revgnn.models.warm_start import WarmStart
from revgnn.nn import shared_dropout_mask
from revgnn.nn.encoder import EdgeEncoder, NodeEncoder
from revgnn.stack import refuse_recording


class EquilibriumBlock(nn.Module):
    r"""$Z' = \mathrm{GC}_1(Z)$, $Z'' = \mathrm{Norm}_1(Z' + X)$, $Z''' = \mathrm{GC}_2(\mathrm{Dropout}(\mathrm{ReLU}(Z'')))$,
    $f(Z) = \mathrm{Norm}_2(\mathrm{ReLU}(Z''' + Z'))$.

    Args:
        first, second: graph convolutions from D to D channels.
        norms: two modules, each (N, D) to (N, D).

    Raises:
        ValueError: for batch norm anywhere inside: its running statistics would move with each iteration of a solver, and its
            batch statistics make every node's equation depend on all others.
    """

    def __init__(self, first: nn.Module, second: nn.Module, norms: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.norm_first, self.norm_second = norms
        for name, module in self.named_modules():
            if isinstance(module, _NormBase) and module.track_running_stats:
                raise ValueError(
                    f"an equilibrium block cannot contain batch norm, but {name} is {type(module).__name__}: its statistics would "
                    "move with every iteration of the solver; choose norm='layer'."
                )

    def forward(self, z: Tensor, x: Tensor, graph: Graph, *edges: Any, mask: Tensor | None = None) -> Tensor:
        """(N, D) to (N, D).

        Args:
            z: state.
            x: (N, D), encoded input.
            edges: edge features, for convolutions that take them.
            mask: (N, D), dropout factors, the same for a whole solve; None: no dropout.
        """
        inner = self.first(z, graph, *edges)
        h = torch.relu(self.norm_first(inner + x))
        if mask is not None:
            h = h * mask
        return self.norm_second(torch.relu(self.second(h, graph, *edges) + inner))


class EquilibriumGNN(nn.Module):
    r"""Node classification by an equilibrium: $X = \mathrm{Encoder}(x)$, $Z = f(Z; X)$, $\mathrm{logits} = W\,
    \mathrm{Dropout}(\mathrm{ReLU}(Z)) + b$.

    Memory is that of one block and of the solver's history, whatever the number of iterations. One dropout mask is drawn for a
    whole solve. In evaluation every solve starts from 0, so logits depend on weights and input alone.

    With `gradient="backprop"`, and for the first `solver.pretraining` training steps, the same block is repeated depth / 2
    times instead, and all of it stored: a weight-tied network of `depth` convolutions.

    Args:
        config: how it was built.
        nodes: the node encoder.
        edges: the edge encoder, or None.
        block: f.
        head: the linear map to logits.

    Attributes:
        solves: status, steps and residuals of the last forward and backward solve, and how many failed.
        auxiliary_loss: of the last training step: a scalar to add to the loss, or None.
        warm_start: last solutions by node, or None.
        trained_steps: int64 (), forward passes in training mode with gradients so far; a buffer.
    """

    def __init__(
        self, config: ModelConfig, nodes: NodeEncoder, edges: EdgeEncoder | None, block: EquilibriumBlock, head: nn.Linear
    ) -> None:
        super().__init__()
        self.config = config
        self.settings = config.solver or SolverConfig()
        self.nodes = nodes
        self.edges = edges
        self.block = block
        self.head = head
        self.solves = SolveRecord()
        self.auxiliary_loss: Tensor | None = None
        self.warm_start = WarmStart() if self.settings.warm_start else None
        self.trained_steps: Tensor
        self.register_buffer("trained_steps", torch.zeros((), dtype=torch.int64))
        self._forward_solver = make_solver(self.settings, self.settings.forward_steps)
        self._evaluation_solver = make_solver(self.settings, self.settings.evaluation_steps)
        self._gradient = make_equilibrium_gradient(self.settings)

    @property
    def is_unrolled(self) -> bool:
        """The block is repeated, not solved for."""
        return self.config.gradient == "backprop" or int(self.trained_steps) < self.settings.pretraining

    @torch.compiler.disable(reason="a solve decides by its residuals when to stop; compile the block instead")
    def forward(self, graph: Graph, x: Tensor | None, species: Tensor | None = None, *, nodes: Tensor | None = None) -> Tensor:
        """Logits (N, T).

        Args:
            graph: N nodes; its edge features are used if the model was built for them.
            x: (N, F), floating point; None if there are none.
            species: (N,), int64, or None.
            nodes: (N,), int64: numbers of the nodes in the whole graph, for the warm start; None: 0 to N - 1.

        Raises:
            ValueError: if features do not have the width the model was built for.
        """
        if self.config.gradient != "backprop":
            refuse_recording("an equilibrium", "whether it is solved for, and how far, is decided on the host")
        learning = self.training and torch.is_grad_enabled()
        encoded = self.nodes(x, species)
        edges: tuple[Any, ...] = () if self.edges is None else (self.edges(graph),)
        mask = self._mask(encoded)

        def step(z: Tensor) -> Tensor:
            return self.block(z, encoded, graph, *edges, mask=mask)

        def solve(z: Tensor, solver: AbstractSolver) -> Tensor:
            if isinstance(solver, ReversibleRelaxation):
                return reversible_equilibrium(self.block, z, encoded, graph, *edges, mask=mask, solver=solver, record=self.solves)
            return equilibrium(step, z, solver=solver, gradient=self._gradient, record=self.solves)

        z = torch.zeros_like(encoded, dtype=torch.promote_types(encoded.dtype, torch.float32))
        self.auxiliary_loss = None
        if self.is_unrolled:
            z = unrolled(step, z, steps=self.config.depth // 2)
        elif not learning:
            z = solve(z, self._evaluation_solver)
        else:
            if self.warm_start is not None:
                z = self.warm_start.recall(nodes, z)
            z = solve(z, self._forward_solver)
            if self.warm_start is not None:
                self.warm_start.remember(nodes, z)
            if self.settings.jacobian_weight:
                self.auxiliary_loss = self.settings.jacobian_weight * jacobian_penalty(step, z)
        if learning:
            self.trained_steps += 1
        return self.head(nn.functional.dropout(torch.relu(z), self.config.dropout, self.training))

    def _mask(self, encoded: Tensor) -> Tensor | None:
        if not (self.training and self.config.dropout):
            return None
        return shared_dropout_mask(tuple(encoded.shape), self.config.dropout, encoded.device)


def make_solver(settings: SolverConfig, max_steps: int) -> AbstractSolver:
    """The solver that the settings name, with this limit."""
    rtol, atol = settings.rtol, settings.atol
    match settings.method:
        case "fixed-point":
            return FixedPoint(max_steps, rtol, atol, damping=settings.applied_damping)
        case "anderson":
            return Anderson(max_steps, rtol, atol, window=(settings.history - 2) // 2, mixing=settings.applied_damping)
        case "broyden":
            return Broyden(max_steps, rtol, atol, memory=settings.history, mixing=settings.applied_damping)
        case "reversible":
            return ReversibleRelaxation(max_steps, rtol, atol, damping=settings.applied_damping, relaxation=settings.relaxation)


def make_equilibrium_gradient(settings: SolverConfig) -> AbstractEquilibriumGradient | None:
    """The gradient that the settings name; None: through the iterations of a reversible solve."""
    match settings.strategy:
        case "reversible":
            return None
        case "implicit":
            # gradients have a scale of their own, which an absolute tolerance does not know
            return Implicit(replace(make_solver(settings, settings.backward_steps), atol=0.0))
        case "phantom":
            return Phantom(settings.phantom_steps, settings.phantom_damping)
        case "one-step":
            return one_step()
