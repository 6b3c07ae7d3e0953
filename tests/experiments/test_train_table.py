"""Training a table: each network once, finished ones never again, and complete files whenever it stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from revgnn.experiments import Table, get_preset
from revgnn.experiments.training import train as training
from revgnn.experiments.training.plan import Plan, plan_table
from revgnn.experiments.training.runs import evaluate_views
from revgnn.experiments.training.train import Stopped, train_table
from revgnn.train.config.errors import ConfigError
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.saved_run import LoadOptions
from revgnn.train.run.events import Event, Started, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import Interrupted
from tests.experiments.small_table import PRESETS, add_small_table

VIEWED = "small-rev-4"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    return add_small_table(monkeypatch)


class Watch:
    """Counts what is trained, and asks to stop after some steps."""

    def __init__(self, stop_after: int = -1) -> None:
        self.started: list[str | None] = []
        self.steps = 0
        self.stop_after = stop_after

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.started.append(event.config.preset)
        self.steps += isinstance(event, Stepped)

    def should_stop(self) -> bool:
        return self.steps == self.stop_after

    def train(self, plan: Plan, *, resume: bool = False) -> dict[str, Any]:
        return train_table(plan, resume=resume, hooks=[self], should_stop=self.should_stop)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        # an interruption splits the first epoch, so its peak may differ, and with it a sentence that names the peak
        left_out = ("seconds_per_epoch", "peak_bytes", "findings", "dates")
        return {key: without_times(inner) for key, inner in value.items() if key not in left_out}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def by_name(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in record["rows"]}


def test_the_whole_table(table: Table, tmp_path: Path) -> None:
    watch, out = Watch(), tmp_path / "a"
    record = watch.train(plan_table(table, out=out))
    assert watch.started == list(PRESETS)  # rows that are one network share its run
    assert json.loads((out / "table.json").read_text()) == json.loads(json.dumps(record))
    assert sorted(p.name for p in out.iterdir()) == sorted([*PRESETS, "table.json", "table.md"])
    rows = by_name(record)
    assert list(rows) == [row.name for row in table.rows]
    for row in rows.values():
        (folder,) = row["result"]["folders"]
        result = RunFolder(out / folder).result()
        assert result is not None
        assert row["result"]["test"] == {"mean": result["test"], "std": None}
        assert (row["result"]["peak_bytes"], row["result"]["parameters"]) == (result["peak_bytes"], result["parameters"])
        assert row["failed"] is None
        views = evaluate_run(out / folder, LoadOptions(views=row["views"], parts=row["parts"]))
        assert (row["multi_view"] is None) == (row["views"] is None)
        assert row["multi_view"] is None or row["multi_view"]["test"]["mean"] == views["test"]
    assert rows["Rev-4-V1-P1"]["multi_view"] == rows["Rev-4-V3-P1"]["multi_view"]
    assert rows["Rev-4-V1-P2"]["multi_view"] != rows["Rev-4-V3-P2"]["multi_view"]


def test_resuming_a_finished_table_computes_nothing(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_table(table, out=tmp_path / "a")
    record = Watch().train(plan)
    monkeypatch.setattr("revgnn.experiments.training.runs.evaluate_run", lambda *_, **__: pytest.fail("evaluated again"))
    watch = Watch()
    assert watch.train(plan, resume=True) == record
    assert watch.started == []


@pytest.mark.parametrize("stop_after", [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 6])
def test_a_stopped_training_resumes_to_the_same_table(table: Table, tmp_path: Path, stop_after: int) -> None:
    """A run has four steps: stop in the first epoch of the first run, at its end, and in the second run."""
    unbroken = Watch().train(plan_table(table, out=tmp_path / "unbroken"))
    plan, watch = plan_table(table, out=tmp_path / "a"), Watch(stop_after)
    with pytest.raises(Interrupted):
        watch.train(plan)
    watch.stop_after = -1
    assert without_times(watch.train(plan, resume=True)) == without_times(unbroken)
    assert watch.steps == 3 * 4  # none is repeated


def test_stopped_between_evaluations(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = plan_table(table, [VIEWED], out=tmp_path / "a"), []

    def evaluate(path: Path, *rest: Any) -> dict[str, Any]:
        asked.append(path)
        return evaluate_views(path, *rest)

    monkeypatch.setattr(training, "evaluate_views", evaluate)
    with pytest.raises(Stopped, match=f"two evaluations of {VIEWED}"):
        train_table(plan, should_stop=lambda: len(asked) == 3)
    written = by_name(json.loads((tmp_path / "a" / "table.json").read_text()))
    assert written["Rev-4"]["result"] is not None
    record = by_name(train_table(plan, resume=True))
    assert all(record[row.name]["multi_view"] for row in table.rows if row.views)


def test_it_is_written_after_each_network(table: Table, tmp_path: Path) -> None:
    trained: list[list[str]] = []

    def look(event: Event) -> None:
        if isinstance(event, Started) and event.config.preset != PRESETS[0]:
            record = json.loads((tmp_path / "table.json").read_text())
            trained.append(sorted({row["preset"] for row in record["rows"] if row["result"]}))
            page = " ".join((tmp_path / "table.md").read_text().split())
            assert f"So far {len(trained)} of its 3 networks are trained." in page

    train_table(plan_table(table, out=tmp_path), hooks=[look])
    assert trained == [["small-rev-2"], ["small-rev-2", "small-rev-4"]]


def test_another_command_adds_to_a_table(table: Table, tmp_path: Path) -> None:
    train_table(plan_table(table, ["Rev-2"], out=tmp_path))
    wt = plan_table(table, ["WT-Rev-4"], out=tmp_path)
    with pytest.raises(RunFolderError, match=r"holds a table already; add to it by --resume"):
        train_table(wt)
    record = by_name(train_table(wt, resume=True))
    assert [name for name, row in record.items() if row["result"]] == ["Rev-2", "WT-Rev-4"]
    # Runs with another number of epochs stay in the folder, but are not part of the table.
    longer = by_name(train_table(plan_table(table, ["WT-Rev-4"], out=tmp_path, epochs=3), resume=True))
    assert [name for name, row in longer.items() if row["result"]] == ["WT-Rev-4"]
    assert RunFolder(tmp_path / "small-rev-2" / "split-0-seed-0").result() is not None


def test_mean_and_deviation_over_seeds(table: Table, tmp_path: Path) -> None:
    plan = plan_table(table, [VIEWED], out=tmp_path, seeds="0,2", epochs=1)
    row = by_name(train_table(plan))["Rev-4-V3-P2"]
    folders = [tmp_path / VIEWED / f"split-0-seed-{seed}" for seed in (0, 2)]
    assert row["result"]["folders"] == [f"{VIEWED}/{folder.name}" for folder in folders]
    a, b = (evaluate_run(folder, LoadOptions(views=3, parts=2))["test"] for folder in folders)
    assert row["multi_view"]["test"]["mean"] == pytest.approx((a + b) / 2, rel=1e-12)
    assert row["multi_view"]["test"]["std"] == pytest.approx(abs(a - b) / 2**0.5, rel=1e-9)
    assert f"{(a + b) / 2:.4f} ± {abs(a - b) / 2**0.5:.4f}" in (tmp_path / "table.md").read_text()


def test_new_weights_are_evaluated_again(table: Table, tmp_path: Path) -> None:
    before = by_name(train_table(plan_table(table, [VIEWED], out=tmp_path, epochs=1)))
    after = by_name(train_table(plan_table(table, [VIEWED], out=tmp_path), overwrite=True))
    assert before["Rev-4-V3-P2"]["multi_view"] != after["Rev-4-V3-P2"]["multi_view"]
    folder = tmp_path / after["Rev-4"]["result"]["folders"][0]
    assert after["Rev-4-V3-P2"]["multi_view"]["test"]["mean"] == evaluate_run(folder, LoadOptions(views=3, parts=2))["test"]


def test_one_that_diverges_is_noted_and_the_others_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = get_preset("revgnn-7").replace({"data.name": "synthetic:nodes=240,degree=8,tasks=3", "parts": 2, "device": "cpu"})
    bad = bad.replace({"optim.lr": 1e30, "optim.clip_norm": None})
    table, told = add_small_table(monkeypatch, small_rev_2=bad), []
    record = by_name(train_table(plan_table(table, out=tmp_path, epochs=2), tell=told.append))
    assert "training diverged in epoch 1, step 2" in record["Rev-2"]["failed"]
    assert record["Rev-2"]["result"] is None
    assert all(row["result"] for name, row in record.items() if name != "Rev-2")
    assert "training diverged" in (tmp_path / "table.md").read_text()
    assert sum("training diverged" in line for line in told) == 1


def test_a_bug_is_not_noted_as_the_networks_failure(table: Table, tmp_path: Path) -> None:
    def broken(_: Event) -> None:
        raise RuntimeError("a shape does not fit")

    with pytest.raises(RuntimeError, match="a shape"):
        train_table(plan_table(table, out=tmp_path), hooks=[broken])


# --- errors before training -------------------------------------------------------------------------


def test_every_folder_is_checked_before_the_first_run(table: Table, tmp_path: Path) -> None:
    last = tmp_path / PRESETS[-1] / "split-0-seed-0"
    last.mkdir(parents=True)
    (last / "mine.txt").touch()
    with pytest.raises(RunFolderError, match="is not empty"):
        train_table(plan_table(table, out=tmp_path))
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["mine.txt"]


def test_data_device_and_sizes_are_checked_before_the_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_with(**changes: Any) -> Plan:
        run = get_preset("revgnn-7").replace({"data.name": "synthetic:nodes=240,degree=8,tasks=3", "device": "cpu", **changes})
        return plan_table(add_small_table(monkeypatch, small_wt_rev_4=run), out=tmp_path / "a")

    with pytest.raises(ValueError, match="nowhere"):
        train_table(last_with(**{"data.name": str(tmp_path / "nowhere.npz")}))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device"):
        train_table(last_with(device="cuda"))
    assert not (tmp_path / "a").exists()


def test_what_cannot_be_planned(table: Table) -> None:
    with pytest.raises(ConfigError, match=r"no row 'Rev-3'; did you mean"):
        plan_table(table, ["Rev-2", "Rev-3"])
    with pytest.raises(ConfigError, match="epochs"):
        plan_table(table, epochs=0)
    with pytest.raises(ValueError, match="distinct whole numbers"):
        plan_table(table, seeds="0,0")


def test_the_command_that_repeats_a_plan(table: Table, tmp_path: Path) -> None:
    plan = plan_table(table, ["small-rev-2", "Rev-4"], out=tmp_path, root=tmp_path, epochs=3, seeds="0,1")
    assert plan.command == "revgnn paper small --train --row Rev-2 --row Rev-4 --epochs 3 --seeds 0,1 --root DIR --out DIR"
    assert plan.to_train == ("small-rev-2", "small-rev-4")
    assert {row.name for row in plan.rows} == {row.name for row in table.rows} - {"WT-Rev-4"}
    assert plan_table(table).out == Path("runs/paper-small")
