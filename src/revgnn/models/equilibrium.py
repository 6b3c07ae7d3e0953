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
    SolveStatistics,
    equilibrium,
    jacobian_penalty,
    one_step,
    reversible_equilibrium,
    unrolled,
)
from revgnn.equilibrium.solvers import AbstractSolver, Anderson, Broyden, FixedPoint, ReversibleRelaxation, Totals
from revgnn.graph import Graph
from revgnn.models.base import AbstractModel, TrainingState
from revgnn.models.config import EquilibriumConfig, SolverConfig
from revgnn.models.layers import DataShape, make_conv, make_edge_encoder, make_node_encoder
from revgnn.models.randomness import check_mask, outer_dropout, shared_dropout_mask
from revgnn.models.warm_start import WarmStart
from revgnn.nn.encoder import EdgeEncoder, NodeEncoder
from revgnn.nn.norm import make_norm
from revgnn.ops.dropout import draws_from_own
from revgnn.stack import HostDependent

_WARM_START = "warm_start."
"""How the names of the last solutions begin in `TrainingState.tensors`."""


@draws_from_own
class EquilibriumBlock(nn.Module):
    r"""$Z' = \mathrm{GC}_1(Z)$, $Z'' = \mathrm{Norm}_1(Z' + X)$, $Z''' = \mathrm{GC}_2(\mathrm{Dropout}(\mathrm{ReLU}(Z'')))$,
    $f(Z) = \mathrm{Norm}_2(\mathrm{ReLU}(Z''' + Z'))$.

    Args:
        first, second: graph convolutions from D to D channels.
        norms: two modules, each (N, D) to (N, D).

    Raises:
        ValueError: if a batch norm is inside: its running statistics would change with each iteration of a solver, and its batch
            statistics make the equation of each node depend on all others.
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
                    "change with each iteration of the solver; choose norm='layer'."
                )

    def forward(self, z: Tensor, x: Tensor, graph: Graph, *edges: Any, mask: Tensor | None = None) -> Tensor:
        """Return f(z), (N, D).

        Args:
            z: (N, D), the state.
            x: (N, D), encoded input.
            edges: edge features, for convolutions that use them.
            mask: (N, D), dropout factors, the same for a whole solve; None: no dropout.
        """
        inner = self.first(z, graph, *edges)
        h = torch.relu(self.norm_first(inner + x))
        if mask is not None:
            h = h * mask
        return self.norm_second(torch.relu(self.second(h, graph, *edges) + inner))


class EquilibriumGNN(HostDependent, AbstractModel):
    r"""Node classification by an equilibrium: $X = \mathrm{Encoder}(x)$, $Z = f(Z; X)$, $\mathrm{logits} = W\,
    \mathrm{Dropout}(\mathrm{ReLU}(Z)) + b$.

    Memory is that of one block and of the solver's history, for any number of iterations. One dropout mask is drawn for a whole
    solve. In evaluation every solve starts from 0, so that logits depend on weights and input alone.

    With `gradient="backprop"`, and in the first `solver.pretraining` training steps, the block is repeated depth / 2 times
    instead, and every repeat is stored: a weight-tied network of `depth` convolutions.

    Args:
        config: the configuration it is built from.
        nodes: the node encoder.
        edges: the edge encoder, or None.
        block: f.
        head: the linear map to logits.

    Attributes:
        solves: status, steps and residuals of the last forward and backward solve, and how many failed.
        warm_start: last solutions by node, or None.
        trained_steps: int64 (), forward passes in training mode with gradients so far; a buffer.
    """

    config: EquilibriumConfig

    def __init__(
        self, config: EquilibriumConfig, nodes: NodeEncoder, edges: EdgeEncoder | None, block: EquilibriumBlock, head: nn.Linear
    ) -> None:
        super().__init__()
        self.config = config
        self.settings = config.effective_solver
        self.nodes = nodes
        self.edges = edges
        self.block = block
        self.head = head
        self.solves = SolveRecord()
        self.warm_start = WarmStart() if self.settings.warm_start else None
        self.trained_steps: Tensor
        self.register_buffer("trained_steps", torch.zeros((), dtype=torch.int64))
        self._forward_solver = make_solver(self.settings, self.settings.forward_steps)
        self._evaluation_solver = make_solver(self.settings, self.settings.evaluation_steps)
        self._gradient = make_equilibrium_gradient(self.settings)

    def solve_together(self, totals: Totals) -> None:
        """Let solves measure a state of which this process has a piece, as the processes with the other pieces do."""
        self._forward_solver = replace(self._forward_solver, totals=totals)
        self._evaluation_solver = replace(self._evaluation_solver, totals=totals)
        if isinstance(self._gradient, Implicit):
            self._gradient = replace(self._gradient, solver=replace(self._gradient.solver, totals=totals))

    @property
    def is_unrolled(self) -> bool:
        """Whether the block is repeated instead of solved for."""
        return self.config.gradient == "backprop" or int(self.trained_steps) < self.settings.pretraining

    @torch.compiler.disable(reason="a solve decides by its residuals when to stop; compile the block instead")
    def forward(
        self,
        graph: Graph,
        x: Tensor | None,
        species: Tensor | None = None,
        *,
        nodes: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the logits (N, T); see `AbstractModel`. `nodes` finds the last solutions, for the warm start."""
        learning = self.training and torch.is_grad_enabled()
        encoded = self.nodes(x, species)
        edges: tuple[Any, ...] = () if self.edges is None else (self.edges(graph),)
        check_mask(mask, encoded)
        mask = self._drawn_mask(encoded) if mask is None else mask.to(encoded)

        def step(z: Tensor) -> Tensor:
            return self.block(z, encoded, graph, *edges, mask=mask)

        def solve(z: Tensor, solver: AbstractSolver) -> Tensor:
            if isinstance(solver, ReversibleRelaxation):
                return reversible_equilibrium(self.block, z, encoded, graph, *edges, mask=mask, solver=solver, record=self.solves)
            return equilibrium(step, z, solver=solver, gradient=self._gradient, record=self.solves)

        z = torch.zeros_like(encoded, dtype=torch.promote_types(encoded.dtype, torch.float32))
        self.auxiliary_loss = None
        if self.is_unrolled:
            z = unrolled(step, z, steps=self.config.depth // 2, host_access=self.host_access)
        elif not learning:
            z = solve(z, self._evaluation_solver)
        else:
            if self.warm_start is not None:
                z = self.warm_start.recall(nodes, z)
            z = solve(z, self._forward_solver)
            if self.warm_start is not None:
                self.warm_start.remember(nodes, z)
            if self.settings.jacobian_weight:
                self.auxiliary_loss = self.settings.jacobian_weight * jacobian_penalty(step, z, totals=self._forward_solver.totals)
        if learning:
            self.trained_steps += 1
        return self.head(outer_dropout(torch.relu(z), self.config.dropout, self.training))

    def _drawn_mask(self, encoded: Tensor) -> Tensor | None:
        if not (self.training and self.config.dropout):
            return None
        return shared_dropout_mask(tuple(encoded.shape), self.config.dropout, encoded.device)

    # --- what training asks for ---------------------------------------------------------------------------------------

    def take_solves(self) -> SolveStatistics:
        return self.solves.take_statistics()

    def training_state(self) -> TrainingState:
        """Return the last solutions, if there is a warm start, and the solves that `take_solves` has not returned yet."""
        solutions = {} if self.warm_start is None else self.warm_start.tensors()
        return TrainingState({f"{_WARM_START}{name}": t for name, t in solutions.items()}, {"solves": self.solves.state()})

    def restore_training_state(self, state: TrainingState) -> None:
        if self.warm_start is not None:
            solutions = {name.removeprefix(_WARM_START): t for name, t in state.tensors.items() if name.startswith(_WARM_START)}
            self.warm_start.restore(solutions, self.head.weight.device)
        self.solves.restore(state.values.get("solves", {}))

    def capture_obstacle(self) -> str | None:
        if self.config.gradient == "backprop":
            return None
        return (
            "an equilibrium cannot be recorded in a CUDA graph: whether it is solved for, and in how many steps, is decided on the "
            "host."
        )


def build_equilibrium_gnn(config: EquilibriumConfig, data: DataShape) -> EquilibriumGNN:
    """Return the network."""
    edges = make_edge_encoder(config, data)
    return EquilibriumGNN(
        config,
        nodes=make_node_encoder(config, data),
        edges=edges,
        block=EquilibriumBlock(
            make_conv(config, edges),
            make_conv(config, edges),
            (make_norm(config.norm, config.channels), make_norm(config.norm, config.channels)),
        ),
        head=nn.Linear(config.channels, data.out_channels),
    )


def make_solver(settings: SolverConfig, max_steps: int) -> AbstractSolver:
    """Return the solver that the settings describe, with at most `max_steps` steps."""
    rtol, atol = settings.rtol, settings.atol
    match settings.method:
        case "fixed-point":
            return FixedPoint(max_steps, rtol, atol, damping=settings.effective_damping)
        case "anderson":
            return Anderson(max_steps, rtol, atol, window=(settings.history - 2) // 2, mixing=settings.effective_damping)
        case "broyden":
            return Broyden(max_steps, rtol, atol, memory=settings.history, mixing=settings.effective_damping)
        case "reversible":
            return ReversibleRelaxation(max_steps, rtol, atol, damping=settings.effective_damping, relaxation=settings.relaxation)


def make_equilibrium_gradient(settings: SolverConfig) -> AbstractEquilibriumGradient | None:
    """Return the gradient that the settings describe; None for the reversible method, which goes through its iterations."""
    match settings.effective_gradient:
        case "reversible":
            return None
        case "implicit":
            # The absolute tolerance is one of states; gradients have another scale.
            return Implicit(replace(make_solver(settings, settings.backward_steps), atol=0.0))
        case "phantom":
            return Phantom(settings.phantom_steps, settings.phantom_damping)
        case "one-step":
            return one_step()
