"""A run whose weights are cut over processes gives the result of one process, and each holds a share of its memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.distributed.weights.mode import choose_segments
from revgnn.distributed.weights.pieces import cut_stack
from revgnn.stack import Backprop, Checkpoint, ResidualStack, Reversible, ReversibleStack, Stack
from revgnn.train import RunConfig, RunFolder, train
from revgnn.train.run.session import prepare
from revgnn.train.run.steps import EpochSteps
from revgnn.train.run.team import ALONE
from revgnn.train.run.tensor_file import read_tensors
from tests.distributed.launch import launch, succeed
from tests.distributed.test_data_parallel import assert_same_result
from tests.distributed.test_torchrun import command, finish, start, torchrun
from tests.distributed.weights_scenarios import FIRST, RUNS, SKIPPED, weights_run

SCENARIOS = "tests.distributed.weights_scenarios"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that two processes have trained. They have also measured their memory."""
    folder = tmp_path_factory.mktemp("two")
    succeed(2, "families", folder, SCENARIOS)
    return folder


@pytest.fixture(scope="module")
def two_more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, of the other families."""
    folder = tmp_path_factory.mktemp("more")
    succeed(2, "more_families", folder, SCENARIOS)
    return folder


# --- one process and several ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FIRST)
def test_two_processes_equal_one_bit_for_bit(two: Path, tmp_path: Path, family: str) -> None:
    train(weights_run(family), tmp_path / "one")
    assert_same_result(two / family, tmp_path / "one")
    assert {p.name for p in (two / family).iterdir()} == {p.name for p in (tmp_path / "one").iterdir()}


def test_one_process_goes_on_with_what_two_have_saved(two: Path) -> None:
    train(weights_run("segments"), two / "stopped", resume=True)
    assert_same_result(two / "stopped", two / "segments")


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in RUNS if family not in FIRST])
def test_two_processes_equal_one_for_all_families(two_more: Path, tmp_path: Path, family: str) -> None:
    train(weights_run(family), tmp_path / "one")
    assert_same_result(two_more / family, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("few labels", weights_run("tied", parts=80, epochs=1)),
        ("fp16", weights_run("segments", amp="fp16", epochs=1)),
        ("one part", weights_run("segments", parts_per_step=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_steps_in_which_a_process_repeats_the_part_of_another(two_more: Path, tmp_path: Path, name: str, config: RunConfig) -> None:
    train(config, tmp_path / "one")
    assert_same_result(two_more / name, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("name", SKIPPED)
def test_processes_skip_other_layers_each_in_its_part(two_more: Path, tmp_path: Path, name: str) -> None:
    train(SKIPPED[name], tmp_path / "one")
    assert_same_result(two_more / name, tmp_path / "one")
    steps = {int(t) for key, t in read_tensors(tmp_path / "one" / "last.safetensors")[0].items() if key.endswith(".step")}
    assert len(steps) > 1, "some weights have no gradient in some steps"


@pytest.mark.slow
def test_the_norm_of_the_whole_gradient_is_clipped(two_more: Path, tmp_path: Path) -> None:
    train(weights_run("segments", parts=2, **{"optim.clip_norm": 0.01, "optim.name": "rmsprop"}), tmp_path / "one")
    train(weights_run("segments", parts=2, **{"optim.name": "rmsprop"}), tmp_path / "free")
    found, one, free = (
        read_tensors(f / "last.safetensors")[0] for f in (two_more / "clipped", tmp_path / "one", tmp_path / "free")
    )
    for name, tensor in one.items():
        if name.endswith("square_avg"):
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4 * float(tensor.abs().max()))
    largest = max((name for name in one if name.endswith("square_avg")), key=lambda name: float(free[name].max()))
    assert float(one[largest].max()) < 0.5 * float(free[largest].max()), "the norm was below the limit, and nothing was clipped"


@pytest.mark.slow
def test_three_processes_have_the_gradient_of_one_to_rounding(tmp_path: Path) -> None:
    succeed(3, "step_gradient", tmp_path, SCENARIOS)
    for family in RUNS:
        found = torch.load(tmp_path / f"{family}.pt", weights_only=True)
        config = weights_run(family, parts_per_step=3)
        session = prepare(config.replace({"model.segments": segments}) if (segments := _segments(config)) else config)
        session.model.train()
        next(iter(EpochSteps(session, 1, 0, ALONE, ALONE.exchange(session.model))))
        for a, p in zip(found, session.model.parameters(), strict=True):
            assert p.grad is not None
            # another order of two additions: one rounding of the largest partial sum
            torch.testing.assert_close(a, p.grad, rtol=0, atol=4 * torch.finfo(a.dtype).eps * float(p.grad.abs().max()))


def _segments(config: RunConfig) -> int | None:
    return choose_segments(prepare(config))


@pytest.mark.slow
def test_other_numbers_of_processes_go_on(tmp_path: Path) -> None:
    config = weights_run("segments", **{"optim.name": "rmsprop"})
    succeed(2, "stopped", tmp_path, SCENARIOS)
    succeed(3, "resumed", tmp_path, SCENARIOS)
    train(config, tmp_path / "one")
    assert_same_result(tmp_path / "run", tmp_path / "one")


# --- faults -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "hanging"])
def test_a_process_that_ends_is_named_and_the_run_goes_on(tmp_path: Path, fault: str) -> None:
    outcomes = launch(2, fault, tmp_path, module=SCENARIOS)
    assert outcomes[0].code == 7, outcomes[0].stderr[-3000:]
    assert outcomes[1].code not in (0, 7)
    assert {p.name for p in (tmp_path / "run").iterdir()} <= {
        *("config.yaml", "environment.json", "metrics.jsonl", "best.safetensors", "last.safetensors")
    }
    train(weights_run("segments"), tmp_path / "run", resume=True)
    train(weights_run("segments"), tmp_path / "one")
    assert_same_result(tmp_path / "run", tmp_path / "one")


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    code, out, err = finish(start([*torchrun(2), *command(tmp_path / "run", "--parallel=weights", epochs=2)]))
    assert code == 0, err
    assert out.count("best valid") == 1
    words = ["-m", "revgnn", "train", "--resume", "--out", str(tmp_path / "run"), "--parallel=weights", "--set=epochs=3", "-q"]
    code, _, err = finish(start([*torchrun(3), *words]))
    assert code == 0, err
    assert len(RunFolder(tmp_path / "run").metrics()) == 3
    assert RunFolder(tmp_path / "run").config().parts_per_step == 2


# --- how a stack is cut -------------------------------------------------------------------------------------------------------


def _layers(count: int) -> list[list[torch.nn.Module]]:
    return [[torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)] for _ in range(count)]


def _spans(stack: Stack, segments: int | None = None) -> list[list[tuple[int, int]]]:
    return [piece.spans for piece in cut_stack(stack, segments).pieces]  # pyright: ignore[reportAttributeAccessIssue,reportReturnType]


def test_a_stack_is_cut_where_it_stores_a_state() -> None:
    assert _spans(ReversibleStack(_layers(7))) == [[(0, 7)]]
    assert _spans(ReversibleStack(_layers(7), gradient=Reversible(2))) == [[(0, 3)], [(3, 7)]]
    assert _spans(ReversibleStack(_layers(7)), segments=3) == [[(0, 2)], [(2, 4)], [(4, 7)]]
    assert _spans(ReversibleStack(_layers(7), gradient=Backprop())) == [[(0, 3)], [(3, 7)]]
    residual = [torch.nn.Linear(2, 2) for _ in range(7)]
    assert _spans(ResidualStack(residual, gradient=Checkpoint())) == [[(0, 2)], [(2, 4)], [(4, 6)], [(6, 7)]]


def test_layers_that_share_weights_are_one_piece() -> None:
    assert _spans(ReversibleStack(_layers(2), repeats=3), segments=3) == [[(0, 2), (2, 4), (4, 6)]]
    layers = _layers(6)
    layers[3][1] = layers[1][0]
    assert _spans(ReversibleStack(layers), segments=6) == [[(0, 1)], [(1, 2), (2, 3), (3, 4)], [(4, 5)], [(5, 6)]]


def test_a_reversible_stack_of_large_weights_is_cut_into_more_pieces() -> None:
    found = []
    for channels in (8, 64):
        session = prepare(weights_run("segments", **{"model.segments": 1, "model.channels": channels, "model.depth": 30}))
        found.append(choose_segments(session))
        state = session.dataset.num_nodes / 5 * channels
        weights = sum(p.numel() for p in session.model.stack.parameters())  # pyright: ignore[reportAttributeAccessIssue]
        assert found[-1] == round((4 * weights / state) ** 0.5)
    assert found[0] < found[1]
    assert choose_segments(prepare(weights_run("segments"))) is None
    assert choose_segments(prepare(weights_run("tied"))) is None
    assert choose_segments(prepare(weights_run("residual"))) is None
