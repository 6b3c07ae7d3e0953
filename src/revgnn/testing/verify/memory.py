"""The peak of live tensor bytes."""

from __future__ import annotations

import functools

import torch

from revgnn.kernels import backends
from revgnn.models import num_parameters
from revgnn.ops import Sum, aggregate
from revgnn.testing.memory import peak_bytes
from revgnn.testing.verify.check import Check, Measured
from revgnn.testing.verify.inputs import K, network, small_graph

FLAT = 1.05
"""How much more memory four times the layers may need, beside the gradients of their weights."""


MEMORY_ADVICE = "results are not affected. Report it with the output of `revgnn verify --json`."


def memory_checks(device: torch.device) -> list[Check]:
    """Return checks of the peak of live tensor bytes."""
    flat = "peak memory of 64 layers and of 16, without the gradients of the weights"
    edges = "peak memory of a sum over edges and its gradients, and a tensor of edges x channels"
    return [
        Check("flat memory", flat, functools.partial(_check_flat_memory, device), MEMORY_ADVICE),
        Check("no edge tensor", edges, functools.partial(_check_no_edge_tensor, device), MEMORY_ADVICE),
    ]


def _check_flat_memory(device: torch.device) -> Measured:
    graph = small_graph(device, 2000, 10_000)
    x = torch.rand(graph.num_nodes, K, device=device)

    def activations(depth: int) -> int:
        model = network(depth, 64, device)

        def step() -> None:
            model(graph, x).square().mean().backward()

        step()  # what is computed once: the graph by source, on CUDA the workspaces of cuBLAS
        model.zero_grad(set_to_none=True)
        return peak_bytes(step, device) - 4 * num_parameters(model)

    deep, shallow = activations(64), activations(16)
    wrong = f"64 layers need {deep:,} bytes and 16 layers {shallow:,}; memory grows with depth." if deep > FLAT * shallow else ""
    return Measured(f"{deep / shallow:.3f} times", f"{FLAT} times", wrong)


def _check_no_edge_tensor(device: torch.device) -> Measured:
    graph, channels = small_graph(device, 500, 50_000), 64
    x = torch.rand(graph.num_nodes, channels, device=device).requires_grad_()
    weight = torch.rand(K, channels, device=device).requires_grad_()

    def step() -> None:
        aggregate(x, graph, graph.edge_attr, weight, how=Sum()).sum().backward()
        x.grad = weight.grad = None

    step()
    peak, edges = peak_bytes(step, device), 4 * graph.num_edges * channels
    wrong = f"the peak is {peak:,} bytes; a tensor of edges x channels has {edges:,}." if peak > edges / 2 else ""
    if backends.choose(None, device) == "reference":
        wrong = ""  # plain torch builds messages
    return Measured(f"{peak / edges:.3f} times", "0.5 times", wrong)
