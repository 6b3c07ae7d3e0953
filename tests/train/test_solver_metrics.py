"""Statistics of an equilibrium's solves in each epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.cli.progress import cost_fields
from revgnn.train.config import RunConfig
from revgnn.train.run.events import EpochEnded, Event, Stepped
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.loop import Interrupted, train
from tests.train.test_resume import Crash, assert_same_run, crash_at

SMALL = ["model.family=equilibrium", "model.depth=4", "model.norm=layer", "epochs=3", "model.dropout=0.1"]


@pytest.fixture(scope="module")
def solving(config: RunConfig) -> RunConfig:
    """Some solves converge within their steps, others do not."""
    solver = ["model.solver.rtol=0.01", "model.solver.forward_steps=7", "model.solver.backward_steps=6"]
    return config.override([*SMALL, "model.solver={}", *solver, "model.solver.warm_start=true", "model.solver.evaluation_steps=2"])


@pytest.fixture(scope="module")
def unbroken(solving: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    with pytest.warns(UserWarning, match="was not solved to rtol"):
        train(solving, folder)
    return folder


def test_every_line_has_the_solves_of_its_epoch(solving: RunConfig, unbroken: Path) -> None:
    lines = RunFolder(unbroken).metrics()
    for line in lines:
        assert line["solves"]["solves"] == 2 * solving.parts  # one state and one adjoint system per step
        assert 1 <= line["solves"]["forward_steps"] <= 7
        assert 1 <= line["solves"]["backward_steps"] <= 6
        assert 0 < line["solves"]["median_residual"] <= line["solves"]["max_residual"]
        views = solving.evaluation.views * solving.evaluation.parts
        evaluation = line["evaluation_solves"]
        assert (evaluation["solves"], evaluation["failures"]) == (views, views)  # two steps are too few
        assert (evaluation["forward_steps"], evaluation["backward_steps"]) == (2.0, None)
    result = RunFolder(unbroken).result()
    assert result is not None
    assert result["solve_failures"] == sum(line[n]["failures"] for line in lines for n in ("solves", "evaluation_solves"))


@pytest.mark.parametrize("stop_after", [4, 5, 6])
@pytest.mark.filterwarnings("ignore:.*was not solved")
def test_they_survive_an_interruption(solving: RunConfig, unbroken: Path, tmp_path: Path, stop_after: int) -> None:
    steps: list[Event] = []
    hook = lambda event: steps.append(event) if isinstance(event, Stepped) else None  # noqa: E731
    with pytest.raises(Interrupted):
        train(solving, tmp_path / "a", hooks=[hook], should_stop=lambda: len(steps) == stop_after)
    torch.manual_seed(1234)
    train(solving, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)
    assert RunFolder(tmp_path / "a").result()["solve_failures"] == RunFolder(unbroken).result()["solve_failures"]  # pyright: ignore


@pytest.mark.filterwarnings("ignore:.*was not solved")
def test_they_survive_a_crash(solving: RunConfig, unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        train(solving, tmp_path / "a", hooks=[crash_at(2, 2)])
    train(solving, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)


def test_other_networks_have_no_statistics(config: RunConfig, tmp_path: Path) -> None:
    result = train(config.override(["epochs=1"]), tmp_path / "a")
    (line,) = RunFolder(tmp_path / "a").metrics()
    assert not {"solves", "evaluation_solves", "skipped_steps"} & line.keys()
    assert result.solve_failures is None


@pytest.mark.filterwarnings("ignore:.*was not solved")
def test_progress_reports_only_failures(solving: RunConfig, tmp_path: Path) -> None:
    def ended(settings: list[str], name: str) -> EpochEnded:
        events: list[Event] = []
        train(solving.override(["epochs=1", *settings]), tmp_path / name, hooks=[events.append])
        (event,) = (event for event in events if isinstance(event, EpochEnded))
        return event

    failing = ended([], "a")
    assert failing.failed_solves >= 4
    assert cost_fields(failing)[-1] == f"{failing.failed_solves} solves failed"
    assert "failed" not in " ".join(cost_fields(ended(["model.solver.rtol=10"], "b")))


def test_epochs_without_solves_are_recorded(solving: RunConfig, tmp_path: Path) -> None:
    train(solving.override(["epochs=1", "model.solver.pretraining=3", "evaluation.every=9"]), tmp_path / "a")
    (line,) = RunFolder(tmp_path / "a").metrics()
    assert line["solves"] == {
        "solves": 0,
        "failures": 0,
        "forward_steps": None,
        "backward_steps": None,
        "median_residual": None,
        "max_residual": None,
    }
