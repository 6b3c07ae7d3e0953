"""Layers cut over processes train the same run as one process that accumulates the same parts, bit for bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from revgnn.cli.processes import chosen_spread
from revgnn.distributed.pipeline.cut import Cut, cut_layers
from revgnn.distributed.pipeline.layers import Layers
from revgnn.distributed.pipeline.schedule import bubble, waves
from revgnn.stack import Checkpoint, Reversible
from revgnn.train import Interrupted, LoadOptions, RunFolder, evaluate_run, predict_run, train
from revgnn.train.run.session import prepare
from revgnn.train.run.steps import EpochSteps
from revgnn.train.run.team import ALONE
from tests.data.many import write_tu
from tests.distributed.launch import launch, succeed
from tests.distributed.layers_networks import FIRST, INTERLEAVED, OTHERS, THREE, graphs_run, run_of
from tests.distributed.test_data_parallel import assert_same_result
from tests.distributed.test_torchrun import command, succeeds, torchrun

SCENARIOS = "tests.distributed.layers_scenarios"


def _folder(factory: pytest.TempPathFactory, size: int, scenario: str) -> Path:
    folder = factory.mktemp(scenario)
    succeed(size, scenario, folder, SCENARIOS)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that two processes have trained."""
    return _folder(tmp_path_factory, 2, "networks")


@pytest.fixture(scope="module")
def two_more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, of the other networks."""
    return _folder(tmp_path_factory, 2, "more_networks")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that three processes have trained."""
    return _folder(tmp_path_factory, 3, "three")


@pytest.fixture(scope="module")
def interleaved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that two processes with two pieces each have trained."""
    return _folder(tmp_path_factory, 2, "interleaved")


@pytest.mark.parametrize("name", FIRST)
def test_two_processes_equal_one(two: Path, tmp_path: Path, name: str) -> None:
    train(run_of(name), tmp_path / "one")
    assert_same_result(two / name, tmp_path / "one")


@pytest.mark.parametrize("kind", ["spread", "mean"])
@pytest.mark.parametrize("name", FIRST)
def test_two_processes_predict_as_one(two: Path, tmp_path: Path, name: str, kind: str) -> None:
    predict_run(two / name, tmp_path / "one.csv", spread=kind == "spread")
    assert (two / f"{name} {kind}.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_a_stopped_run_goes_on_alone(two: Path) -> None:
    train(run_of("reversible"), two / "stopped", resume=True)
    assert_same_result(two / "stopped", two / "reversible")
    assert not list((two / "reversible").glob("*.tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_two_processes_equal_one_for_all_networks(two_more: Path, tmp_path: Path, name: str) -> None:
    train(run_of(name), tmp_path / "one")
    assert_same_result(two_more / name, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("name", THREE)
def test_three_processes_equal_one(three: Path, tmp_path: Path, name: str) -> None:
    train(run_of(name), tmp_path / "one")
    assert_same_result(three / name, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("name", INTERLEAVED)
def test_two_pieces_in_each_process_equal_one(interleaved: Path, tmp_path: Path, name: str) -> None:
    train(run_of(name), tmp_path / "one")
    assert_same_result(interleaved / name, tmp_path / "one")


def test_parts_without_labels_are_there() -> None:
    session = prepare(run_of("few labels"))
    labelled = [batch.num_labelled > 0 for batch in session.batches.epoch(session.partition, 1)]
    used = {sum(labelled[n : n + 3]) for n in range(0, 120, 3)}
    assert {0, 1, 2, 3} == used, "steps with no part, with fewer than stages, and with all"


@pytest.mark.slow
def test_three_processes_go_on_with_a_run_of_one(tmp_path: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) >= 3

    with pytest.raises(Interrupted):
        train(run_of("reversible"), tmp_path / "begun", should_stop=stop)
    succeed(3, "resumed", tmp_path, SCENARIOS)
    train(run_of("reversible"), tmp_path / "one")
    assert_same_result(tmp_path / "begun", tmp_path / "one")


@pytest.mark.slow
def test_logits_of_graphs(tmp_path: Path) -> None:
    run = graphs_run(write_tu(tmp_path / "TOY", count=60))
    succeed(2, "of_graphs", tmp_path, SCENARIOS)
    train(run, tmp_path / "one")
    assert_same_result(tmp_path / "graphs", tmp_path / "one")


@pytest.mark.slow
def test_memory_of_a_stage_does_not_grow_with_its_depth(tmp_path: Path) -> None:
    succeed(2, "memory", tmp_path, SCENARIOS)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_a_process_that_is_killed_is_named_and_the_run_goes_on(tmp_path: Path, size: int) -> None:
    outcomes = launch(size, "killed", tmp_path, module=SCENARIOS)
    assert [outcome.code for outcome in outcomes[:-1]] == [7] * (size - 1), outcomes[0].stderr[-3000:]
    train(run_of("reversible"), tmp_path / "run", resume=True)
    train(run_of("reversible"), tmp_path / "one")
    assert_same_result(tmp_path / "run", tmp_path / "one")


@pytest.mark.slow
def test_an_error_in_a_stage_is_told_as_it_is(tmp_path: Path) -> None:
    outcomes = launch(2, "failing", tmp_path, module=SCENARIOS)
    assert outcomes[0].code == 7, outcomes[0].stderr[-3000:]
    assert "MemoryError: no memory left" in outcomes[1].stderr


BY_COMMAND = ("--set=parts_per_step=4", "--set=model.depth=4", "-q")


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that two processes with two pieces each have trained under torchrun."""
    folder = tmp_path_factory.mktemp("command") / "run"
    succeeds([*torchrun(2), *command(folder, *BY_COMMAND, "--parallel=layers", "--pieces=2", epochs=2)])
    return folder


@pytest.mark.slow
def test_the_command_gives_the_bits_of_one_process(by_command: Path, tmp_path: Path) -> None:
    succeeds([sys.executable, *command(tmp_path / "one", *BY_COMMAND, epochs=2)])
    assert_same_result(by_command, tmp_path / "one")
    results = [RunFolder(folder).result() for folder in (by_command, tmp_path / "one")]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0]["parameters"] == results[1]["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "words"),
    [
        (3, ["--views=2", "--parts=3"]),
        (2, ["--views=2", "--parts=3", "--parallel=layers"]),
        (3, ["--parts=1", "--parallel=layers"]),
    ],
    ids=["by parts", "by layers", "the whole graph by layers"],
)
def test_processes_evaluate_what_layers_have_trained(by_command: Path, tmp_path: Path, size: int, words: list[str]) -> None:
    views = LoadOptions(views=2, parts=3) if "--views=2" in words else LoadOptions(parts=1)
    found = json.loads(succeeds([*torchrun(size), "-m", "revgnn", "evaluate", str(by_command), "--json", *words]))
    assert found == evaluate_run(by_command, views)
    many, one = tmp_path / "many.csv", tmp_path / "one.csv"
    succeeds([*torchrun(size), "-m", "revgnn", "predict", str(by_command), "--out", str(many), *words])
    predict_run(by_command, one, views)
    assert many.read_bytes() == one.read_bytes()


# --- without processes --------------------------------------------------------------------------------------------------


def test_layers_are_cut_evenly_and_at_stored_states() -> None:
    assert cut_layers(7, Reversible(segments=2), 3) == [range(2), range(2, 4), range(4, 7)]
    assert cut_layers(5, Reversible(), 2) == [range(2), range(2, 5)]
    assert cut_layers(7, Checkpoint(every=3), 2) == [range(3), range(3, 7)]
    with pytest.raises(ValueError, match=r"7 layers cannot be cut into 8 stages; use fewer processes or pieces"):
        cut_layers(7, Reversible(), 8)
    with pytest.raises(ValueError, match=r"7 layers with 3 stored states .* set model.checkpoint_every=1 or less"):
        cut_layers(7, Checkpoint(every=3), 4)


def test_each_weight_has_one_owner_and_all_names_are_kept() -> None:
    for name in ("reversible", "tied, one layer", "tied, residual", "revgat"):
        model = prepare(run_of(name)).model
        whole, cut = dict(model.state_dict()), Cut(model, 2)
        owned = [{o.first_name for o in cut.state if o.owner == stage} for stage in (0, 1)]
        assert {o.name for o in cut.state} == set(whole)
        assert not owned[0] & owned[1]
        parts = []
        for stage in (0, 1):
            part = prepare(run_of(name)).model
            cut.strip(part, {stage})
            parts.append(part.state_dict())
            assert owned[stage] <= set(parts[-1]), name
            assert all(torch.equal(whole[key], tensor) for key, tensor in parts[-1].items())
        assert sum(p.numel() for p in model.parameters()) > max(
            sum(t.numel() for t in {t.data_ptr(): t for t in part.values()}.values()) for part in parts
        ) or name.startswith("tied")


@pytest.mark.parametrize(("count", "each", "expected"), [(5, 1, [5]), (5, 2, [4, 1]), (3, 2, [3]), (6, 2, [6]), (7, 2, [6, 1])])
def test_all_parts_of_a_step_pass_through(count: int, each: int, expected: list[int]) -> None:
    assert waves(count, 2, each) == expected


def test_the_bubble_is_that_of_the_schedule() -> None:
    """Counted in a schedule of equal stages: forward and backward of M parts, and S - 1 places to fill and to empty."""
    for stages, parts in ((2, 1), (2, 6), (3, 4)):
        assert bubble(stages, parts) == pytest.approx(1 - parts / (parts + stages - 1))


def test_parts_of_a_step_differ_in_size_and_number() -> None:
    session = prepare(run_of("reversible", parts=7))
    assert len({len(nodes) for nodes in session.batches.rows(session.partition, 1)}) == 2
    session = prepare(run_of("reversible"))
    steps = EpochSteps(session, 1, 0, ALONE, ALONE.exchange(session.model))
    assert len(list(steps)) == 2, "the second step has fewer parts"


def test_pieces_belong_to_layers() -> None:
    with pytest.raises(ValueError, match=r"--pieces belongs to --parallel layers, and this job has --parallel parts"):
        chosen_spread(None, "parts", pieces=2)
    with pytest.raises(ValueError, match=r"--cut belongs to --parallel graph, and this job has --parallel layers"):
        chosen_spread(None, "layers", cut="metis")
    with pytest.raises(ValueError, match="at least 1 piece of the stack, got 0"):
        Layers(0)
    with pytest.raises(ValueError, match="layers are cut over several processes, and this one is alone"):
        Layers().check(prepare(run_of("reversible")), ALONE)
    with pytest.raises(ValueError, match="label_reuse, whose logits become inputs of the first process; use --parallel parts"):
        Layers().check_inference(prepare(run_of("segments", label_reuse=1)), ALONE)
