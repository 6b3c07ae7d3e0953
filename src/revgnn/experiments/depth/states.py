"""What becomes of the state from layer to layer: how smooth it is over edges, and how many directions it uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from revgnn.experiments.run_report.depth_profile import stack_of, watched
from revgnn.graph import Graph
from revgnn.train.inference.saved_run import SavedRun
from revgnn.train.inference.views import batch_logits, view_seed

_EDGES = 200_000
"""Edges whose differences are in memory at one time."""


@dataclass(frozen=True)
class States:
    """One number for the state that enters the stack, then one after each layer.

    Attributes:
        dirichlet: see `dirichlet_energy`.
        rank: see `effective_rank`.
    """

    dirichlet: list[float]
    rank: list[float]


def states_of(saved: SavedRun) -> States | None:
    """Return how the states of a run develop, in evaluation with its best weights; None without a stack of layers.

    Of a graph that is evaluated in parts, one part is used.
    """
    session = saved.session
    stack = stack_of(session.model)
    if stack is None:
        return None
    evaluation = saved.evaluation
    batch = next(session.batches.view(evaluation.parts, view_seed(session.config.seed, 0)))
    found: dict[int, tuple[float, float]] = {}

    def note(place: int, before: list[Tensor], after: list[Tensor]) -> None:
        if place == 0:
            found[0] = _measure(before, batch.graph)
        found[place + 1] = _measure(after, batch.graph)

    was_training = session.model.training
    session.model.eval()
    try:
        with torch.no_grad(), watched(stack, note):
            batch_logits(session.model, batch, evaluation, session.dataset.objective, 0)
    finally:
        session.model.train(was_training)
    each = [found[place] for place in sorted(found)]
    return States([energy for energy, _ in each], [rank for _, rank in each])


def dirichlet_energy(state: Tensor, graph: Graph) -> float:
    r"""Return how much the state varies along edges, beside how much it varies at all:

    $\frac{1}{2|E|} \sum_{(u, v)} \lVert h_u - h_v \rVert^2 \; / \; \frac{1}{N} \sum_u \lVert h_u - \bar h \rVert^2$

    0 for a constant state, about 1 where neighbours are no more alike than any two nodes, above 1 where they are less. It does not
    depend on the scale of the state.

    Args:
        state: (N, D).
        graph: self-loops do not count.
    """
    state = state.double()
    variance = float((state - state.mean(dim=0)).square().sum(dim=1).mean())
    total, count = 0.0, 0
    for start in range(0, graph.num_edges, _EDGES):
        src, dst = graph.src[start : start + _EDGES].long(), graph.dst[start : start + _EDGES].long()
        kept = src != dst
        total += float((state[src[kept]] - state[dst[kept]]).square().sum())
        count += int(kept.sum())
    return 0.0 if total == 0 or variance == 0 else total / (2 * count) / variance


def effective_rank(state: Tensor) -> float:
    r"""Return $\exp(-\sum_i p_i \ln p_i)$, where $p_i = \sigma_i / \sum_j \sigma_j$ are the shares of the singular values.

    Of the state without its mean (Roy and Vetterli 2007, EUSIPCO). It is 1 if all nodes differ in one direction only, D if they
    differ equally in all, and 0 if they do not differ.

    Args:
        state: (N, D).
    """
    centred = state.double() - state.double().mean(dim=0)
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    values = torch.where(values > values.max() * 1e-14, values, 0).sqrt()  # rounding of the product, not directions
    if float(values.sum()) == 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def _measure(groups: list[Tensor], graph: Graph) -> tuple[float, float]:
    state = torch.cat(groups, dim=1)
    return dirichlet_energy(state, graph), effective_rank(state)
