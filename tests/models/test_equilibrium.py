"""DEQ-GNN: the published size, the exact gradient, constant memory, one dropout mask per solve, and runs that resume."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from revgnn.equilibrium import unrolled
from revgnn.equilibrium.solvers import Anderson, Status
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import EquilibriumBlock, EquilibriumGNN, ModelConfig, SolverConfig, build_model, num_parameters
from revgnn.models.warm_start import WarmStart
from revgnn.nn import GENConv
from revgnn.train.config import DataConfig, EvalConfig, RunConfig
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.tensor_file import read_tensors

METHODS = ["fixed-point", "anderson", "broyden", "reversible"]
N = 60


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, N, (2, 400)), N, torch.rand(400, 3))


@pytest.fixture(scope="module")
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(N, 5)


def build(*, contraction: bool = True, edges: int = 3, **kwargs) -> EquilibriumGNN:
    """Build a model from settings of `SolverConfig` (its gradient: `how`) and of `ModelConfig`."""
    solver = {name: kwargs.pop(name) for name in list(kwargs) if name in SolverConfig.model_fields and name != "gradient"}
    if "how" in kwargs:
        solver["gradient"] = kwargs.pop("how")
    torch.manual_seed(0)
    values = {"family": "equilibrium", "channels": 16, "depth": 4, **kwargs}
    model = build_model(
        ModelConfig(**values, solver=SolverConfig(**solver)), in_channels=5, out_channels=2, num_edge_features=edges
    )
    assert isinstance(model, EquilibriumGNN)
    if contraction and model.config.conv == "gen":  # the block then depends less on the state than on the input
        with torch.no_grad():
            for parameter in model.block.first.mlp[-1].parameters():
                parameter *= 0.1
    return model


def grads(model: nn.Module) -> list[Tensor]:
    found = [p.grad for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    assert all(g is not None for g in found)
    return found  # pyright: ignore[reportReturnType]


# --- the network -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "published"), [(64, 51_256), (224, 537_336)])
def test_published_size(channels: int, published: int) -> None:
    config = ModelConfig(family="equilibrium", channels=channels)
    assert num_parameters(build_model(config, in_channels=8, out_channels=112, num_edge_features=8, num_species=8)) == published


def test_the_block_is_that_of_the_paper(graph, x) -> None:
    block = build().block
    z, encoded, mask = torch.randn(N, 16), torch.randn(N, 16), torch.full((N, 16), 2.0)
    edges = build().edges(graph)
    inner = block.first(z, graph, edges)
    third = block.second(2 * torch.relu(block.norm_first(inner + encoded)), graph, edges)
    torch.testing.assert_close(block(z, encoded, graph, edges, mask=mask), block.norm_second(torch.relu(third + inner)))


@pytest.mark.filterwarnings("ignore:.*equilibrium was not solved")
@pytest.mark.parametrize("conv", ["gen", "gcn", "sage", "gat"])
@pytest.mark.parametrize("how", ["implicit", "phantom", "one-step", "reversible"])
def test_every_parameter_learns_over_every_conv(conv: str, how: str, graph, x) -> None:
    settings = {"method": "reversible"} if how == "reversible" else {"how": how}
    model = build(conv=conv, aggregation="mean", heads=2 if conv == "gat" else 1, **settings)
    logits = model(graph, x)
    assert logits.shape == (N, 2)
    logits.square().sum().backward()
    assert all(g.isfinite().all() for g in grads(model))


def test_the_logits_come_from_a_fixed_point(graph, x) -> None:
    model = build(rtol=1e-6).eval()
    states = []
    model.head.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    model(graph, x)
    assert model.solves.forward is not None
    assert model.solves.forward.status is Status.CONVERGED
    z = unrolled(lambda z: model.block(z, model.nodes(x), graph, model.edges(graph)), torch.zeros(N, 16), steps=60)
    torch.testing.assert_close(states[0], torch.relu(z), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("aggregation", "seed"), [("max", 10), ("softmax", 1)])
def test_anderson_does_not_stall_far_from_the_solution(aggregation: str, seed: int) -> None:
    """If the window keeps all old changes, the residual of these two blocks stays above 0.1 for 30 evaluations."""
    torch.manual_seed(seed)
    graph = Graph.from_edge_index(torch.randint(0, 2000, (2, 40_000)), 2000)
    convs = [GENConv(32, 32, aggregation, norm="layer", bias=True) for _ in range(2)]
    block = EquilibriumBlock(convs[0], convs[1], (nn.LayerNorm(32), nn.LayerNorm(32)))
    encoded = torch.randn(2000, 32)
    assert Anderson(30, 0.0).solve(lambda z: block(z, encoded, graph), torch.zeros(2000, 32)).residual < 0.03


# --- gradient ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregation", ["max", "mean", "softmax"])
@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_a_converged_unroll_on_a_real_graph(method: str, aggregation: str, tolokers) -> None:
    agrees_with_a_converged_unroll(method, tolokers, aggregation=aggregation, dropout=0.3, edges=0)


@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_a_converged_unroll_with_edge_features(method: str, graph) -> None:
    agrees_with_a_converged_unroll(method, graph.with_edge_attr(graph.edge_attr.double()), aggregation="softmax")


def agrees_with_a_converged_unroll(method: str, graph: Graph, **settings) -> None:
    # The reversible method rounds f to multiples of 2^-32, so that no residual is smaller.
    rtol = 2e-9 if method == "reversible" else 1e-12
    ours = build(method=method, rtol=rtol, forward_steps=150, backward_steps=150, **settings).double()
    stored = build(gradient="backprop", depth=160, **settings).double()
    x = torch.randn(graph.num_nodes, 5, dtype=torch.float64)
    found = []
    for model in (ours, stored):
        torch.manual_seed(3)
        logits = model(graph, x)
        (logits * torch.linspace(-1, 2, logits.numel(), dtype=torch.float64).view_as(logits)).sum().backward()
        found.append([logits.detach(), *grads(model)])
    assert ours.solves.failures == 0
    for value, truth in zip(*found, strict=True):
        assert (value - truth).abs().max() <= 1e-6 * truth.abs().max()


@pytest.mark.parametrize("method", [method for method in METHODS if method != "reversible"])
def test_memory_does_not_depend_on_the_number_of_iterations(method: str, graph, x) -> None:
    def peak(steps: int) -> int:
        model = build(contraction=False, method=method, history=4, rtol=1e-9, forward_steps=steps, backward_steps=steps)
        model.solves.warned = True
        with PeakMemory() as memory:
            model(graph, x).sum().backward()
        assert model.solves.backward is not None
        assert model.solves.forward.steps == model.solves.backward.steps == steps
        return memory.peak_bytes

    assert peak(40) <= peak(12) + 4 * N * 16  # one state: the best iterate need not be one of the last


@pytest.mark.parametrize("method", ["anderson", "reversible"])
def test_memory_is_far_below_that_of_the_network_unrolled(method: str, graph, x) -> None:
    def peak(**kwargs) -> int:
        model = build(contraction=False, **kwargs)
        model.solves.warned = True
        with PeakMemory() as memory:
            model(graph, x).sum().backward()
        return memory.peak_bytes

    assert 8 * peak(method=method) < peak(gradient="backprop", depth=112)


# --- dropout, batch norm --------------------------------------------------------------------------------------------------------


def test_one_dropout_mask_for_a_whole_solve_and_another_for_the_next(graph, x) -> None:
    model = build(dropout=0.4)
    masks: list[Tensor] = []
    model.block.register_forward_pre_hook(lambda _, args, kwargs: masks.append(kwargs["mask"]), with_kwargs=True)
    model(graph, x)
    assert model.solves.forward.status is Status.CONVERGED
    assert len(masks) > 5
    assert all(mask is masks[0] for mask in masks)
    assert 0.3 < float((masks[0] == 0).float().mean()) < 0.5
    model(graph, x)
    assert not torch.equal(masks[-1], masks[0])
    model.eval()(graph, x)
    assert masks[-1] is None


def test_batch_norm_inside_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot contain batch norm, but second\.1 is BatchNorm1d"):
        EquilibriumBlock(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4)), (nn.LayerNorm(4), nn.LayerNorm(4)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"norm": "batch"}, "choose norm=layer"),
        ({"gradient": "checkpoint"}, r"got gradient=checkpoint"),
        ({"tied": True}, "leave tied off"),
        ({"depth": 5}, "try 6"),
        ({"family": "residual", "solver": SolverConfig()}, "a residual model is not solved for"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{"family": "equilibrium", **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gradient": "implicit"}, "leave gradient out"),
        ({"warm_start": True}, "a warm start leaves few"),
        ({"forward_steps": 2}, "forward_steps must be 3 or more, got 2"),
        ({"evaluation_steps": 1}, "evaluation_steps must be 3 or more, got 1"),
        ({"relaxation": 0.8}, "multiple of 1/64, .* got 0.8, the nearest is 0.796875"),
    ],
)
def test_settings_that_do_not_fit_a_reversible_solve_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SolverConfig(method="reversible", **values)


def test_a_solver_without_a_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="both 0"):
        SolverConfig(rtol=0.0)


# --- limits, warm start, pre-training, penalty ----------------------------------------------------------------------------------


def test_training_and_evaluation_have_their_own_limits(graph, x) -> None:
    model = build(contraction=False, rtol=1e-9, forward_steps=3, backward_steps=4, evaluation_steps=5)
    with pytest.warns(UserWarning, match="was not solved"):
        model(graph, x).sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the warning appears once
        assert (model.solves.forward.steps, model.solves.backward.steps) == (3, 4)
        model.eval()
        with torch.no_grad():
            model(graph, x)
    assert model.solves.forward.steps == 5
    assert (model.solves.solves, model.solves.failures) == (3, 3)


def test_a_warm_start_saves_steps_and_finds_the_same_solution(graph, x) -> None:
    cold, warm = build(dropout=0.0, rtol=1e-5), build(dropout=0.0, rtol=1e-5, warm_start=True)
    first = warm(graph, x)
    steps = warm.solves.forward.steps
    again = warm(graph, x)
    assert steps > 5
    assert warm.solves.forward.steps <= 2
    torch.testing.assert_close(again, first, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first, cold(graph, x))
    warm.eval()(graph, x)
    assert warm.solves.forward.steps == steps, "an evaluation depends on weights and input alone"


def test_a_warm_start_finds_nodes_by_their_number(graph, x) -> None:
    model = build(dropout=0.0, rtol=1e-5, warm_start=True)
    order = torch.randperm(N)
    model(graph, x, nodes=torch.arange(N) + 7)
    shuffled = graph.subgraph(order)
    cold = model.solves.forward.steps
    model(shuffled, x[order], nodes=order + 7)
    assert model.solves.forward.steps <= 2
    model(shuffled, x[order], nodes=order + 1000)
    assert model.solves.forward.steps >= cold - 1


def test_the_table_of_last_solutions() -> None:
    table = WarmStart()
    z0 = torch.zeros(3, 2)
    assert table.recall(None, z0) is z0
    table.remember(torch.tensor([5, 2]), torch.tensor([[1.0, 1.0], [math.nan, 0.0]]))
    assert table.recall(torch.tensor([2, 5, 9]), z0).tolist() == [[0, 0], [1, 1], [0, 0]]
    other = WarmStart()
    other.restore(table.tensors())
    assert other.recall(torch.tensor([2, 5, 9]), z0).tolist() == [[0, 0], [1, 1], [0, 0]]
    assert not z0.any()
    with pytest.raises(ValueError, match=r"nodes must be int64 of shape \(3,\)"):
        table.recall(torch.tensor([1, 2]), z0)


def test_pretraining_unrolls_the_same_parameters_then_solves(graph, x) -> None:
    model, plain = build(pretraining=2, depth=6), build(gradient="backprop", depth=6)
    for step in range(4):
        assert model.is_unrolled == (step < 2)
        torch.manual_seed(step)
        logits = model(graph, x)
        torch.manual_seed(step)
        assert torch.equal(logits, plain(graph, x)) == (step < 2)
        assert model.solves.solves == max(0, step - 1)
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_an_evaluation_does_not_count_as_a_training_step(graph, x) -> None:
    model = build(pretraining=1)
    model.eval()(graph, x)
    with torch.no_grad():
        model.train()(graph, x)
    assert model.is_unrolled
    model(graph, x)
    assert not model.eval().is_unrolled


def test_the_jacobian_penalty_is_left_for_the_objective(graph, x) -> None:
    model = build(contraction=False, jacobian_weight=0.5, forward_steps=60)
    logits = model(graph, x)
    before = float(model.auxiliary_loss.detach())
    assert before > 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(10):
        optimizer.zero_grad()
        model(graph, x)
        model.auxiliary_loss.backward()
        optimizer.step()
    assert float(model.auxiliary_loss.detach()) < 0.8 * before
    model.eval()(graph, x)
    assert model.auxiliary_loss is None
    assert logits.requires_grad


@pytest.mark.filterwarnings("ignore:an equilibrium was not solved")
@pytest.mark.parametrize("method", METHODS)
def test_bf16_autocast(method: str, graph, x) -> None:
    model = build(rtol=1e-2, method=method)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(graph, x)
    logits.float().square().sum().backward()
    assert all(g.isfinite().all() for g in grads(model))


@pytest.mark.parametrize("method", ["anderson", "reversible"])
def test_the_solve_of_a_compiled_model_is_not_compiled(method: str, graph, x) -> None:
    model = build(dropout=0.0, method=method)
    expected = model(graph, x)
    expected.square().sum().backward()
    truth = grads(model)
    logits = torch.compile(model, backend="eager")(graph, x)
    logits.square().sum().backward()
    assert torch.equal(logits, expected)
    assert all(torch.equal(compiled, plain) for compiled, plain in zip(grads(model), truth, strict=True))


# --- training -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run() -> RunConfig:
    solver = SolverConfig(warm_start=True, pretraining=2, jacobian_weight=0.1, rtol=1e-2, forward_steps=10, backward_steps=10)
    return RunConfig(
        data=DataConfig(name="synthetic:nodes=240,degree=8,tasks=3"),
        model=ModelConfig(family="equilibrium", depth=4, channels=8, dropout=0.3, solver=solver),
        evaluation=EvalConfig(parts=2, views=1),
        epochs=3,
        parts=3,
        device="cpu",
    )


@pytest.mark.filterwarnings("ignore:.*equilibrium was not solved")
@pytest.mark.parametrize("method", ["anderson", "reversible"])
@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_stopped_run_resumes_bit_for_bit(run: RunConfig, tmp_path: Path, stop_after: int, method: str) -> None:
    if method == "reversible":
        run = run.override(["model.solver.method=reversible", "model.solver.warm_start=false"])
    steps: list[Event] = []

    def count(event: Event) -> None:
        if isinstance(event, Stepped):
            steps.append(event)

    train(run, tmp_path / "unbroken")
    with pytest.raises(Interrupted):
        train(run, tmp_path / "broken", hooks=[count], should_stop=lambda: len(steps) == stop_after)
    torch.manual_seed(99)
    train(RunConfig.from_yaml(tmp_path / "broken" / "config.yaml"), tmp_path / "broken", resume=True)
    (tensors, _), (expected, _) = (read_tensors(tmp_path / name / "last.safetensors") for name in ("broken", "unbroken"))
    assert tensors.keys() == expected.keys()
    assert ("warm_start.states" in tensors) == (method == "anderson")
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    losses = [[line["loss"] for line in RunFolder(tmp_path / name).metrics()] for name in ("broken", "unbroken")]
    assert losses[0] == losses[1]


def test_settings_of_the_solver_have_dotted_keys(run: RunConfig) -> None:
    changed = RunConfig().override(["model.family=equilibrium", "model.solver.method=broyden"])
    assert changed.model.solver == SolverConfig(method="broyden")
    with pytest.raises(ValueError, match=r"unknown key model.solver.metod; did you mean model.solver.method"):
        run.override(["model.solver.metod=broyden"])
