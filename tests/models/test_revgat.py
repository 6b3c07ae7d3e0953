"""RevGAT, and other networks of attention: formula, exact gradients with edge dropout, memory and parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from revgnn.experiments import get_preset
from revgnn.graph import Graph
from revgnn.models import ModelConfig, RevGAT, build_model, num_parameters
from revgnn.nn import GATConv, gat
from revgnn.testing import NamedGraph, awkward_graphs, peak_bytes
from tests.nn.peers import cora
from tests.nn.test_gat import dense
from tests.stack.networks import Outcome, outcome

PAPER = {"family": "revgat", "destination": False, "symmetric": True, "edge_dropout": 0.3, "input_dropout": 0.25, "dropout": 0.5}
SMALL = {**PAPER, "depth": 5, "channels": 24, "heads": 3, "groups": 2}
NODES, EDGES = 60, 500


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, 50, (2, EDGES)), NODES)


def build(**kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelConfig(**{**SMALL, **kwargs}), in_channels=6, out_channels=4)


class InputFirst(nn.Module):
    """The network as a function of its input, for `outcome`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        return self.model(graph, x)


def step(graph: Graph, **kwargs: Any) -> Outcome:
    return outcome(InputFirst(build(**kwargs)), torch.randn(NODES, 6, generator=torch.Generator().manual_seed(3)), graph)


# --- what it computes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [g for g in awkward_graphs() if g.graph.num_nodes > 1], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_is_its_formula(named: NamedGraph, groups: int) -> None:
    """Attention edge by edge, and the coupling written out, in float64."""
    graph = named.graph
    model = build(groups=groups, state="plain").double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):  # other statistics than those of a new network
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    x = torch.randn(graph.num_nodes, 6, dtype=torch.float64)
    h = list(dense(model.first, x, graph).chunk(groups, 1))
    for layer in model.stack.layers:
        y = h[0] if groups == 1 else sum(h[1:])
        for i, block in enumerate(layer.blocks):
            y = h[i] = h[i] + dense(block.conv, block.norm(y).relu(), graph)
    expected = dense(model.last, model.norm(torch.cat(h, 1)).relu(), graph)
    torch.testing.assert_close(model(graph, x), expected)


def test_one_dropout_mask_for_all_layers(graph: Graph) -> None:
    """At rate 0.5, half of the entries are 0 before all six inner attentions; with a mask for each, a share of 0.75^6 is."""
    for shared in (True, False):
        model = build(shared_dropout=shared, edge_dropout=0.0, depth=8)
        always_zero = torch.ones(NODES, 12, dtype=torch.bool)

        def note(_, inputs, zero: Tensor = always_zero) -> None:
            zero.logical_and_(inputs[0] == 0)

        for layer in model.stack.layers:
            layer.blocks[0].conv.register_forward_pre_hook(note)
        model(graph, torch.rand(NODES, 6))
        share = float(always_zero.float().mean())
        assert share > 0.45 if shared else share < 0.3


def test_starts_as_the_authors_do() -> None:
    model = build_model(get_preset("revgat").model, in_channels=168, out_channels=40)
    for conv in (m for m in model.modules() if isinstance(m, GATConv)):
        rows, columns = conv.lin.weight.shape
        expected = (2 * 2 / (rows + columns)) ** 0.5
        assert abs(float(conv.lin.weight.detach().std()) / expected - 1) < 0.05
        assert abs(float(conv.res.weight.detach().std()) / expected - 1) < 0.05
        assert conv.att_dst is None
    assert not model.last.bias.any()
    assert [conv.bias is None for conv in (model.first, model.stack.layers[0].blocks[0].conv, model.last)] == [True, True, False]


def test_groups_may_start_as_copies() -> None:
    alike, own = (build(identical_groups=flag).stack.layers[0].blocks for flag in (True, False))
    assert torch.equal(alike[0].conv.lin.weight, alike[1].conv.lin.weight)
    assert not torch.equal(own[0].conv.lin.weight, own[1].conv.lin.weight)


def test_species_join_the_features(graph: Graph) -> None:
    model = build_model(ModelConfig(**SMALL), in_channels=6, out_channels=4, num_species=3).eval()
    x, species = torch.rand(NODES, 6), torch.randint(0, 3, (NODES,))
    plain = build_model(ModelConfig(**SMALL), in_channels=9, out_channels=4).eval()
    plain.load_state_dict(model.state_dict())
    joined = torch.cat([x, nn.functional.one_hot(species, 3)], 1)
    assert torch.equal(model(graph, x, species), plain(graph, joined))
    alone = build_model(ModelConfig(**SMALL), in_channels=0, out_channels=4, num_species=3)
    assert alone(graph, None, species).shape == (NODES, 4)


def test_inputs_that_do_not_fit_are_refused(graph: Graph) -> None:
    with pytest.raises(ValueError, match=r"x must have 6 features a node, as the model was built for; got shape \(60, 7\)"):
        build()(graph, torch.rand(NODES, 7))
    with pytest.raises(ValueError, match="x must have 6 features a node, as the model was built for; got none"):
        build()(graph, None)
    with pytest.raises(ValueError, match="neither features nor species"):
        build_model(ModelConfig(**SMALL), in_channels=0, out_channels=4, num_species=1)
    with pytest.raises(ValueError, match="built for 3 species: pass species"):
        build_model(ModelConfig(**SMALL), in_channels=6, out_channels=4, num_species=3)(graph, torch.rand(NODES, 6))


def test_node_order_does_not_matter(graph: Graph) -> None:
    model = build(state="plain").double().eval()
    x, order = torch.rand(NODES, 6, dtype=torch.float64), torch.randperm(NODES)
    torch.testing.assert_close(model(graph.subgraph(order), x[order]), model(graph, x)[order])


# --- exact gradients ------------------------------------------------------------------------------------------------------------

OTHERS = [
    {"family": "reversible", "conv": "gat", "residual_map": True},
    {"family": "reversible", "conv": "gat", "tied": True, "depth": 8},
    {"family": "reversible", "conv": "gat", "tied": True, "unit": "single", "norm": "batch"},
]


@pytest.mark.parametrize(
    "strategy", [{}, {"segments": 3}, {"gradient": "checkpoint"}, {"gradient": "checkpoint", "checkpoint_every": 2}]
)
@pytest.mark.parametrize("groups", [2, 4])
def test_reversible_gradients_are_those_of_storing(groups: int, strategy: dict, graph: Graph) -> None:
    """So are the value, the statistics of batch norm and the random state."""
    options = {"groups": groups, "depth": 8, "attention_dropout": 0.2}
    step(graph, **options, **strategy).assert_same(step(graph, **options, gradient="backprop"))


@pytest.mark.parametrize("other", OTHERS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("state", ["grid", "float64"])
def test_other_reversible_networks_of_attention(other: dict, state: str, graph: Graph) -> None:
    """A tied layer is applied several times, and leaves out other edges each time."""
    options = {**other, "attention_dropout": 0.2, "state": state}
    step(graph, **options).assert_same(step(graph, **options, gradient="backprop"))


@pytest.mark.parametrize("family", [{"groups": 1}, {"family": "residual", "conv": "gat"}], ids=["ResGAT", "residual"])
def test_checkpoints_give_the_gradients_of_storing(family: dict, graph: Graph) -> None:
    options = {**family, "depth": 8, "attention_dropout": 0.2}
    step(graph, **options).assert_same(step(graph, **options, gradient="backprop"))


def test_exact_under_bf16_autocast(graph: Graph) -> None:
    x = torch.randn(NODES, 6)
    ours, truth = (outcome(InputFirst(build(**g)), x, graph, autocast=torch.bfloat16) for g in ({}, {"gradient": "backprop"}))
    ours.assert_same(truth)
    assert truth.value.isfinite().all()
    exact = outcome(InputFirst(build()), x, graph)
    assert not torch.equal(ours.value, exact.value)
    torch.testing.assert_close(ours.value.float(), exact.value, rtol=0.1, atol=0.1 * float(exact.value.abs().max()))


def test_gradcheck_in_float64() -> None:
    """With the mask and the permutations of one seed, and plain sums, since a rounded value has no slope."""
    graph = Graph.from_edge_index(torch.randint(0, 6, (2, 20)), 7)
    model = build(channels=6, depth=4, heads=1, gradient="backprop", state="plain").double()

    def run(x: Tensor) -> Tensor:
        torch.manual_seed(4)
        return model(graph, x)

    assert torch.autograd.gradcheck(run, torch.randn(7, 6, dtype=torch.float64, requires_grad=True))


def test_on_cora(copy_of_real_data: Callable[[str], Path]) -> None:
    """A training step on a real graph: exact, and every parameter has a gradient."""
    features, edge_index = cora(copy_of_real_data("planetoid/Cora"))
    x, graph = features.float(), Graph.from_edge_index(edge_index, features.shape[0]).with_self_loops()
    results = []
    for gradient in (None, "backprop"):
        torch.manual_seed(0)
        model = build_model(ModelConfig(**{**SMALL, "gradient": gradient}), in_channels=1433, out_channels=7)
        results.append(outcome(InputFirst(model), x, graph))
    results[0].assert_same(results[1])
    for grad in results[0].grads:
        assert grad is not None
        assert grad.isfinite().all()
        assert grad.any()


# --- edge dropout ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"family": "reversible", "conv": "gat", "tied": True, "depth": 4}], ids=["revgat", "tied"])
def test_one_permutation_per_layer_and_step(options: dict, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []
    original = gat._removed_edges

    def spy(*args: Any) -> Tensor:
        drawn.append(original(*args))
        return drawn[-1]

    monkeypatch.setattr(gat, "_removed_edges", spy)
    model, x = build(**{"groups": 4, "channels": 48, **options}), torch.randn(NODES, 6)
    depth = len(model.stack.sequence)
    ends = 1 if isinstance(model, RevGAT) else 0  # the first and the last attention
    steps = []
    for _ in range(2):
        drawn.clear()
        logits = model(graph, x)
        inner = drawn[ends : len(drawn) - ends]
        assert len(inner) == 4 * depth
        layers = [inner[4 * n : 4 * n + 4] for n in range(depth)]
        assert all(torch.equal(group, layer[0]) for layer in layers for group in layer)
        forward = [layer[0] for layer in layers]
        drawn.clear()
        logits.sum().backward()
        assert len(drawn) == 4 * depth
        assert all(torch.equal(again, forward[depth - 1 - n // 4]) for n, again in enumerate(drawn))
        steps += forward
    assert all(left_out.sum() == int(0.3 * EDGES) for left_out in steps)
    assert len({bytes(left_out.numpy()) for left_out in steps}) == 2 * depth


def test_evaluation_drops_nothing(graph: Graph) -> None:
    dropping, plain = build(), build(dropout=0.0, input_dropout=0.0, edge_dropout=0.0)
    x = torch.randn(NODES, 6)
    random = torch.get_rng_state()
    assert torch.equal(dropping.eval()(graph, x), plain.eval()(graph, x))
    assert torch.equal(dropping.eval()(graph, x), dropping(graph, x))
    dropping.train()
    assert not torch.equal(dropping(graph, x), dropping(graph, x))
    assert not torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_edge_dropout_follows_the_seed(dropout: float, graph: Graph) -> None:
    model, x = build(dropout=dropout, input_dropout=0.0), torch.randn(NODES, 6)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(model(graph, x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_edge_dropout_compiles_into_one_graph(graph: Graph) -> None:
    """A compiled model leaves out the same edges."""
    assert graph.out_degree.numel() == NODES  # sorted by source before tracing
    options = {"family": "reversible", "conv": "gat", "depth": 2, "dropout": 0.0, "input_dropout": 0.0}
    model, x = build(**options, gradient="backprop"), torch.randn(NODES, 6)
    results = []
    for forward in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        torch.manual_seed(1)
        logits = forward(graph, x)
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in model.parameters())])
    for compiled, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()
    torch.compile(build(gradient="backprop", depth=3), fullgraph=True, backend="eager")(graph, x).sum().backward()


# --- memory ---------------------------------------------------------------------------------------------------------------------


def step_bytes(graph: Graph, **kwargs: Any) -> tuple[int, int]:
    """Return the peak of a training step, and the bytes of the weights' gradients in it."""
    model = build(**kwargs)
    x = torch.randn(graph.num_nodes, 6)
    return peak_bytes(lambda: model(graph, x).square().sum().backward()), 4 * num_parameters(model)


@pytest.fixture(scope="module")
def dense_graph() -> Graph:
    torch.manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, 600, (2, 12_000)), 600)
    assert graph.by_source.edge.numel() == graph.dst.numel() == 12_000
    return graph


def test_memory_is_flat_in_depth(dense_graph: Graph) -> None:
    (shallow, few), (deep, many) = (step_bytes(dense_graph, channels=48, depth=depth) for depth in (4, 34))
    assert deep - (many - few) <= 1.02 * shallow
    stored, _ = step_bytes(dense_graph, channels=48, depth=34, gradient="backprop")
    assert stored > 5 * deep


def test_no_tensor_of_edges_heads_and_channels(dense_graph: Graph) -> None:
    """The largest such tensor would be that of the first attention, with 3 heads x 64 channels."""
    step_bytes(dense_graph, channels=192)  # compiles the kernels
    peak, _ = step_bytes(dense_graph, channels=192)
    assert peak < 12_000 * 192 * 4


# --- published networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["revgat", "arxiv-revgcn", "arxiv-ressage", "arxiv-revgen", "products-revgnn-112"])
def test_published_networks_learn(preset: str, graph: Graph) -> None:
    """With less depth and fewer channels than published."""
    config = get_preset(preset).model.model_copy(update={"depth": 4, "channels": 24})
    model = build_model(config, in_channels=6, out_channels=4)
    model(graph, torch.randn(NODES, 6)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


# --- configuration and state ----------------------------------------------------------------------------------------------------


def test_a_state_dict_is_restored(graph: Graph) -> None:
    model, other = build(), build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(graph, torch.randn(NODES, 6)).square().mean().backward()
    optimizer.step()
    state = model.state_dict()
    other.load_state_dict(state)
    x = torch.randn(NODES, 6)
    assert torch.equal(other.eval()(graph, x), model.eval()(graph, x))
    assert all(torch.equal(state[name], value) for name, value in other.state_dict().items())


def test_a_configuration_is_read_as_it_was_written() -> None:
    config = ModelConfig(**SMALL)
    assert (config.conv, config.norm, config.convolution.residual_map) == ("gat", "batch", True)
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
    assert ModelConfig(**SMALL, norm="layer", residual_map=False).model_dump()["norm"] == "layer"


def test_two_layers_have_nothing_between(graph: Graph) -> None:
    model = build(depth=2)
    assert model.stack is None
    assert model(graph, torch.randn(NODES, 6)).shape == (NODES, 4)


@pytest.mark.parametrize("options", [{"edge_dropout": 0.1}, {"attention_dropout": 0.1}], ids=str)
def test_an_equilibrium_has_no_dropout_of_attention(options: dict) -> None:
    with pytest.raises(ValueError, match="would leave an equilibrium no fixed point"):
        ModelConfig(family="equilibrium", conv="gat", **options)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({**SMALL, "conv": "gen"}, "made of attention, got conv=gen; choose conv=gat"),
        (
            {**SMALL, "channels": 25},
            "multiple of heads x groups = 6, got channels=25, heads=3, groups=2; the nearest that fits is channels=24",
        ),
        ({**SMALL, "depth": 1}, "depth must be 2 or more, got 1"),
        ({**SMALL, "tied": True}, "no weight-tied form"),
        ({**SMALL, "groups": 1, "gradient": "reversible"}, "cannot be inverted"),
        (
            {"conv": "gcn", "edge_dropout": 0.1},
            "edge_dropout is an option of attention, got edge_dropout=0.1 with conv=gcn; choose conv=gat",
        ),
        ({"attention_dropout": 0.1}, "attention_dropout is an option of attention"),
        ({"destination": False}, "destination is an option of attention.*or leave destination at True"),
        ({"symmetric": True}, "symmetric is an option of attention"),
        ({"residual_map": True}, "residual_map is an option of attention"),
        ({"heads": 2}, "heads is an option of attention"),
        ({"conv": "gat", "heads": 3}, r"heads must divide the channels of a group \(40\), got heads=3"),
        ({"conv": "gat", "edge_dropout": 1.0}, "less than 1"),
    ],
    ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items() if k not in SMALL or SMALL[k] != x) if isinstance(v, dict) else "",
)
def test_bad_configurations(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**bad)
