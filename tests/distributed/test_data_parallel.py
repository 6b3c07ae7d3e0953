"""Processes that share the parts of each step train the same run as one process that accumulates them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from revgnn.train import RunConfig, RunFolder, train
from revgnn.train.run.session import prepare
from revgnn.train.run.steps import EpochSteps
from revgnn.train.run.team import ALONE
from revgnn.train.run.tensor_file import read_tensors
from tests.distributed.launch import launch, succeed
from tests.distributed.networks import FAMILIES, FIRST, run_of

DIFFERS = ("seconds", "evaluation_seconds", "peak_bytes")


def assert_same_result(one: Path, other: Path) -> None:
    """Assert equal bits in weights, optimiser, random states and metrics."""
    for name in ("best.safetensors", "last.safetensors"):
        (tensors, _), (expected, _) = read_tensors(one / name), read_tensors(other / name)
        assert tensors.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensors[key], tensor), f"{key} in {name}"
    lines, wanted = RunFolder(one).metrics(), RunFolder(other).metrics()
    assert len(lines) == len(wanted) > 0
    for a, b in zip(lines, wanted, strict=True):
        assert {k: v for k, v in a.items() if k not in DIFFERS} == {k: v for k, v in b.items() if k not in DIFFERS}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that two processes have trained."""
    folder = tmp_path_factory.mktemp("two")
    succeed(2, "families", folder)
    return folder


@pytest.fixture(scope="module")
def two_more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, of the other families."""
    folder = tmp_path_factory.mktemp("more")
    succeed(2, "more_families", folder)
    return folder


@pytest.mark.parametrize("family", FIRST)
def test_two_processes_equal_one_bit_for_bit(two: Path, tmp_path: Path, family: str) -> None:
    train(run_of(family, parts_per_step=2), tmp_path / "one")
    assert_same_result(two / family, tmp_path / "one")
    assert not list((two / family).glob("*.tmp*"))
    assert not (two / family / "run.lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in FIRST])
def test_two_processes_equal_one_for_all_families(two_more: Path, tmp_path: Path, family: str) -> None:
    train(run_of(family, parts_per_step=2), tmp_path / "one")
    assert_same_result(two_more / family, tmp_path / "one")


def test_parts_without_labels_are_nobodys_work(two: Path, tmp_path: Path) -> None:
    config = run_of("tied", parts=80, parts_per_step=2, epochs=1)
    session = prepare(config)
    parts = list(session.batches.epoch(session.partition, 1))
    with_labels = [sum(batch.num_labelled > 0 for batch in parts[n : n + 2]) for n in range(0, 80, 2)]
    assert {0, 1, 2} == set(with_labels), "steps of which nobody, one and both processes have a part"
    train(config, tmp_path / "one")
    assert_same_result(two / "few labels", tmp_path / "one")


def test_a_request_to_one_process_stops_all_and_one_process_goes_on(two: Path, tmp_path: Path) -> None:
    config = run_of("reversible", parts_per_step=2)
    train(config, two / "stopped", resume=True)
    assert_same_result(two / "stopped", two / "reversible")


def _single_gradient(config: RunConfig) -> list[torch.Tensor | None]:
    session = prepare(config)
    session.model.train()
    next(iter(EpochSteps(session, 1, 0, ALONE, ALONE.exchange(session.model))))
    return [p.grad for p in session.model.parameters()]


@pytest.mark.slow
def test_three_processes_equal_one_to_rounding(tmp_path: Path) -> None:
    succeed(3, "gradients", tmp_path)
    for family in FAMILIES:
        found = torch.load(tmp_path / f"{family}.pt", weights_only=True)
        expected = _single_gradient(run_of(family, parts_per_step=3, **{"optim.clip_norm": None}))
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                # another order of two additions: one rounding of the largest partial sum
                torch.testing.assert_close(a, b, rtol=0, atol=4 * torch.finfo(a.dtype).eps * float(b.abs().max()))
    train(run_of("reversible", parts=2, parts_per_step=2), tmp_path / "one")
    assert_same_result(tmp_path / "two parts", tmp_path / "one")


def test_a_step_that_cannot_be_shared_is_refused() -> None:
    from revgnn.train.run.together import check_team

    class Many(type(ALONE)):
        size = 3

    run = run_of("equilibrium", **{"model.solver.warm_start": True})
    with pytest.raises(ValueError, match=r"warm_start keeps .* set it to false, or train in one process"):
        check_team(prepare(run), Many())
    with pytest.warns(UserWarning, match="3 processes share steps of parts_per_step=2: 1 of them only help to evaluate"):
        check_team(prepare(run_of("tied", parts_per_step=2)), Many())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_team(prepare(run_of("tied", parts_per_step=3)), Many())


def test_launching_is_needed() -> None:
    from revgnn.distributed import is_launched, join

    assert not is_launched({})
    assert not is_launched({"WORLD_SIZE": "1", "RANK": "0"})
    assert is_launched({"WORLD_SIZE": "2", "RANK": "0"})
    with pytest.raises(ValueError, match="start it by torchrun"), join():
        pass


@pytest.mark.parametrize("fault", ["killed", *(pytest.param(f, marks=pytest.mark.slow) for f in ("hanging", "failing"))])
def test_a_process_that_ends_is_named_and_the_run_goes_on(tmp_path: Path, fault: str) -> None:
    outcomes = launch(2, fault, tmp_path)
    assert outcomes[0].code == 7, outcomes[0].stderr[-3000:]
    assert outcomes[1].code not in (0, 7)
    config = run_of("reversible", parts_per_step=2)
    assert {p.name for p in (tmp_path / "run").iterdir()} <= {
        *("config.yaml", "environment.json", "metrics.jsonl", "best.safetensors", "last.safetensors")
    }
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "one")
    assert_same_result(tmp_path / "run", tmp_path / "one")


@pytest.mark.slow
def test_an_error_of_the_leading_process_ends_all(tmp_path: Path) -> None:
    succeed(3, "leading", tmp_path)
