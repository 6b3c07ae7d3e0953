"""The command `revgnn paper`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from revgnn.cli.app import app
from revgnn.cli.signals import StopRequest
from revgnn.experiments import all_tables
from revgnn.train.config import RunConfig
from revgnn.train.run.folder import RunFolder
from tests.experiments.small_table import add_small_table
from tests.experiments.stand_in import make_stand_in

SMALLEST = "RevGNN-224-L3-C4"


def paper(*words: object) -> Result:
    return CliRunner().invoke(app, ["paper", *map(str, words)])


def succeed(*words: object) -> str:
    result = paper(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuse(*words: object) -> str:
    """The one line on stderr of a command that must fail."""
    result = paper(*words)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def test_the_list_of_tables() -> None:
    text = succeed()
    assert all(table.name in text and table.source in text for table in all_tables())
    assert [entry["name"] for entry in json.loads(succeed("--json"))] == [table.name for table in all_tables()]


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_a_table(table) -> None:
    text = succeed(table.name)
    for row in table.rows:
        line = next(line for line in text.splitlines()[1:] if line.startswith(f"{row.name} "))
        assert f" {row.parameters:,} " in line
        assert row.published.parameters is None or f" {row.parameters:,}  {row.published.parameters} " in line
        assert row.published.score is None or f" {row.published.score:.4f} " in line
        assert line.endswith(row.preset.name)
    assert all(note in text for note in table.notes)
    assert "our GB" not in text
    assert len(json.loads(succeed(table.name, "--json"))["rows"]) == len(table.rows)


def test_a_row() -> None:
    text = succeed("table2", "--row", "wt_revgnn-64")
    assert "WT-RevGNN-64" in text
    assert "WT-RevGNN-80" not in text
    assert "1.60" in text
    assert "> 32" in succeed("table2", "--row", "resgnn-224")


def test_printing_a_table_needs_neither_torch_nor_kernels() -> None:
    """They take seconds to import or to compile."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom revgnn.cli.app import app\n"
        "for words in (['paper'], ['paper', 'table1'], ['paper', 'proteins', '--json']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        "print(sorted({'torch', 'numba', 'torch_geometric', 'scipy'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_measure(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_stand_in(real_data, tmp_path, monkeypatch)
    words = ("table1", "--row", SMALLEST, "--measure", "memory", "--root", root, "--device", "cpu")
    text = succeed(*words)
    assert "our GB" in text
    (row,) = json.loads(succeed(*words, "--json"))["rows"]
    assert f"one part of ogbn-proteins of {row['memory']['num_nodes']:,} nodes" in text
    assert row["memory_gb"] == round(row["memory"]["peak_bytes"] / 1e9, 4)
    assert f"{row['memory_gb']:.3f}" in text
    assert row["memory"]["peak_bytes"] > 16 * row["memory"]["parameters"]


def test_train_a_row(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_stand_in(real_data, tmp_path, monkeypatch)
    words = ("table1", "--row", SMALLEST, "--train", "--root", root, "--device", "cpu", "--out", tmp_path / "a")
    text = succeed(*words, "--epochs", 1, "-q")
    run = RunFolder(tmp_path / "a" / "revgnn-224-groups-4-depth-3" / "split-0-seed-0")
    result = run.result()
    assert result is not None
    assert (run.config().preset, run.config().model.depth, result["epochs"]) == ("revgnn-224-groups-4-depth-3", 3, 1)
    cells = next(line for line in text.splitlines() if line.startswith(f"| {SMALLEST}")).split(" | ")
    assert {"339k", f"{result['test']:.4f}", f"{result['peak_bytes'] / 1e6:.1f}"} <= set(cells)
    assert "already holds a run" in refuse(*words, "--epochs", 1)
    record = json.loads(succeed(*words, "--epochs", 2, "--resume", "--json"))
    row = next(row for row in record["rows"] if row["name"] == SMALLEST)
    assert (row["result"]["epochs"], row["multi_view"]) == (2, None)


def test_train_a_row_of_our_own_table(real_data: Path, tmp_path: Path) -> None:
    words = ("humanppi", "--row", "RevGNN-3", "--train", "--epochs", 1, "--root", real_data, "--device", "cpu", "--out", tmp_path)
    text = succeed(*words)
    for part in ("network 1 of 1: humanppi-revgnn-3", "epoch 1/1", "So far 1 of its 10 networks are trained.", "results "):
        assert part in " ".join(text.split())
    page = (tmp_path / "table.md").read_text()
    assert "`revgnn paper humanppi --train --row RevGNN-3 --epochs 1 --device cpu --root DIR --out DIR`" in page
    assert "`model.aggregation=mean`" in page
    assert str(tmp_path) not in page
    assert str(real_data) not in page + (tmp_path / "table.json").read_text()
    assert json.loads(succeed(*words, "--resume", "--json")) == json.loads((tmp_path / "table.json").read_text())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    add_small_table(monkeypatch)


def test_train_a_whole_table(small: None, tmp_path: Path) -> None:
    text = succeed("small", "--train", "--epochs", 1, "--out", tmp_path / "a", "-q")
    assert text == (tmp_path / "a" / "table.md").read_text() + "\n"
    assert "network 1 of 3" not in text


def test_a_network_that_cannot_be_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = RunConfig().replace({"model.depth": 2, "model.channels": 8, "parts": 2, "optim.lr": 1e30, "optim.clip_norm": None})
    add_small_table(monkeypatch, small_rev_2=bad.with_data("synthetic:nodes=240,degree=8,tasks=3"))
    result = paper("small", "--train", "--row", "Rev-2", "--out", tmp_path, "--device", "cpu")
    assert result.exit_code == 1
    assert result.stderr.startswith("small-rev-2 could not be trained: training diverged")
    assert "training diverged" in (tmp_path / "table.md").read_text()


def test_ctrl_c_prints_the_command_that_resumes(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["paper", "small", "--train", "--out", str(tmp_path), "-q"]
    monkeypatch.setattr("sys.argv", ["revgnn", *words])
    monkeypatch.setattr(StopRequest, "__call__", lambda self: True)  # asked to stop before the first step
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 130
    assert f"Go on with: revgnn paper small --train --out {tmp_path} -q --resume" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabel2"], "did you mean table2"),
        (["table2", "--row", "RevGN-64"], "did you mean RevGNN-64"),
        (["table2", "--row", "RevGN-64", "--measure", "memory"], "did you mean RevGNN-64"),
        (["correlation", "--row", "RevGNN-64"], "no networks as rows"),
        (["--row", "RevGNN-64"], "name a table"),
        (["--measure", "memory"], "name a table"),
        (["table2", "--measure", "time"], "--measure can be memory only, got time"),
        (["table2", "--measure"], "--measure"),
        (["correlation", "--train"], "nothing to train"),
        (["humanppi", "--measure", "memory"], "has labels as inputs"),
        (["table2", "--seeds", "0,1"], "belong to --train"),
        (["table2", "--train", "--seeds", "0,0"], "distinct whole numbers"),
        (["table2", "--row", "RevGNN-64", "--row", "RevGN-80", "--train"], "did you mean RevGNN-80"),
        (["table2", "--row", "RevGNN-64", "--train", "--measure", "memory"], "give one of them"),
        (["table2", "--epochs", "3"], "belong to --train"),
        (["table2", "--root", "x"], "belong to --measure and --train"),
        (["table2", "--row", "RevGNN-64", "--measure", "memory", "--device", "tpu"], "device: input should be"),
        (["table2", "--row", "RevGNN-64", "--measure", "memory", "--root", "/nowhere"], "/nowhere"),
        (["table2", "--row", "RevGNN-64", "--train", "--epochs", "0"], "epochs: input should be greater"),
        (["table2", "--row", "RevGNN-64", "--train", "--root", "/nowhere", "--out", "/nowhere/a"], "/nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refuse(*words)
    assert not list(tmp_path.iterdir())
