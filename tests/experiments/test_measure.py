"""The memory of a step, compared with what can be computed by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.data.catalogue import find_entry
from revgnn.experiments import get_preset
from revgnn.experiments.measure import step
from revgnn.experiments.measure.batch import TrainingBatch, batch_size, generated_batch, training_batch
from revgnn.experiments.measure.step import step_memory
from revgnn.train.config import RunConfig
from revgnn.train.run.optimization import build_optimizer
from revgnn.train.run.session import build_for
from tests.experiments.stand_in import NUM_NODES

NODES, EDGES = 500, 9_000


@pytest.fixture(scope="module")
def batch() -> TrainingBatch:
    return generated_batch(NODES, EDGES)


def preset(name: str, **changes: object) -> RunConfig:
    """A published run with few channels, for which kernels are compiled faster."""
    return get_preset(name).replace(
        {"device": "cpu", **{f"model.{key}": value for key, value in {"channels": 16, **changes}.items()}}
    )


def test_a_batch_has_the_size_it_should(batch: TrainingBatch) -> None:
    graph = batch.batch.graph
    assert (graph.num_nodes, graph.num_edges, graph.num_edge_features) == (NODES, EDGES, 8)
    assert batch.batch.y.shape == (NODES, 112)
    assert batch.batch.num_labelled == round(86_619 / 132_534 * NODES)
    index = 2 * 8 * (NODES + 1) + 3 * 4 * EDGES  # both directions: where each node's edges begin, other ends, edge numbers
    rows = 4 * NODES * (8 + 112) + 8 * NODES + 8 * batch.batch.num_labelled  # inputs and labels, species, training nodes
    assert batch.nbytes == index + 4 * 8 * EDGES + rows


def test_every_parameter_costs_its_weight_gradient_and_two_moments(batch: TrainingBatch) -> None:
    shallow, deep = (step_memory(preset("revgnn-64", channels=64, depth=depth), batch) for depth in (12, 20))
    more = deep.parameters - shallow.parameters
    assert deep.peak_bytes - shallow.peak_bytes == pytest.approx(16 * more, rel=0.01)
    assert shallow.state_bytes == 12 * shallow.parameters
    assert shallow.peak_bytes > shallow.batch_bytes + 16 * shallow.parameters
    assert shallow.gradient == "reversible"
    assert shallow.stored_bytes is None


def test_more_groups_need_less(batch: TrainingBatch) -> None:
    two, four = (step_memory(preset(name), batch) for name in ("revgnn-224-depth-3", "revgnn-224-groups-4-depth-3"))
    assert four.peak_bytes < two.peak_bytes


@pytest.mark.parametrize("name", ["resgnn-64", pytest.param("wt-resgnn-64", marks=pytest.mark.slow)])
def test_storing_every_layer_is_extrapolated_correctly(name: str, batch: TrainingBatch) -> None:
    checkpointed = step_memory(preset(name, depth=14), batch)
    stored = step_memory(preset(name, depth=14, gradient="backprop"), batch)
    assert (checkpointed.gradient, stored.gradient) == ("checkpoint", "backprop")
    assert checkpointed.stored_bytes == pytest.approx(stored.peak_bytes, rel=0.01)
    fixed = stored.batch_bytes + stored.state_bytes  # what no strategy changes
    assert checkpointed.peak_bytes - fixed < 0.6 * (stored.peak_bytes - fixed)
    assert (
        step_memory(preset(name, depth=4), batch).stored_bytes
        == step_memory(preset(name, depth=4, gradient="backprop"), batch).peak_bytes
    )


@pytest.mark.filterwarnings("ignore:an equilibrium was not solved")
def test_an_equilibrium_needs_no_more_for_more_iterations(batch: TrainingBatch) -> None:
    few, many = (step_memory(preset("deq-gnn-64", solver={"forward_steps": steps, "rtol": 1e-9}), batch) for steps in (20, 40))
    assert few.gradient == "implicit"
    assert few.stored_bytes is None
    assert many.peak_bytes == pytest.approx(few.peak_bytes, rel=0.01)


def test_creating_moments_changes_no_weight(batch: TrainingBatch) -> None:
    run = preset("wt-revgnn-64")
    model = build_for(run, batch.dataset)
    before = [p.clone() for p in model.parameters()]
    optimizer = build_optimizer(run.optim, model)
    step.create_moments(optimizer)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None and {"exp_avg", "exp_avg_sq"} <= optimizer.state[p].keys() for p in model.parameters())


# --- ogbn-arxiv and ogbn-products --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts", "expected"),
    [
        ("ogbn-proteins", 10, (13_253, 791_225)),
        ("ogbn-arxiv", 1, (169_343, 2_484_941)),
        ("ogbn-products", 1, (2_449_029, 126_167_053)),
        ("ogbn-products", 10, (244_902, 1_237_180 + 244_902)),
    ],
)
def test_the_size_of_a_part(name: str, parts: int, expected: tuple[int, int]) -> None:
    entry = find_entry(name)
    assert entry is not None
    assert batch_size(entry, parts) == expected


def test_a_batch_of_arxiv_is_undirected_with_loops() -> None:
    data = generated_batch(NODES, 2 * EDGES + NODES, run=get_preset("arxiv-revgcn"))
    graph, batch = data.batch.graph, data.batch
    assert (graph.num_nodes, graph.num_edges, graph.num_edge_features) == (NODES, 2 * EDGES + NODES, 0)
    src, dst = graph.edge_index
    assert int((src == dst).sum()) == NODES
    pairs = set(zip(src.tolist(), dst.tolist(), strict=True))
    assert len(pairs) == graph.num_edges
    assert all((b, a) in pairs for a, b in pairs)
    assert batch.x is not None
    assert batch.x.shape == (NODES, 128)
    assert (data.dataset.task, data.dataset.num_outputs, int(batch.y.max())) == ("multiclass", 40, 39)
    assert batch.num_labelled == round(90_941 / 169_343 * NODES)
    index = 2 * 8 * (NODES + 1) + 3 * 4 * graph.num_edges
    assert data.nbytes == index + 4 * 128 * NODES + 8 * NODES + 8 * batch.num_labelled


def test_labels_and_a_teacher_are_part_of_the_batch() -> None:
    run = get_preset("arxiv-revgcn").replace({"model.channels": 16, "model.depth": 4, "device": "cpu"})
    plain = generated_batch(NODES, EDGES + NODES, run=run)
    taught = run.replace({"label_inputs": 0.5, "distillation.alpha": 0.5})
    data = generated_batch(NODES, EDGES + NODES, run=taught)
    assert data.nbytes == plain.nbytes + 2 * 4 * 40 * NODES
    assert step_memory(taught, data).peak_bytes > step_memory(run, plain).peak_bytes + 2 * 4 * 40 * NODES


def test_rmsprop_keeps_one_moment() -> None:
    run = get_preset("arxiv-revgcn").replace({"model.channels": 16, "model.depth": 4, "device": "cpu"})
    data = generated_batch(NODES, EDGES + NODES, run=run)
    adam, rmsprop = step_memory(run, data), step_memory(run.replace({"optim.name": "rmsprop"}), data)
    assert (adam.state_bytes, rmsprop.state_bytes) == (12 * adam.parameters, 8 * adam.parameters)
    assert rmsprop.peak_bytes < adam.peak_bytes


def test_only_the_weights_of_a_reversible_network_grow_with_depth() -> None:
    run = get_preset("arxiv-revgen").replace({"model.channels": 16, "device": "cpu"})
    data = generated_batch(NODES, EDGES + NODES, run=run)
    few, many = (step_memory(run.replace({"model.depth": depth}), data) for depth in (4, 16))
    assert many.peak_bytes - few.peak_bytes < 1.1 * 16 * (many.parameters - few.parameters)


# --- which batch --------------------------------------------------------------------------------------------------------


def test_without_the_data_set_a_batch_of_its_size_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVGNN_DATA", str(tmp_path))
    data = training_batch(preset("revgnn-64"))
    assert data.generated
    assert (data.batch.graph.num_nodes, data.batch.graph.num_edges) == (13_253, 791_225)
    assert data.dataset.name == "generated"


def test_the_data_set_is_used_where_it_is(proteins_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = training_batch(preset("revgnn-64").replace({"data.root": str(proteins_root)}))
    monkeypatch.setenv("REVGNN_DATA", str(proteins_root))
    found = training_batch(preset("revgnn-64"))
    for data in (given, found):
        assert not data.generated
        assert data.dataset.num_nodes == NUM_NODES
        assert data.batch.graph.num_nodes == pytest.approx(NUM_NODES / 10, abs=1)
    memory = step_memory(preset("revgnn-224-groups-4-depth-3"), given)
    assert memory.peak_bytes > memory.batch_bytes + memory.state_bytes
    assert (memory.data, memory.num_nodes) == ("ogbn-proteins", given.batch.graph.num_nodes)


def test_a_root_without_the_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ogbn-proteins"):
        training_batch(preset("revgnn-64").replace({"data.root": str(tmp_path)}))
