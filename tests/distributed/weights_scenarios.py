"""What the processes of a job do in the tests of weights that are cut over them; see `scenarios`."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.distributed import RankFailed, Ranks, make_spread, shard_weights
from revgnn.distributed.weights.mode import Weights
from revgnn.distributed.weights.shard import ShardedWeights
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import ModelConfig, build_model
from revgnn.nn import GENConv, PreActivation
from revgnn.stack import Backprop, Checkpoint, Reversible, ReversibleStack
from revgnn.train import Interrupted, RunConfig, infer, train
from revgnn.train.run.session import prepare
from tests.distributed.launch import team_of
from tests.distributed.networks import run_of
from tests.distributed.scenarios import caught, in_step

RUNS: dict[str, dict[str, Any]] = {
    "segments": {},
    "residual": {},
    "reversible": {"model.segments": 2},
    "tied": {},
    # shares of multiples of 16 numbers: Adam rounds others differently at their ends
    "revgat": {"model.segments": 2, "model.channels": 96},
}
FIRST = ("segments", "residual")
"""Those that the default tests train."""


def weights_run(family: str, **changes: Any) -> RunConfig:
    """Return a small run of a family, whose gradient is not clipped: the norm is summed in another order."""
    return run_of(family, **{"optim.clip_norm": None, "parts_per_step": 2, **RUNS[family], **changes})


SKIPPED = {
    "skipped": weights_run("segments", **{"model.stochastic_depth": 0.9}),
    "skipped, residual": weights_run("residual", **{"model.stochastic_depth": 0.9}),
    "skipped, stored": weights_run("segments", **{"model.stochastic_depth": 0.9, "model.gradient": "backprop"}),
    "skipped, one part": weights_run("segments", parts_per_step=1, **{"model.stochastic_depth": 0.9}),
}
"""Runs in which processes skip other layers, each in its part, and in some steps all skip the same."""


def run(team: Ranks, config: RunConfig, folder: Path, **more: Any) -> None:
    train(config, folder, team=team, spread=make_spread("weights"), **more)


def families(team: Ranks, folder: Path) -> None:
    """Train two families; stop a run on request in the last process; then look at the memory and at one piece after the other."""
    for family in FIRST:
        run(team, weights_run(family), folder / family)
    steps: list[int] = []

    def stop() -> bool:
        steps.append(1)
        return team.rank == team.size - 1 and len(steps) == 2

    interrupted = caught(lambda: run(team, weights_run("segments"), folder / "stopped", should_stop=stop))
    assert isinstance(interrupted, Interrupted)
    inference(team)
    one_piece_at_a_time(team)
    memory(team)


def more_families(team: Ranks, folder: Path) -> None:
    """Train the other families, and runs that few parts, a clipped gradient or fp16 make awkward."""
    for family in RUNS:
        if family not in FIRST:
            run(team, weights_run(family), folder / family)
    run(team, weights_run("tied", parts=80, epochs=1), folder / "few labels")
    run(team, weights_run("segments", parts=2, **{"optim.clip_norm": 0.01, "optim.name": "rmsprop"}), folder / "clipped")
    run(team, weights_run("segments", amp="fp16", epochs=1), folder / "fp16")
    run(team, weights_run("segments", parts_per_step=1), folder / "one part")
    for name, config in SKIPPED.items():
        run(team, config, folder / name)
    lacking(team)
    coarser(team)
    refusals(team)


def resumed(team: Ranks, folder: Path) -> None:
    """Go on with the run in the folder."""
    run(team, weights_run("segments", **{"optim.name": "rmsprop"}), folder / "run", resume=True)


def stopped(team: Ranks, folder: Path) -> None:
    """Begin a run and stop in the middle of an epoch."""
    config = weights_run("segments", **{"optim.name": "rmsprop"})
    steps: list[int] = []
    interrupted = caught(lambda: run(team, config, folder / "run", should_stop=lambda: len(steps) >= 4 or bool(steps.append(1))))
    assert isinstance(interrupted, Interrupted)


def inference(team: Ranks) -> None:
    """Logits are those of one process bit for bit, though one process evaluates more parts than another, with hidden labels."""
    session = prepare(weights_run("segments", label_reuse=1, **{"evaluation.parts": 3, "evaluation.views": 1}))
    expected = infer(session.model, session.batches, session.config.evaluation, session.config.seed)
    spread = Weights()
    spread.check_inference(session, team)
    spread.begin_inference(session, team)
    for _ in range(2):
        assert torch.equal(spread.infer(session), expected)


# --- one step of a network --------------------------------------------------------------------------------------------------


def step_gradient(team: Ranks, folder: Path) -> None:
    """Write the whole gradient of one step on as many parts as there are processes."""
    for family in RUNS:
        session = prepare(weights_run(family, parts_per_step=team.size))
        spread = make_spread("weights")
        spread.check(session, team)
        begin_alone(spread, session, team)
        session.model.train()
        next(iter(spread.steps(session, 1, 0)))
        weights: ShardedWeights = spread._weights  # pyright: ignore[reportAttributeAccessIssue]
        found = [_whole_gradient(weights, number) for number in range(len(weights.parameters))]
        if team.leads:
            torch.save(found, folder / f"{family}.pt")


def begin_alone(spread: Any, session: Any, team: Ranks) -> None:
    """Begin a new run without a folder."""
    from revgnn.train.run.checkpoint import State

    spread.restore(session, team, lambda _: State())
    spread.begin(session, team)


def network(family: str = "reversible", depth: int = 12, channels: int = 128) -> tuple[Any, Graph, Tensor]:
    """Return a network whose weights are larger than its states, a graph and features."""
    torch.manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, 20, (2, 60)), 20)
    model = build_model(ModelConfig(family=family, depth=depth, channels=channels), in_channels=4, out_channels=2)
    return model.train(), graph, torch.randn(20, 4)


def one_piece_at_a_time(team: Ranks) -> None:
    """Whenever a block is evaluated, in the forward or in the backward pass, the weights of its piece alone are whole."""
    for family, expected in (("reversible", 4), ("residual", 4)):
        model, graph, x = network(family, depth=12 if family == "reversible" else 13, channels=16)
        weights = shard_weights(model, team, segments=4 if family == "reversible" else None)
        assert len(weights.pieces) == expected
        counts: list[int] = []

        def look(*_: Any, weights: ShardedWeights = weights, counts: list[int] = counts) -> None:
            counts.append(_whole(weights))

        for layer in model.stack.layers:
            for block in layer.blocks:
                block.register_forward_hook(look)
        model(graph, x).square().sum().backward()
        blocks = sum(len(layer.blocks) for layer in model.stack.layers)
        assert counts == [1] * (2 * blocks), counts
        weights.finish(torch.zeros(1))
        assert _whole(weights) == 0


def _whole(weights: ShardedWeights) -> int:
    """Return how many pieces have whole weights now."""
    kinds = [{type(owner._parameters[name]).__name__ for owner, name in piece.cut} for piece in weights.pieces]
    assert all(len(kind) == 1 for kind in kinds)
    return sum(kind == {"Parameter"} for kind in kinds)


def memory(team: Ranks) -> None:
    """Weights, gradients and Adam state of a process are a share of those of one process, and so is the peak of a step."""
    model, graph, x = network()
    vectors = sum(p.numel() for p in model.parameters() if p.dim() < 2) + sum(p.numel() for p in model.nodes.parameters())
    whole = _peak_and_bytes(model, model.parameters(), lambda: None, graph, x)
    count = sum(p.numel() for p in model.parameters())
    model, graph, x = network()
    weights = shard_weights(model, team, segments=12)
    cut = _peak_and_bytes(model, weights.parameters.parameters(), lambda: weights.finish(torch.zeros(1)), graph, x)
    assert vectors < 0.05 * count
    for kind in ("weights", "gradients", "moments"):
        assert cut[kind] < (1 / team.size + 0.06) * whole[kind], (kind, cut, whole)
    assert cut["held by modules"] < (1 / team.size + 0.06) * whole["held by modules"]
    # gradients, and a twelfth of the weights some times over: see `_COPIES`
    assert cut["peak"] < (1 / team.size + 0.06 + 5 / 12) * whole["gradients"] < whole["peak"], (cut, whole)


def _peak_and_bytes(model: Any, parameters: Any, finish: Callable[[], object], graph: Graph, x: Tensor) -> dict[str, int]:
    held = list(parameters)
    optimizer = torch.optim.Adam(held, fused=True)
    peak = 0
    for _ in range(2):
        optimizer.zero_grad()
        with PeakMemory("cpu") as memory:
            model(graph, x).square().sum().backward()
            finish()
        peak = memory.peak_bytes
        optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.dim()]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in map(_local, model.parameters())}
    return {
        "peak": peak,
        "weights": sum(p.nbytes for p in held),
        "gradients": sum(p.grad.nbytes for p in held),
        "moments": sum(t.nbytes for t in moments),
        "held by modules": sum(storages.values()),
    }


def _local(parameter: Any) -> Tensor:
    return parameter.to_local() if type(parameter).__name__ == "DTensor" else parameter


class _Sometimes(nn.Module):
    """A map that is left out if the input has no large entry."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(4, 4)
        self.rare = nn.Linear(4, 4)
        self.never = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.map(x)
        return y + self.rare(x) if float(x.detach().abs().max()) > 50 else y


def lacking(team: Ranks) -> None:
    """A weight that some processes do not use has the gradient of the others, and one that none uses has none."""
    for gradient in (Reversible(2), Checkpoint(2), Backprop()):
        found: list[list[Tensor | None]] = []
        for cut in (False, True):
            torch.manual_seed(0)
            stack = ReversibleStack([[_Sometimes(), _Sometimes()] for _ in range(4)], gradient=gradient)
            model = nn.Sequential(nn.Linear(8, 8), stack)
            parts = [torch.randn(5, 8) * (100.0 if rank == 0 else 1.0) for rank in range(team.size)]
            weights = shard_weights(model, team) if cut else None
            for part in [parts[team.rank]] if cut else parts:
                model(part).square().sum().backward()
            if weights is None:
                found.append([p.grad for p in model.parameters()])
                continue
            weights.finish(torch.zeros(1))
            found.append([_whole_gradient(weights, n) for n in range(len(weights.parameters))])
        if team.leads:
            names = [name for name, _ in model.named_parameters()]
            for name, expected, grad in zip(names, *found, strict=True):
                assert (expected is None) == (grad is None) == ("never" in name), (name, gradient)
                if expected is not None and grad is not None:
                    atol = 1e-5 * float(expected.abs().max())
                    torch.testing.assert_close(grad, expected, rtol=0, atol=0 if team.size == 2 else atol)


def _whole_gradient(weights: ShardedWeights, number: int) -> Tensor | None:
    """Return the gradient of a parameter, in the leading process."""
    grad = weights.parameters[number].grad
    if grad is None or not weights.is_cut(number):
        return grad
    return next(iter(weights.gather([(number, grad)])), None)


def coarser(team: Ranks) -> None:
    """A state that leaves its grid in one process moves all to a coarser one, in the same step."""
    torch.manual_seed(0)
    stack = ReversibleStack([[PreActivation(GENConv(4, 4), channels=4) for _ in range(2)] for _ in range(4)], segments=2)
    model = nn.Sequential(nn.Identity(), stack)
    weights = shard_weights(model, team)
    graph = Graph.from_edge_index(torch.randint(0, 9, (2, 30)), 9)
    x = torch.randn(9, 8) * (5000.0 if team.rank == 1 else 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stack(x, graph).square().mean().backward()
    weights.finish(torch.zeros(1))
    assert team.gather(stack.coarsened) == [stack.coarsened] * team.size
    assert stack.coarsened > 0
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in weights.parameters)


def refusals(team: Ranks) -> None:
    """Networks without a stack, and pieces that there cannot be."""
    spread = make_spread("weights")
    error = caught(lambda: spread.check(prepare(run_of("equilibrium")), team))
    assert "a network of family=equilibrium" in str(error)
    assert "use --parallel parts" in str(error)
    model, _, _ = network("residual", depth=4, channels=16)
    assert "checkpointed layers are cut where a state is stored" in str(caught(lambda: shard_weights(model, team, segments=2)))
    model, _, _ = network(depth=4, channels=16)
    assert "cannot be cut into segments=5; choose 1 to 4" in str(caught(lambda: shard_weights(model, team, segments=5)))
    shard_weights(model, team)
    assert "cut already" in str(caught(lambda: shard_weights(model, team)))
    assert "network has none" in str(caught(lambda: shard_weights(nn.Linear(2, 2), team)))


# --- faults -----------------------------------------------------------------------------------------------------------------


def killed(team: Ranks, folder: Path) -> None:
    """The last process is killed in the second epoch; the others say which it was."""
    work = in_step(4, lambda: os.kill(os.getpid(), signal.SIGKILL)) if team.rank == team.size - 1 else lambda: False
    _expect(team, folder / "run", work, "has died")


def hanging(team: Ranks, folder: Path) -> None:
    """The last process hangs in the second epoch; the others say which it was, after the timeout."""
    work = in_step(4, lambda: time.sleep(60)) if team.rank == team.size - 1 else lambda: False
    _expect(team, folder / "run", work, "did not answer within")


def _expect(team: Ranks, folder: Path, should_stop: Callable[[], bool], message: str) -> None:
    error = caught(lambda: run(team, weights_run("segments"), folder, should_stop=should_stop))
    if error is not None:
        if isinstance(error, RankFailed) and f"process {team.size - 1} " in str(error) and message in str(error):
            sys.exit(7)
        raise error


SECONDS = {"hanging": 10.0}


def main() -> None:
    name, store, folder, rank, size = sys.argv[1:]
    torch.set_num_threads(1)
    with team_of(store, rank, size, SECONDS.get(name, 60.0)) as team:
        globals()[name](team, Path(folder))


if __name__ == "__main__":
    main()
