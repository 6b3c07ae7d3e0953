"""Stochastic depth (`model.stochastic_depth`): which layers a training step skips, and what that leaves as it was."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model
from revgnn.models.randomness import draw_layer_factors, draw_step_randomness
from revgnn.train import ConfigError, RunConfig

NETWORKS: dict[str, dict[str, Any]] = {
    "reversible": {"family": "reversible", "depth": 7},
    "residual": {"family": "residual", "depth": 7},
    "tied": {"family": "reversible", "depth": 8, "tied": True},
    "tied, one layer": {"family": "reversible", "depth": 7, "tied": True, "unit": "single"},
    "tied, residual": {"family": "residual", "depth": 8, "tied": True},
    "revgat": {"family": "revgat", "depth": 7, "heads": 2, "edge_dropout": 0.2},
    "resgat": {"family": "revgat", "depth": 7, "heads": 2, "groups": 1},
}


def network(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = ModelConfig(**{"channels": 16, "dropout": 0.2, "stochastic_depth": 0.7, **NETWORKS[name], **settings})
    return build_model(config, in_channels=5, out_channels=3)


@pytest.fixture
def graph() -> Graph:
    return Graph.from_edge_index(torch.randint(30, (2, 90), generator=torch.Generator().manual_seed(1)), 30)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(30, 5, generator=torch.Generator().manual_seed(2))


def step(model: nn.Module, graph: Graph, x: Tensor, seed: int) -> list[Tensor | None]:
    """Return the gradients of a training step."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    model(graph, x).square().sum().backward()
    return [p.grad for p in model.parameters()]


def calls_of(model: Any) -> list[nn.Module]:
    """Return a list to which each evaluation of a block in the stack is added."""
    calls: list[nn.Module] = []
    for layer in set(model.stack.layers):
        for block in layer.blocks:
            block.register_forward_hook(lambda module, *_: calls.append(module))
    return calls


# --- the draws ----------------------------------------------------------------------------------------------------------


def test_layers_are_skipped_by_the_linear_rule() -> None:
    """Each layer by its own chance, and independently of the others: counts within 5 deviations of the binomial's mean."""
    depth, rate, draws = 6, 0.8, 4000
    torch.manual_seed(3)
    factors = torch.tensor([draw_layer_factors(depth, rate) for _ in range(draws)], dtype=torch.float64)
    rates = torch.tensor([rate * layer / depth for layer in range(1, depth + 1)], dtype=torch.float64)
    skipped = factors == 0.0
    assert torch.equal(factors, torch.where(skipped, 0.0, 1.0 / (1.0 - rates))), "kept layers count more"

    def assert_counts(found: Tensor, chance: Tensor) -> None:
        assert ((found.sum(0) - draws * chance).abs() < 5 * (draws * chance * (1 - chance)).sqrt()).all()

    assert_counts(skipped, rates)
    for a in range(depth):
        for b in range(a):
            assert_counts(skipped[:, a] & skipped[:, b], rates[a] * rates[b])


def test_the_mean_factor_is_one() -> None:
    torch.manual_seed(4)
    factors = torch.tensor([draw_layer_factors(4, 0.5) for _ in range(4000)], dtype=torch.float64)
    for n, mean in enumerate(factors.mean(0).tolist(), start=1):
        p = 0.5 * n / 4
        assert abs(mean - 1.0) < 5 * math.sqrt(p / (1 - p) / 4000)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rate_of_0_draws_nothing(name: str, graph: Graph, x: Tensor) -> None:
    model = network(name, stochastic_depth=0.0, dropout=0.0, edge_dropout=0.0)
    state = torch.get_rng_state()
    assert draw_step_randomness(model.config, model.stack, torch.zeros(30, 16), None, training=True) == {}
    assert torch.equal(torch.get_rng_state(), state)


# --- training and evaluation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["grid", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_strategies_have_the_gradients_of_backpropagation(name: str, state: str, graph: Graph, x: Tensor) -> None:
    strategies = (
        ["backprop", "checkpoint"] if name in ("residual", "tied, residual", "resgat") else ["backprop", "checkpoint", "reversible"]
    )
    every = 8 if "tied" in name else None  # weights that several pieces share are summed in another order
    models = [network(name, state=state, gradient=gradient, checkpoint_every=every) for gradient in strategies]
    outside = list(models[0].norm.parameters()) if name == "tied, residual" else []
    lacking = []
    for seed in range(4):
        expected, *others = (step(model, graph, x, seed) for model in models)
        lacking.append(sum(grad is None for grad in expected))
        for found in others:
            for a, b, p in zip(found, expected, models[0].parameters(), strict=True):
                assert (a is None) == (b is None)
                if a is None or not any(p is other for other in outside):
                    assert a is None or torch.equal(a, b)
                else:  # the head's part of the gradient is added before those of the layers, or after them
                    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))
    assert len(set(lacking)) > 1 or "tied" in name, "each step skips other layers"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_evaluates_the_layers_that_are_drawn(name: str, graph: Graph, x: Tensor) -> None:
    model = network(name)
    calls = calls_of(model)
    for seed in range(3):
        calls.clear()
        torch.manual_seed(seed)
        h = model.encode(graph, x, None, ())
        drawn = draw_step_randomness(model.config, model.stack, h, None, training=True)["layer_factors"]
        torch.manual_seed(seed)
        model(graph, x)
        sequence = model.stack.sequence
        assert calls == [block for layer, factor in zip(sequence, drawn, strict=True) if factor for block in layer.blocks]
        assert len(drawn) == len(sequence)


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_uses_all_layers_as_they_are(name: str, graph: Graph, x: Tensor) -> None:
    """Weights are read alike by a network with another rate, or none."""
    model, plain = network(name).eval(), network(name, stochastic_depth=0.0).eval()
    calls, states = calls_of(model), []
    with torch.no_grad():
        for each in (model, plain):
            torch.manual_seed(0)
            states += [each(graph, x), torch.get_rng_state()]
    assert torch.equal(states[0], states[2])
    assert torch.equal(states[1], states[3]), "nothing is drawn for it"
    assert calls == [block for layer in model.stack.sequence for block in layer.blocks]


def test_statistics_of_batch_norm_move_in_the_layers_that_are_evaluated(graph: Graph, x: Tensor) -> None:
    model = network("reversible", norm="batch")
    step(model, graph, x, seed=0)
    moved = [int(layer.blocks[0].norm.num_batches_tracked) for layer in model.stack.layers]
    used = [layer.blocks[0].conv.mlp[0].weight.grad is not None for layer in model.stack.layers]
    assert moved == [int(u) for u in used]
    assert 0 < sum(moved) < len(moved)


def test_two_layers_of_revgat_have_no_stack(graph: Graph, x: Tensor) -> None:
    model = network("revgat", depth=2)
    assert all(grad is not None for grad in step(model, graph, x, seed=0))


# --- what it does not go with ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_is_at_least_0_and_below_1(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"model\.stochastic_depth"):
        RunConfig().replace({"model.stochastic_depth": rate})


def test_an_equilibrium_has_no_layers_to_skip() -> None:
    run = RunConfig().replace({"model.stochastic_depth": 0.3})
    with pytest.raises(ConfigError, match=r"an equilibrium has no layers to skip, got stochastic_depth=0\.3; set it to 0"):
        run.replace({"model.family": "equilibrium"})
    assert run.replace({"model.family": "equilibrium", "model.stochastic_depth": 0}).model.family == "equilibrium"


def test_a_captured_step_would_skip_the_same_layers_again_and_again() -> None:
    with pytest.raises(ConfigError, match=r"stochastic depth draws on the host .* set model\.stochastic_depth=0"):
        RunConfig().replace({"model.stochastic_depth": 0.3, "capture": True})
    model = network("reversible")
    assert "a replay would skip the same layers" in str(model.capture_obstacle())
    assert model.eval().capture_obstacle() is None
    assert network("reversible", stochastic_depth=0.0).capture_obstacle() is None


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_network_is_recorded_in_evaluation_mode(graph: Graph, x: Tensor) -> None:
    model = network("reversible").requires_grad_(False)
    with (
        torch.no_grad(),
        pytest.raises(RuntimeError, match=r"would skip the same layers in each call .*; call model\.eval\(\) first"),
    ):
        torch.jit.trace(lambda x: model(graph, x), x, check_trace=False)
    model.eval()
    with torch.no_grad():
        assert torch.equal(torch.jit.trace(lambda x: model(graph, x), x, check_trace=False)(x), model(graph, x))


def test_the_default_makes_no_other_run() -> None:
    run = RunConfig()
    assert run.replace({"model.stochastic_depth": 0.0}).digest == run.digest
    changed = run.replace({"model.stochastic_depth": 0.3})
    assert changed.digest != run.digest
    assert RunConfig.parse(changed.model_dump(mode="json")) == changed
