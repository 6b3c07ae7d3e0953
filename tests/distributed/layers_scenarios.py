"""What the processes of a job do in the tests of layers cut over them; see `scenarios`."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.distributed import RankFailed, Ranks
from revgnn.distributed.pipeline.layers import Layers
from revgnn.memory import PeakMemory
from revgnn.train import Interrupted, LoadOptions, predict_run, train
from revgnn.train.run.session import Session, prepare
from revgnn.train.run.spread import Spread
from revgnn.train.run.team import ALONE
from tests.distributed.launch import team_of
from tests.distributed.layers_networks import FIRST, INTERLEAVED, OTHERS, THREE, graphs_run, run_of
from tests.distributed.scenarios import caught


def _train(names: Any, team: Ranks, folder: Path, pieces: int = 1) -> None:
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few parts
            train(run_of(name), folder / name, team=team, spread=Layers(pieces))


def networks(team: Ranks, folder: Path) -> None:
    """Train some networks and predict; stop a run in the last process; move to a coarser grid; refuse what cannot be cut."""
    _train(FIRST, team, folder)
    for name in FIRST:
        predictions(team, folder, name)
    stopped(team, folder)
    coarser_grid(team)
    refusals(team)


def more_networks(team: Ranks, folder: Path) -> None:
    """Train the others."""
    _train(OTHERS, team, folder)


def three(team: Ranks, folder: Path) -> None:
    """Train those that have a layer, and a stored state, for each process."""
    _train(THREE, team, folder)


def interleaved(team: Ranks, folder: Path) -> None:
    """Train with two pieces of the stack in each process."""
    _train(INTERLEAVED, team, folder, pieces=2)


def of_graphs(team: Ranks, folder: Path) -> None:
    """Train a network whose logits are those of graphs."""
    train(graphs_run(folder / "TOY"), folder / "graphs", team=team, spread=Layers())


def predictions(team: Ranks, folder: Path, name: str) -> None:
    """Predict with the deviation over the views, and the mean alone."""
    for kind, spread in (("spread", True), ("mean", False)):
        options = LoadOptions(team=team, parallel=Layers())
        predict_run(folder / name, folder / f"{name} {kind}.csv", options, spread=spread)


def stopped(team: Ranks, folder: Path) -> None:
    """Stop a run within an epoch, for others to go on with."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return team.rank == team.size - 1 and len(asked) == 1

    run = run_of("reversible")
    interrupted = caught(lambda: train(run, folder / "stopped", team=team, should_stop=stop, spread=Layers()))
    assert isinstance(interrupted, Interrupted), interrupted
    assert (interrupted.epoch, interrupted.step) == (1, 1)


def resumed(team: Ranks, folder: Path) -> None:
    """Go on with a run that one process has begun."""
    train(run_of("reversible"), folder / "begun", team=team, resume=True, spread=Layers())


def _one_step(session: Session, spread: Spread, team: Any) -> Session:
    spread.begin(session, team)
    session.model.train()
    next(iter(spread.steps(session, 1, 0)))
    return spread.whole(session)


def _with_large_weights(name: str) -> Session:
    session = prepare(run_of(name))
    with torch.no_grad():
        session.model.get_submodule("nodes.features").weight.mul_(2000.0)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return session


def coarser_grid(team: Ranks) -> None:
    """A state that leaves its grid in any stage moves all stages to the coarser grid that one process chooses."""
    for name in ("reversible", "tied"):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            whole = _one_step(_with_large_weights(name), Layers(), team)
        if not team.leads:
            continue
        assert any("Going on with 2^-" in str(w.message) for w in told)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = _one_step(_with_large_weights(name), Spread(), ALONE)
        expected, found = one.model.state_dict(), whole.model.state_dict()
        assert int(expected["stack._extra_state"]) > 0
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items()), name


def refusals(team: Ranks) -> None:
    """What cannot be cut into stages, and a warning if processes wait for too long."""
    for name, changes, message in (
        ("reversible", {"model.depth": team.size - 1}, f"{team.size - 1} layers cannot be cut into {team.size} stages"),
        ("residual", {"model.checkpoint_every": 4}, "2 layers with 1 stored states cannot be cut"),
        ("tied", {"model.norm": "batch"}, "tied layers with batch norm cannot be cut over processes"),
        ("reversible", {"amp": "fp16"}, "cannot run amp=fp16"),
        ("segments", {"label_reuse": 1}, "cannot run label_reuse"),
    ):
        found = caught(lambda name=name, changes=changes: Layers().check(prepare(run_of(name, **changes)), team))
        assert message in str(found), found
    from tests.distributed.networks import run_of as other_run_of

    for check in (Layers().check, Layers().check_inference):
        found = caught(lambda check=check: check(prepare(other_run_of("equilibrium")), team))
        assert "family=equilibrium has no stack of layers" in str(found), found
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Layers().check(prepare(run_of("reversible", parts_per_step=1)), team)
    share = f"waits for {(team.size - 1) / team.size:.0%} of a step"
    assert any(share in str(w.message) for w in told) == team.leads


def _peak(team: Ranks, depth: int, **changes: Any) -> int:
    data = {"data.name": "synthetic:nodes=9000,degree=4,tasks=3", "parts": 3, "parts_per_step": 3}
    session = prepare(run_of("reversible", **{"model.depth": depth, "model.norm": "layer", **data, **changes}))
    spread = Layers()
    spread.begin(session, team)
    session.model.train()
    steps = iter(spread.steps(session, 1, 0))
    with PeakMemory(session.device) as memory:
        next(steps)
    return memory.peak_bytes


def memory(team: Ranks, folder: Path) -> None:
    """What a reversible stage needs for a step does not grow with its depth, and that of a stage that stores activations does."""
    _peak(team, 4)  # compiles kernels
    shallow, deep = _peak(team, 4), _peak(team, 24)
    assert deep < 1.1 * shallow, (shallow, deep)
    stored = [_peak(team, depth, **{"model.gradient": "backprop"}) for depth in (4, 24)]
    assert stored[1] > 2 * stored[0], stored
    weights(team)


def weights(team: Ranks) -> None:
    """Each process has its own weights and moments only."""
    session = prepare(run_of("residual", **{"model.depth": 9, "model.channels": 32}))
    spread = Layers()
    _one_step(session, spread, team)
    held: list[Tensor] = [*session.model.parameters()]
    held += [t for moments in session.optimizer.state.values() for t in moments.values()]
    mine = sum(t.numel() for t in held)
    assert mine < 3 * session.parameters * (1 / team.size + 0.2), (mine, session.parameters)


def killed(team: Ranks, folder: Path) -> None:
    """The last process is killed in the second epoch; the others say which it was."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        if team.rank == team.size - 1 and len(asked) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    error = caught(lambda: train(run_of("reversible"), folder / "run", team=team, should_stop=stop, spread=Layers()))
    if isinstance(error, RankFailed) and f"process {team.size - 1} " in str(error) and "has died" in str(error):
        raise SystemExit(7)
    raise error or AssertionError("nobody has noticed")


def failing(team: Ranks, folder: Path) -> None:
    """A computation of the last process fails within a step; it says so itself, and the others repeat it."""
    session = prepare(run_of("reversible"))
    spread = Layers()
    spread.begin(session, team)
    session.model.train()
    if team.rank == team.size - 1:

        def fail(*_: object) -> None:
            raise MemoryError("no memory left")

        session.model.get_submodule("head").register_forward_pre_hook(fail)
    error = caught(lambda: next(iter(spread.steps(session, 1, 0))))
    if team.rank == team.size - 1:
        assert isinstance(error, MemoryError), error
        raise error
    if isinstance(error, RankFailed) and "has failed: no memory left" in str(error):
        raise SystemExit(7)
    raise error or AssertionError("nobody has noticed")


def main() -> None:
    import sys

    name, store, folder, rank, size = sys.argv[1:]
    torch.set_num_threads(1)
    with team_of(store, rank, size) as team:
        globals()[name](team, Path(folder))


if __name__ == "__main__":
    main()
