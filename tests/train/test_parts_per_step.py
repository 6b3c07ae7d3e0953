"""Several parts in one optimiser step: the loss of all of them together, and nothing that depends on who trained on what before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from revgnn.data.tasks import as_task
from revgnn.train.config import RunConfig
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.loop import train
from revgnn.train.run.moving import MovingValues
from revgnn.train.run.session import Session, prepare
from revgnn.train.run.steps import EpochSteps, part_sizes
from revgnn.train.run.team import ALONE
from revgnn.train.run.tensor_file import read_tensors
from tests.data.many import write_tu
from tests.train.test_resume import Crash, assert_same_run, crash_at


def take(session: Session, epoch: int = 1) -> list[float]:
    """Take the steps of one epoch and return their losses."""
    session.model.train()
    return [step.loss for step in EpochSteps(session, epoch, 0, ALONE, ALONE.exchange(session.model))]


LABELS = {
    "multiclass": (torch.tensor([0, 2, -1, 1, 2, 2, -1, 0]), torch.tensor([0.5, 2.0, 1.5])),
    "binary": (torch.tensor([0, 1, -1, 1, 1, 0, 0, 0]), torch.tensor([[0.5, 2.0]])),
    "multilabel": (torch.tensor([[0, 1, 1.0]] * 4 + [[1, float("nan"), 0]] * 4), torch.tensor([[0.5, 2], [1, 3], [2, 0.1]])),
    "regression": (torch.tensor([[1.0], [float("nan")], [2.0], [-3.0], [0.5], [2.5], [0.0], [1.0]]), None),
}


@pytest.mark.parametrize(
    ("kind", "weighted"), [*((kind, False) for kind in LABELS), *((kind, True) for kind in LABELS if kind != "regression")]
)
def test_the_loss_of_all_rows_is_the_mean_of_the_losses_of_parts_by_loss_weight(kind: str, weighted: bool) -> None:
    y, weights = LABELS[kind]
    weights = weights if weighted else None
    task, width = as_task(kind), {"multiclass": 3, "multilabel": 3}.get(kind, 1)
    logits = torch.randn(len(y), width)
    parts = [slice(0, 1), slice(1, 6), slice(6, 8)]
    sizes = [task.loss_weight(y[rows], weights) for rows in parts]
    losses = [float(task.loss(logits[rows], task.encode(y[rows]), None, weights)) for rows in parts]
    mean = sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / sum(sizes)
    assert mean == pytest.approx(float(task.loss(logits, task.encode(y), None, weights)), rel=1e-6)


def test_the_gradient_of_a_step_is_that_of_the_loss_of_all_its_parts(config: RunConfig) -> None:
    config = config.override(["model.dropout=0", "model.norm=layer", "parts=4", "parts_per_step=4", "optim.clip_norm=null"])
    session = prepare(config)
    (loss,) = take(session)
    found = [p.grad for p in session.model.parameters()]
    other = prepare(config)
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in other.batches.epoch(other.partition, 1):
        logits.append(other.model(batch.graph, batch.x, batch.species)[batch.train])
        labels.append(batch.y[batch.train])
    together = other.dataset.objective.loss(torch.cat(logits), torch.cat(labels))
    together.backward()
    assert len({size.weight for size in part_sizes(session, 1)}) > 1, "parts of equal weight would not show a wrong one"
    assert loss == pytest.approx(together.item(), rel=1e-6)
    for a, p in zip(found, other.model.parameters(), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-7)


def test_a_stopped_run_goes_on_bit_for_bit_and_the_last_step_has_the_parts_that_are_left(config: RunConfig, tmp_path: Path) -> None:
    config = config.override(["parts_per_step=2", "label_inputs=0.5", "epochs=3"])
    steps: list[Event] = []
    train(config, tmp_path / "unbroken", hooks=[steps.append])
    taken = [(e.epoch, e.step, e.steps) for e in steps if isinstance(e, Stepped)]
    assert taken == [(epoch, step, 2) for epoch in (1, 2, 3) for step in (1, 2)]
    with pytest.raises(Crash):
        train(config, tmp_path / "a", hooks=[crash_at(3, 1)])
    torch.manual_seed(1234)
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "unbroken")
    one, _ = read_tensors(tmp_path / "a" / "last.safetensors")
    train(config.override(["parts_per_step=1"]), tmp_path / "b")
    other, _ = read_tensors(tmp_path / "b" / "last.safetensors")
    assert any(not torch.equal(one[name], other[name]) for name in one if name.startswith("model."))


def test_statistics_move_once_a_step_and_counters_by_all_parts(config: RunConfig) -> None:
    session = prepare(config.override(["parts=2", "parts_per_step=2", "optim.lr=1e-30"]))
    before = {name: b.clone() for name, b in session.model.named_buffers()}
    singles = []
    for only in (0, 1):
        one = prepare(config.override(["parts=2", "parts_per_step=2", "optim.lr=1e-30"]))
        one.model.train()
        batch = next(one.batches.epoch(one.partition, 1, only=[only]))
        steps = EpochSteps(one, 1, 0, ALONE, ALONE.exchange(one.model))
        with steps._random_numbers(only):
            one.model(batch.graph, batch.x, batch.species)
        singles.append(dict(one.model.named_buffers()))
    take(session)
    moved = dict(session.model.named_buffers())
    assert any("running_mean" in name for name in moved)
    for name, value in moved.items():
        if value.is_floating_point():
            assert torch.equal(value, (singles[0][name] + singles[1][name]) / 2), name
            assert not torch.equal(value, before[name]), name
        else:
            assert int(value) == int(before[name]) + 2, name


def test_a_coarser_grid_stays_after_the_step(config: RunConfig) -> None:
    session = prepare(config)
    moving = MovingValues(session.model)
    stack = session.model.get_submodule("stack")
    for bits in (2, 0):
        moving.begin_part()
        assert stack.coarsened == 0
        stack.coarsened = bits  # pyright: ignore[reportAttributeAccessIssue]
        moving.end_part()
    assert moving.is_coarser
    moving.end_step(2, ALONE, any_is_coarser=True)
    assert stack.coarsened == 2


def test_more_parts_a_step_than_an_epoch_has_are_refused(config: RunConfig) -> None:
    with pytest.raises(ValueError, match=r"parts_per_step=4, but an epoch on .* has 3 parts; set parts_per_step to 3 or less"):
        prepare(config.override(["parts_per_step=4"]))


def test_of_many_graphs_a_step_has_several_batches(tmp_path: Path) -> None:
    data = {"name": str(write_tu(tmp_path / "TOY", count=60))}
    settings = {"model.depth": 2, "model.channels": 8, "model.dropout": 0.0, "optim.clip_norm": None, "device": "cpu"}
    gradients = []
    for changes in ({"graphs_per_batch": 9, "parts_per_step": 2}, {"graphs_per_batch": 18}):
        session = prepare(RunConfig.parse({"data": data}).replace({**settings, **changes}))
        session.model.train()
        next(iter(EpochSteps(session, 1, 0, ALONE, ALONE.exchange(session.model))))
        gradients.append([p.grad for p in session.model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
