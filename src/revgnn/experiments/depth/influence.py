"""From how far away the inputs come that a network's outputs depend on: the Jacobian of some nodes' logits, by hops.

After Xu et al. 2018 (arXiv:1806.03536) and Liang et al. 2025 (arXiv:2503.09008), with squared norms, which random probes estimate
without bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from revgnn.graph import Graph
from revgnn.train.inference.views import view_seed
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.optimization import autocast
from revgnn.train.run.session import Session
from revgnn.train.tricks.label_inputs import show_all_labels

PROBES = 4
"""Backward passes for each node: of at most so many outputs each is differentiated by itself, of more random sums."""

SHARES = (0.5, 0.9)
"""Shares of the influence for which the hops are reported that hold them."""


@dataclass(frozen=True)
class Influence:
    r"""Influence by hops: $T_h$, the mean over nodes $v$ of $\sum_u \lVert \partial y_v / \partial x_u \rVert_F^2$, u at h hops.

    Attributes:
        by_hop: $T_h$ for h = 0, 1, ... up to the farthest node from which anything can come, or that no layer reaches.
        beyond: the sum over all hops after `rounds`, which is 0 but for an equilibrium.
        rounds: rounds of messages of the network: layers times groups.
        hops_of_half, hops_of_most: the least hops that hold 50 % and 90 % of the influence: the effective receptive field.
        mean_hops: $\sum_h h T_h / \sum_h T_h$.
        nodes: how many were looked at.
        exact: whether every output was differentiated; otherwise the sums are unbiased estimates.
    """

    by_hop: list[float]
    beyond: float
    rounds: int
    hops_of_half: int
    hops_of_most: int
    mean_hops: float
    nodes: int
    exact: bool


def influence(session: Session, rounds: int, *, nodes: int = 16, seed: int = 0) -> Influence | None:
    """Return the influence by hops of a trained network, in evaluation mode; None if its outputs are not those of nodes.

    A backward pass, or up to `PROBES`, for each of some random test nodes. Reversible stacks are differentiated by their own
    strategy, which is exact. Of a graph that is evaluated in parts, one part is used. If labels are inputs, they count as inputs.

    Args:
        session: with the weights to look at. Its model is not changed.
        rounds: see `Influence`.
        nodes: how many are looked at.
        seed: of their choice, and of the probes.
    """
    dataset, model = session.dataset, session.model
    if dataset.row != "node" or dataset.x is None:
        return None
    evaluation = session.config.evaluation
    batch = next(session.batches.view(evaluation.parts, view_seed(session.config.seed, 0)))
    if batch.labels is not None:
        batch = show_all_labels(batch, dataset.objective)
    assert batch.x is not None
    chosen = _choose(dataset.split.test, dataset.num_nodes, batch.nodes, nodes, seed)
    hops = hops_to(batch.graph, chosen)
    x = batch.x.detach().clone().requires_grad_()
    batch = replace(batch, x=x)
    was_training = model.training
    model.eval()
    try:
        with own_random_numbers(session.device, seed), autocast(session.device, evaluation.amp):
            logits = model(batch.graph, batch.x, batch.species, **batch.targets).float()
        sums, exact = _squares(logits, x, chosen, hops, seed)
    finally:
        model.train(was_training)
    return _summarise(sums, rounds, exact=exact)


def hops_to(graph: Graph, nodes: Sequence[int]) -> np.ndarray:
    """Return the hops (M, N) from every node to each of some nodes, along the edges; -1 where there is no way."""
    ones = np.ones(graph.num_edges, np.int8)
    into = scipy.sparse.csr_matrix((ones, graph.src.cpu().numpy(), graph.indptr.cpu().numpy()), shape=(graph.num_nodes,) * 2)
    found = dijkstra(into, directed=True, unweighted=True, indices=list(nodes))
    return np.where(np.isfinite(found), found, -1).astype(np.int64)


def _choose(test: Tensor, num_nodes: int, part: Tensor | None, count: int, seed: int) -> list[int]:
    """Return the positions of some test nodes within a part of the graph; of any nodes if none of them is in it."""
    wanted = torch.zeros(num_nodes, dtype=torch.bool)
    wanted[test] = True
    here = (wanted if part is None else wanted[part]).nonzero().flatten().numpy()
    size = num_nodes if part is None else len(part)
    candidates = here if len(here) else np.arange(size)
    return np.random.default_rng(seed).permutation(candidates)[:count].tolist()


def _squares(logits: Tensor, x: Tensor, nodes: Sequence[int], hops: np.ndarray, seed: int) -> tuple[np.ndarray, bool]:
    """Return the sum of squared derivatives by node and hop (M, H), and whether it is exact."""
    outputs = logits.shape[1]
    exact = outputs <= PROBES
    generator = torch.Generator().manual_seed(seed)
    sums = np.zeros((len(nodes), hops.max() + 1))
    for row, node in enumerate(nodes):
        if exact:
            probes = torch.eye(outputs)
        else:  # of random signs, the mean square of a sum is the sum of the squares
            probes = torch.randint(0, 2, (PROBES, outputs), generator=generator) * 2.0 - 1.0
        reached = hops[row] >= 0
        for probe in probes.to(logits):
            (gradient,) = torch.autograd.grad(logits[node] @ probe, x, retain_graph=True)
            squares = gradient.double().square().sum(dim=1).cpu().numpy()
            sums[row] += np.bincount(hops[row][reached], squares[reached], sums.shape[1]) / (1 if exact else PROBES)
    return sums, exact


def _summarise(sums: np.ndarray, rounds: int, *, exact: bool) -> Influence:
    by_hop = sums.mean(axis=0)
    within = by_hop[: rounds + 1]
    total = within.sum()
    shares = within.cumsum() / total if total > 0 else np.ones(len(within))
    half, most = (int(np.argmax(shares >= share - 1e-12)) for share in SHARES)
    mean = float((np.arange(len(within)) * within).sum() / total) if total > 0 else 0.0
    beyond = float(by_hop[rounds + 1 :].sum())
    return Influence([float(value) for value in within], beyond, rounds, half, most, mean, len(sums), exact)
