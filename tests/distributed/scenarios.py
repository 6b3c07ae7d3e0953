"""What the processes of a job do in the tests: `python -m tests.distributed.scenarios NAME STORE FOLDER RANK SIZE`."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from revgnn.distributed import RankFailed, Ranks
from revgnn.distributed.buckets import BucketedExchange
from revgnn.train import Interrupted, train
from revgnn.train.run.session import differentiate, prepare
from revgnn.train.run.steps import EpochSteps
from tests.distributed.launch import team_of
from tests.distributed.networks import FAMILIES, FIRST, run_of


def caught(work: Callable[[], object]) -> Exception | None:
    """Return the error that `work` raises."""
    try:
        work()
    except Exception as error:
        return error
    return None


def families(team: Ranks, folder: Path) -> None:
    """Train two families, with parts that no process or only one can take; then stop a run on request in the last process."""
    for family in FIRST:
        train(run_of(family, parts_per_step=2), folder / family, team=team)
    train(run_of("tied", parts=80, parts_per_step=2, epochs=1), folder / "few labels", team=team)
    steps: list[int] = []

    def stop() -> bool:
        steps.append(1)
        return team.rank == team.size - 1 and len(steps) == 2

    interrupted = caught(lambda: train(run_of("reversible", parts_per_step=2), folder / "stopped", team=team, should_stop=stop))
    assert isinstance(interrupted, Interrupted)
    assert (interrupted.epoch, interrupted.step) == (1, 2)
    overlap(team)
    like_torch(team)
    same_weights(team)


def more_families(team: Ranks, folder: Path) -> None:
    """Train the other families."""
    for family in [family for family in FAMILIES if family not in FIRST]:
        train(run_of(family, parts_per_step=2), folder / family, team=team)


def overlap(team: Ranks) -> None:
    """Gradients of the last segments are sent while those of the first are computed, and not before with one segment."""
    early = {}
    for segments in (1, 4):
        session = prepare(run_of("segments", **{"model.segments": segments, "label_inputs": 0.0}))
        exchange = BucketedExchange(session.model, team, bucket_bytes=256)
        batch = next(session.batches.epoch(session.partition, 1))
        sent: list[int] = []
        # of the first layer, which the backward pass evaluates last
        block = session.model.get_submodule("stack.layers.0.blocks.0")
        block.register_forward_hook(lambda *_, sent=sent, exchange=exchange: sent.append(exchange._next))
        with exchange.during_backward():
            differentiate(session, batch)
        exchange.finish(torch.zeros(1))
        assert exchange.early > sent[-1]
        early[segments] = sent[-1]
    assert early[4] >= early[1] + 3, early


def like_torch(team: Ranks) -> None:
    """The gradient is that of `DistributedDataParallel`, whose hooks fire for the parameters of a reversible stack."""
    found = []
    for wrap in (False, True):
        session = prepare(run_of("segments", **{"label_inputs": 0.0, "model.dropout": 0.0}))
        batch = list(session.batches.epoch(session.partition, 1))[team.rank]
        model = session.model
        exchange = None if wrap else team.exchange(model)
        called = DistributedDataParallel(model) if wrap else model
        loss = called(batch.graph, batch.x, batch.species).square().mean()
        (loss if wrap else loss / team.size).backward()
        if exchange is not None:
            exchange.finish(torch.zeros(1))
        found.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert torch.equal(ours, theirs)  # two processes: halving is exact


def same_weights(team: Ranks) -> None:
    """Processes with other weights are found out, by name."""
    session = prepare(run_of("tied"))
    team.check_same(session.model)
    if team.rank == 1:
        with torch.no_grad():
            session.model.get_parameter("head.bias")[0] += 1
    assert "other values of head.bias" in str(caught(lambda: team.check_same(session.model)))


def gradients(team: Ranks, folder: Path) -> None:
    """Write the gradient of one step on as many parts as there are processes, and train with more processes than parts."""
    for family in FAMILIES:
        session = prepare(run_of(family, parts_per_step=team.size, **{"optim.clip_norm": None}))
        session.model.train()
        next(iter(EpochSteps(session, 1, 0, team, team.exchange(session.model))))
        if team.leads:
            torch.save([p.grad for p in session.model.parameters()], folder / f"{family}.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        train(run_of("reversible", parts=2, parts_per_step=2), folder / "two parts", team=team)


def in_step(number: int, work: Callable[[], object]) -> Callable[[], bool]:
    """Return a `should_stop` that does something after so many steps. Every process is asked once in each step."""
    steps: list[int] = []

    def asked() -> bool:
        steps.append(1)
        if len(steps) == number:
            work()
        return False

    return asked


def killed(team: Ranks, folder: Path) -> None:
    """The last process is killed in the second epoch; the others say which it was."""
    work = in_step(4, lambda: os.kill(os.getpid(), signal.SIGKILL)) if team.rank == team.size - 1 else lambda: False
    _expect(team, folder / "run", work, "has died")


def hanging(team: Ranks, folder: Path) -> None:
    """The last process hangs in the second epoch; the others say which it was, after the timeout."""
    work = in_step(4, lambda: time.sleep(60)) if team.rank == team.size - 1 else lambda: False
    _expect(team, folder / "run", work, "did not answer within")


def failing(team: Ranks, folder: Path) -> None:
    """The last process raises an error in the second epoch; the others repeat what it says."""

    def fail() -> None:
        raise MemoryError("no memory left")

    work = in_step(4, fail) if team.rank == team.size - 1 else lambda: False
    _expect(team, folder / "run", work, "has failed: no memory left")


def leading(team: Ranks, folder: Path) -> None:
    """The leading process cannot write to the folder; the others end with its error."""
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "notes.txt").write_text("not a run")
    error = caught(lambda: train(run_of("reversible", parts_per_step=2), folder / "run", team=team))
    assert "is not empty" in str(error)
    if team.leads:
        assert isinstance(error, ValueError)
    else:
        assert isinstance(error, RankFailed)
        assert error.is_told
        assert "process 0 has failed" in str(error)


def _expect(team: Ranks, folder: Path, should_stop: Callable[[], bool], message: str) -> None:
    error = caught(lambda: train(run_of("reversible", parts_per_step=2), folder, team=team, should_stop=should_stop))
    if error is not None:
        if isinstance(error, RankFailed) and f"process {team.size - 1} " in str(error) and message in str(error):
            sys.exit(7)
        raise error


SECONDS = {"hanging": 3.0}


def main() -> None:
    name, store, folder, rank, size = sys.argv[1:]
    torch.set_num_threads(1)
    with team_of(store, rank, size, SECONDS.get(name, 60.0)) as team:
        globals()[name](team, Path(folder))


if __name__ == "__main__":
    main()
