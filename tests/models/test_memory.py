"""Memory does not grow with depth, and falls with more groups."""

from __future__ import annotations

import pytest
import torch

from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import ModelConfig, build_model, num_parameters

N, E = 3_000, 30_000


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, N, (2, E)), N, torch.rand(E, 8))


def peak_bytes(graph: Graph, **kwargs) -> tuple[int, int]:
    """Return the peak of one training step above weights and inputs, and the bytes of the weights."""
    model = build_model(ModelConfig(**kwargs), in_channels=8, out_channels=16, num_edge_features=8)
    x, y = torch.rand(N, 8), torch.rand(N, 16)
    with PeakMemory() as memory:
        torch.nn.functional.binary_cross_entropy_with_logits(model(graph, x), y).backward()
    return memory.peak_bytes, 4 * num_parameters(model)


@pytest.mark.parametrize("tied", [False, True], ids=["own", "tied"])
def test_memory_grows_with_depth_by_gradients_only(tied: bool, graph) -> None:
    shallow, shallow_weights = peak_bytes(graph, channels=64, depth=4, tied=tied)
    deep, deep_weights = peak_bytes(graph, channels=64, depth=64, tied=tied)
    assert deep - (deep_weights - shallow_weights) <= 1.05 * shallow


def test_more_groups_need_less_memory(graph) -> None:
    peaks = [peak_bytes(graph, channels=128, depth=4, groups=groups)[0] for groups in (2, 4, 8)]
    assert peaks[0] > peaks[1] > peaks[2]


def test_checkpointing_grows_with_the_square_root_of_depth(graph) -> None:
    def activations(depth: int, gradient: str) -> int:
        peak, weights = peak_bytes(graph, family="residual", channels=64, depth=depth, gradient=gradient)
        return peak - weights

    stored = activations(64, "backprop") / activations(16, "backprop")
    checkpointed = activations(64, "checkpoint") / activations(16, "checkpoint")
    assert 3.5 < stored < 4.1
    assert checkpointed < 2.1


def test_ten_times_less_than_stored_at_28_layers(graph) -> None:
    reversible, _ = peak_bytes(graph, channels=64, depth=28, gradient="reversible")
    stored, _ = peak_bytes(graph, channels=64, depth=28, gradient="backprop")
    assert 8 * reversible < stored


@pytest.mark.parametrize(("channels", "groups", "megabytes"), [(64, 2, 45), (224, 2, 155), (224, 4, 110)])
@pytest.mark.slow
def test_on_the_shape_of_an_ogbn_proteins_batch(channels: int, groups: int, megabytes: int) -> None:
    nodes, edges = 13_253, 791_225
    torch.manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, nodes, (2, edges)), nodes, torch.rand(edges, 8))
    config = ModelConfig(channels=channels, groups=groups, depth=3)
    model = build_model(config, in_channels=8, out_channels=112, num_edge_features=8, num_species=8)
    x, species, y = torch.rand(nodes, 8), torch.randint(0, 8, (nodes,)), torch.rand(nodes, 112)
    with PeakMemory() as memory:
        torch.nn.functional.binary_cross_entropy_with_logits(model(graph, x, species), y).backward()
    assert memory.peak_bytes <= megabytes * 1e6
