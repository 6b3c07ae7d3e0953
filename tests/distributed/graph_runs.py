"""Runs on one graph that is cut over processes: what the processes of a job do in the tests; see `scenarios`."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional

from revgnn.data import NodeDataset, Split
from revgnn.distributed import RankFailed, Ranks
from revgnn.distributed.by_graph import ByGraph
from revgnn.testing import awkward_graphs
from revgnn.train import Interrupted, RunConfig, train
from revgnn.train.run.session import Session, prepare
from revgnn.train.run.spread import Spread
from revgnn.train.run.team import ALONE, Team
from tests.distributed.launch import team_of
from tests.distributed.networks import COMMON, FAMILIES
from tests.distributed.scenarios import caught

WHOLE: dict[str, Any] = {**COMMON, "parts": 1, "evaluation": {"parts": 1}, "epochs": 3}
TEACHER = "teacher"

RUNS: dict[str, dict[str, Any]] = {
    "reversible": FAMILIES["reversible"],
    "labels": {
        "model": {"family": "reversible", "depth": 4, "channels": 8, "dropout": 0.3, "segments": 2},
        "label_inputs": 0.5,
        "label_reuse": 1,
    },
    "residual": FAMILIES["residual"],
    "skipped": FAMILIES["skipped"],
    "tied": FAMILIES["tied"],
    "revgat": {
        "model": {
            "family": "revgat",
            "depth": 4,
            "channels": 12,
            "dropout": 0.2,
            "input_dropout": 0.1,
            "convolution": {"conv": "gat", "heads": 3, "symmetric": True},
        }
    },
    "equilibrium": {
        "model": {
            "family": "equilibrium",
            "channels": 8,
            "dropout": 0.1,
            "solver": {"jacobian_weight": 0.1, "forward_steps": 12, "backward_steps": 12, "pretraining": 1},
        }
    },
    "broyden": {"model": {"family": "equilibrium", "channels": 8, "solver": {"method": "broyden"}}},
    "undone": {"model": {"family": "equilibrium", "channels": 8, "solver": {"method": "reversible"}}},
    "class weights": {
        "data": {"name": "ring-transfer:rings=30,hops=3,classes=4"},
        "class_weights": "balanced",
        "model": {"family": "reversible", "depth": 4, "channels": 8, "dropout": 0.1},
    },
    "student": {
        "model": {"family": "residual", "depth": 3, "channels": 8, "dropout": 0.1},
        "distillation": {"teacher": TEACHER, "alpha": 0.4},
    },
}

SOLVED = ("equilibrium", "broyden", "undone")
FIRST = ("reversible", "labels")
"""Those that the default tests train."""


def run_of(name: str, folder: Path | None = None, **changes: Any) -> RunConfig:
    """Return a small run; a student has the teacher in this folder."""
    run = RunConfig.parse({**WHOLE, **RUNS[name]}).replace(changes)
    return run if folder is None or run.distillation is None else run.replace({"distillation.teacher": str(folder / TEACHER)})


def steps(config: RunConfig, spread: Spread, team: Team) -> tuple[Session, list[Tensor]]:
    """Take the steps of the first epoch, and return the session, and the logits of each forward pass."""
    session = prepare(config)
    seen: list[Tensor] = []
    session.model.register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    spread.check(session, team)
    spread.begin(session, team)
    session.model.train()
    list(spread.steps(session, 1, 0))
    return session, seen


@contextmanager
def products_that_know_no_place() -> Iterator[None]:
    """Linear maps that round a row alike wherever it stands: a process has the rows of its own nodes, at other places than one
    process has them. MKL does so by itself on Intel's CPUs, and on AMD's for widths that are multiples of 8."""
    plain = functional.linear

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        more = (0, -x.shape[-1] % 8)
        return plain(functional.pad(x, more), functional.pad(weight, more), bias)

    with mock.patch.object(functional, "linear", linear):
        yield


def like_one(team: Ranks, name: str, cut: Any, **changes: Any) -> None:
    """The first step has the logits, the loss's gradient and the random numbers of one process."""
    config = run_of(name, **{"optim.clip_norm": None, **changes})
    state = torch.get_rng_state()
    spread = ByGraph(cut)
    with products_that_know_no_place():
        mine, logits = steps(config, spread, team)
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        one, expected = steps(config, Spread(), ALONE)
    assert torch.equal(torch.get_rng_state(), after), f"{name}: random numbers"
    # statistics and residuals are sums over processes: they differ in the last bits, which may move a state by a step of its grid
    is_near = config.model.family == "equilibrium" or any(isinstance(m, torch.nn.BatchNorm1d) for m in one.model.modules())
    for found, wanted in zip(logits, expected, strict=True):
        if is_near:
            torch.testing.assert_close(spread.shard.collect(found), wanted, rtol=1e-4, atol=3e-4)
        else:
            assert torch.equal(spread.shard.collect(found), wanted), f"{name}: logits"
    largest = max(float(p.grad.abs().max()) for p in one.model.parameters() if p.grad is not None)
    for (key, a), b in zip(mine.model.named_parameters(), one.model.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), f"{name}: {key}"
        if b.grad is not None:
            atol = (1e-3 if is_near else 2e-5) * largest
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=atol, msg=lambda m, key=key: f"{name} {key}: {m}")


def equilibrium_like_one(team: Ranks) -> None:
    """A step of pretraining, and one that solves. The second after the first would compare what a solve makes of a rounding."""
    for pretraining in (1, 0):
        like_one(team, "equilibrium", "random", **{"model.solver.pretraining": pretraining})


def runs(team: Ranks, folder: Path) -> None:
    """Train two families; stop one on request in the last process, and go on with the same processes."""
    for name in FIRST:
        like_one(team, name, "random")
        train(run_of(name), folder / name, team=team, spread=ByGraph())
    equilibrium_like_one(team)
    for where in ("stopped", "moved"):
        begin(team, "labels", folder / where, ByGraph())
    train(run_of("labels"), folder / "stopped", resume=True, team=team, spread=ByGraph())
    across(team, folder)
    only_own_rows(team)
    lonely(team, folder)


def across(team: Ranks, folder: Path) -> None:
    """Begin runs on a cut graph and go on by parts, and the other way round, with the same processes; keep what was begun."""
    ways: dict[str, tuple[Spread, Spread]] = {"graph then parts": (ByGraph(), Spread()), "parts then graph": (Spread(), ByGraph())}
    for way, (first, then) in ways.items():
        for name in FIRST:
            where = folder / f"{name}, {way}"
            begin(team, name, where, first)
            if team.leads:
                shutil.copytree(where, folder / f"{name}, {way}, alone")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of one part a step, which one process takes
                train(run_of(name), where, resume=True, team=team, spread=then)


def begin(team: Ranks, name: str, where: Path, spread: Spread) -> None:
    """Train until the last process asks to stop, after the second epoch."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return team.rank == team.size - 1 and len(asked) == 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = caught(lambda: train(run_of(name), where, team=team, should_stop=stop, spread=spread))
    assert isinstance(error, Interrupted), error
    assert (error.epoch, error.step) == (2, 1)


def more(team: Ranks, folder: Path) -> None:
    """Train everything else but equilibria, and what one process has begun."""
    for n, name in enumerate(name for name in RUNS if name not in (*FIRST, *SOLVED)):
        if name != "student":
            like_one(team, name, ("contiguous", "random")[n % 2])
        train(run_of(name, folder), folder / name, team=team, spread=ByGraph("random"))
    train(run_of("labels"), folder / "begun", resume=True, team=team, spread=ByGraph())
    awkward(team, folder)


def solves(team: Ranks, folder: Path) -> None:
    """Solve for equilibria and train them."""
    for name in SOLVED:
        if name == "equilibrium":
            equilibrium_like_one(team)
        else:
            like_one(team, name, "random")
        train(run_of(name), folder / name, team=team, spread=ByGraph("random"))


def only_own_rows(team: Ranks) -> None:
    """After `begin` nothing holds the features and edges of all nodes, and only the leading process has all labels."""
    session = prepare(run_of("tied"))
    data, graph = session.dataset, session.dataset.graph
    assert data.x is not None or data.species is not None
    gone = [t for t in (data.x, data.species, graph.src, graph.edge_attr) if t is not None]
    gone += [] if team.leads else [data.y]
    watched = [weakref.ref(t.untyped_storage()) for t in gone]
    spread = ByGraph()
    spread.begin(session, team)
    del data, graph, gone
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(watched)
    batch, own = session.batches.whole, len(spread.shard.own)
    assert len(batch.y) == own < session.dataset.num_nodes
    assert all(len(t) == own for t in (batch.x, batch.species) if t is not None)
    edges = session.dataset.graph.edge_attr
    assert edges is None or edges.untyped_storage().nbytes() == edges.numel() * edges.element_size()


def data_on(graph: Any, labelled: int, seed: int = 0) -> NodeDataset:
    """Return a data set of two classes on a graph, with training nodes among the first ones only."""
    generator = torch.Generator().manual_seed(seed)
    nodes = graph.num_nodes
    y = torch.arange(nodes) % 2
    split = Split(torch.arange(labelled), torch.arange(labelled, nodes - 2), torch.arange(nodes - 2, nodes))
    return NodeDataset("awkward", graph, torch.randn(nodes, 3, generator=generator), y, "multiclass", 2, "accuracy", (split,))


def lonely(team: Ranks, folder: Path) -> None:
    """Train where the last process has no edges into its nodes, and no labelled training node."""
    from revgnn.graph import Graph

    ends = torch.randint(0, 10, (2, 60), generator=torch.Generator().manual_seed(1))
    graph = Graph.from_edge_index(ends, 40)  # nodes 10 to 39 are isolated
    config = run_of("tied", **{"data.name": "awkward"})
    train(config, folder / "lonely", team=team, spread=ByGraph(), dataset=data_on(graph, 8))


def awkward(team: Ranks, folder: Path) -> None:
    """Train on graphs with isolated nodes, one hub, doubled edges, without edges."""
    for name, graph in awkward_graphs():
        if graph.num_nodes >= 8 and graph.edge_attr is None:
            config = run_of("reversible", epochs=2, **{"data.name": "awkward"})
            train(config, folder / f"awkward {name}", team=team, spread=ByGraph("random"), dataset=data_on(graph, 4))


def killed(team: Ranks, folder: Path) -> None:
    """The last process is killed in the second epoch; the others say which it was."""
    asked: list[int] = []

    def work() -> bool:
        asked.append(1)
        if team.rank == team.size - 1 and len(asked) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    try:
        train(run_of("labels"), folder / "run", team=team, should_stop=work, spread=ByGraph())
    except RankFailed as error:
        if f"process {team.size - 1} " in str(error) and "has died" in str(error):
            sys.exit(7)
        raise


SCENARIOS: dict[str, Callable[[Ranks, Path], None]] = {"runs": runs, "more": more, "solves": solves, "killed": killed}


def main() -> None:
    name, store, folder, rank, size = sys.argv[1:]
    torch.set_num_threads(1)
    with team_of(store, rank, size) as team:
        SCENARIOS[name](team, Path(folder))


if __name__ == "__main__":
    main()
