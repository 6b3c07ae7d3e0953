"""Whole networks: inputs, outputs, gradients, dropout and errors."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model, shared_dropout_mask
from revgnn.models.config import Aggregation
from revgnn.nn.gen import AGGREGATIONS as AGGREGATIONS_OF_GEN
from revgnn.nn.gen import LEARNS, SCALED_BY_DEGREE

FAMILIES = [
    {"family": "residual"},
    {"family": "reversible"},
    {"family": "residual", "tied": True},
    {"family": "reversible", "tied": True},
    {"family": "residual", "tied": True, "unit": "single"},
    {"family": "reversible", "tied": True, "unit": "single"},
]
AGGREGATIONS = list(get_args(Aggregation))


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, 40, (2, 200)), 50, torch.rand(200, 3))


def build(**kwargs):
    torch.manual_seed(0)
    return build_model(
        ModelConfig(**{"channels": 16, "depth": 4, **kwargs}), in_channels=5, out_channels=2, num_edge_features=3, num_species=4
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: "-".join(map(str, f.values())))
def test_every_parameter_of_every_family_learns(family: dict, graph) -> None:
    model = build(**family)
    logits = model(graph, torch.rand(50, 5), torch.randint(0, 4, (50,)))
    assert logits.shape == (50, 2)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("conv", ["gen", "gcn", "sage", "gat"])
@pytest.mark.parametrize("gradient", ["backprop", "checkpoint", "reversible"])
def test_every_conv_under_every_strategy(conv: str, gradient: str, graph) -> None:
    x, species = torch.rand(50, 5), torch.randint(0, 4, (50,))
    grads = []
    for strategy in ("backprop", gradient):
        model = build(conv=conv, gradient=strategy, aggregation="mean", heads=2 if conv == "gat" else 1)
        torch.manual_seed(1)
        model(graph, x, species).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for ours, truth in zip(grads[1], grads[0], strict=True):
        if gradient == "checkpoint":  # the edge map that all layers share is summed piece by piece
            torch.testing.assert_close(ours, truth, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(ours, truth)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("extras", [{}, {"message_norm": True, "mlp_layers": 3, "norm": "batch"}], ids=["plain", "extras"])
def test_every_aggregation(aggregation: str, extras: dict, graph) -> None:
    learn = {"learn_aggregation": aggregation in LEARNS, "learn_degree": aggregation in SCALED_BY_DEGREE}
    model = build(aggregation=aggregation, aggregation_init=0.8, **learn, **extras)
    model(graph, torch.rand(50, 5), torch.randint(0, 4, (50,))).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_configurations_name_every_aggregation() -> None:
    assert set(AGGREGATIONS) == set(AGGREGATIONS_OF_GEN)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_every_aggregation_is_reversed_exactly(aggregation: str, graph) -> None:
    x, species, grads = torch.rand(50, 5), torch.randint(0, 4, (50,)), []
    for gradient in ("backprop", "reversible"):
        learn = {"learn_aggregation": aggregation in LEARNS, "learn_degree": aggregation in SCALED_BY_DEGREE}
        model = build(aggregation=aggregation, gradient=gradient, depth=8, message_norm=True, **learn)
        torch.manual_seed(1)
        model(graph, x, species).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize(
    "family", [*FAMILIES, {"family": "equilibrium"}, {"family": "revgat"}], ids=lambda f: "-".join(map(str, f.values()))
)
@pytest.mark.parametrize("training", [True, False])
def test_every_layer_is_called_with_a_given_mask(family: dict, training: bool, graph) -> None:
    """In training it replaces the drawn one; in evaluation, where none is drawn, it is used too."""
    x, species, calls = torch.rand(50, 5), torch.randint(0, 4, (50,)), []
    model = build(**family, dropout=0.3).train(training)
    mask = shared_dropout_mask((50, 16), 0.3)
    blocks = [model.block] if family["family"] == "equilibrium" else [b for layer in model.stack.layers for b in layer.blocks]
    for n, block in enumerate(blocks):
        part = mask.chunk(model.config.groups, dim=1)[n % model.config.groups]

        def check(_, args, kwargs, part=part) -> None:
            calls.append(torch.equal(kwargs["mask"], part))

        block.register_forward_pre_hook(check, with_kwargs=True)
    model(graph, x, species, mask=mask)
    assert len(calls) >= len(blocks)
    assert all(calls)


@pytest.mark.parametrize(
    "family", [*FAMILIES, {"family": "equilibrium"}, {"family": "revgat"}], ids=lambda f: "-".join(map(str, f.values()))
)
def test_a_mask_changes_the_result_unless_it_is_one(family: dict, graph) -> None:
    x, species = torch.rand(50, 5), torch.randint(0, 4, (50,))
    model = build(**family).eval()
    plain = model(graph, x, species)
    assert torch.equal(model(graph, x, species, mask=torch.ones(50, 16)), plain)
    assert not torch.equal(model(graph, x, species, mask=shared_dropout_mask((50, 16), 0.3)), plain)
    with pytest.raises(ValueError, match=r"mask must have the shape of the node state, \(50, 16\), got \(50, 8\)"):
        model(graph, x, species, mask=torch.ones(50, 8))


def test_node_order_does_not_matter(graph) -> None:
    model = build().double().eval()
    x, species = torch.rand(50, 5, dtype=torch.float64), torch.randint(0, 4, (50,))
    graph = graph.with_edge_attr(graph.edge_attr.double())
    order = torch.randperm(50)
    ours = model(graph.subgraph(order), x[order], species[order])
    torch.testing.assert_close(ours, model(graph, x, species)[order])


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_shared_dropout_is_one_mask_a_step(shared: bool, graph) -> None:
    """At rate 0.5, half of the entries are 0 before every convolution if all layers share a mask, a tenth if they do not."""
    model = build(shared_dropout=shared, dropout=0.5, depth=8)
    always_zero = torch.ones(50, 8, dtype=torch.bool)

    def note(_, inputs) -> None:
        always_zero.logical_and_(inputs[0] == 0)

    for layer in model.stack.layers:
        layer.blocks[0].conv.register_forward_pre_hook(note)
    model(graph, torch.rand(50, 5), torch.randint(0, 4, (50,)))
    share = float(always_zero.float().mean())
    assert 0.4 < share < 0.65 if shared else share < 0.3


def test_dropout_is_off_in_eval(graph) -> None:
    model = build(dropout=0.5).eval()
    x, species = torch.rand(50, 5), torch.randint(0, 4, (50,))
    assert torch.equal(model(graph, x, species), model(graph, x, species))


def test_groups_may_start_as_copies() -> None:
    alike, own = (build(identical_groups=flag).stack.layers[0].blocks for flag in (True, False))
    assert torch.equal(alike[0].conv.mlp[0].weight, alike[1].conv.mlp[0].weight)
    assert alike[0].conv.mlp[0].weight is not alike[1].conv.mlp[0].weight
    assert not torch.equal(own[0].conv.mlp[0].weight, own[1].conv.mlp[0].weight)


def test_without_edge_features_or_species() -> None:
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 4)
    model = build_model(ModelConfig(channels=8, depth=2), in_channels=3, out_channels=1)
    assert model(graph, torch.rand(4, 3)).shape == (4, 1)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph(backend: str, graph) -> None:
    model = build(gradient="backprop", dropout=0.0)
    x, species = torch.rand(50, 5), torch.randint(0, 4, (50,))
    expected = model(graph, x, species)
    expected.square().sum().backward()
    grads = [p.grad for p in model.parameters()]
    model.zero_grad()
    logits = torch.compile(model, fullgraph=True, backend=backend)(graph, x, species)
    logits.square().sum().backward()
    torch.testing.assert_close(logits, expected)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-4)


def test_a_reversible_model_compiles_around_its_stack(graph) -> None:
    model = build(dropout=0.0)
    x, species = torch.rand(50, 5), torch.randint(0, 4, (50,))
    assert torch.equal(torch.compile(model, backend="eager")(graph, x, species), model(graph, x, species))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"channels": 15}, "multiple of groups, got channels=15, groups=2; the nearest that fits is channels=16"),
        ({"groups": 1}, "at least 2 groups"),
        ({"family": "residual", "gradient": "reversible"}, "residual model cannot be inverted"),
        ({"family": "residual", "depth": 1}, "depth must be 2 or more"),
        ({"tied": True, "depth": 5}, "depth must be even, got 5; try 6"),
        ({"conv": "sage"}, "sage aggregates by mean or sum"),
        ({"conv": "gat", "heads": 3}, r"heads must divide the channels of a group \(8\)"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_bad_configurations(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{"channels": 16, "depth": 4, **bad})


def test_inputs_of_the_wrong_width(graph) -> None:
    model = build()
    with pytest.raises(ValueError, match="x must have 5 features"):
        model(graph, torch.rand(50, 6), torch.zeros(50, dtype=torch.long))
    with pytest.raises(ValueError, match="built for 4 species"):
        model(graph, torch.rand(50, 5))
    with pytest.raises(ValueError, match="built for 3 edge features, but the graph has 0"):
        model(graph.with_edge_attr(None), torch.rand(50, 5), torch.zeros(50, dtype=torch.long))
    with pytest.raises(ValueError, match="neither features nor species"):
        build_model(ModelConfig(channels=8, depth=2), in_channels=0, out_channels=1)
