"""The same bits from a second run, on the CPU with another number of threads."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch
from torch import Tensor

from revgnn.kernels import backends
from revgnn.testing import operators
from revgnn.testing.comparison import Leaves, evaluate
from revgnn.testing.gradients import gradients_of
from revgnn.testing.verify.check import Check, Differing, Measured
from revgnn.testing.verify.inputs import K, network, small_graph, threads

THREADS_ADVICE = "report it with the output of `revgnn verify --json`. Until then train with OMP_NUM_THREADS=1 to repeat a run."


def determinism_checks(device: torch.device) -> list[Check]:
    """Return checks that a second run, on the CPU with another number of threads, gives the same bits."""
    if device.type == "cuda":
        twice = "run twice: value and gradients, bit for bit"
        return [
            Check("operators, again", twice, functools.partial(_check_again, device), THREADS_ADVICE),
            Check("training step, again", twice, functools.partial(_check_step_again, device), THREADS_ADVICE),
        ]
    most = max(2, os.cpu_count() or 1)
    threads = f"1 thread and {most}: value and gradients, bit for bit"
    return [
        Check("operators, threads", threads, functools.partial(_check_threads, most), THREADS_ADVICE),
        Check("training step, threads", threads, functools.partial(_check_step_threads, most), THREADS_ADVICE, claimed=False),
    ]


def _results(device: torch.device, num_nodes: int, num_edges: int) -> dict[str, Tensor]:
    """Value and gradients of every operator on inputs that are cut into blocks."""
    graph = small_graph(device, num_nodes, num_edges).with_edge_attr(None)
    found: dict[str, Tensor] = {}

    def add(name: str, call: Callable[[Leaves, str], Tensor], leaves: Leaves) -> None:
        given = {key: t.to(device) for key, t in leaves.items()}
        results = evaluate(call, given, backends.choose(None, device), torch.float32)
        found.update({f"{name}: {key}": t for key, t in results.items()})

    for reducer in operators.REDUCERS:
        leaves = operators.aggregate_leaves(graph, 40, edges=True, param=operators.learns(reducer))
        add(f"aggregate, {reducer}", operators.aggregate_on(graph, reducer), leaves)
    for how in (operators.Sum(), operators.Mean()):
        leaves = operators.propagate_leaves(graph, (2, 7), weighted=True)
        add(f"propagate, {how}", operators.propagate_on(graph, how), leaves)
    add("edge_softmax", operators.softmax_on(graph), {"scores": operators.softmax_scores(graph, 3)})
    add("norm_relu", operators.norm_relu_with(None), operators.norm_relu_leaves(num_nodes, 40))
    add("perceptron", operators.call_perceptron, operators.perceptron_leaves(num_nodes, 32, 64, 32))
    return found


def _step(device: torch.device) -> dict[str, Tensor | None]:
    graph = small_graph(device, 3000, 30_000)
    x = torch.rand(graph.num_nodes, K, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    return gradients_of(network(14, 64, device, dropout=0.1), graph, x)


def _check_again(device: torch.device) -> Measured:
    differing = Differing()
    differing.compare_all(_results(device, 5000, 40_000), _results(device, 5000, 40_000))
    return differing.measured()


def _check_step_again(device: torch.device) -> Measured:
    differing = Differing()
    differing.compare_all(_step(device), _step(device))
    return differing.measured()


def _check_threads(most: int) -> Measured:
    differing = Differing()
    with threads(1):
        one = _results(torch.device("cpu"), 5000, 70_000)
    with threads(most):
        differing.compare_all(_results(torch.device("cpu"), 5000, 70_000), one)
    return differing.measured()


def _check_step_threads(most: int) -> Measured:
    differing = Differing()
    with threads(1):
        one = _step(torch.device("cpu"))
    with threads(most):
        differing.compare_all(_step(torch.device("cpu")), one)
    found = differing.measured()
    said = "sums inside torch (linear layers, losses, norms of gradients) may depend on the number of threads"
    return Measured(found.worst, "any", f"{said}; here {differing.count or 'none'} of {differing.tensors} tensors do.")
