"""`revgnn report` and `revgnn watch` as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from revgnn.cli.app import app
from revgnn.experiments.run_files.terminal import sparkline
from revgnn.train.run.lock import owning

TRAIN = ("--preset", "revgnn-7", "--set", "model.depth=2", "--set", "model.channels=8", "--device", "cpu", "-q")


def revgnn(*words: object, columns: int = 60) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": str(columns)})


def refuse(*words: object) -> str:
    result = revgnn(*words)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep, as `revgnn train` writes it."""
    folder = tmp_path_factory.mktemp("runs") / "my sweep"
    result = revgnn("train", "synthetic:nodes=200,degree=6,tasks=2", *TRAIN, "--epochs", 2, "--seeds", "0,1", "--out", folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"report       revgnn report '{folder}'"
    return folder


def documented(command: str) -> list[str]:
    """Return the fields of --json that docs/report.md lists, in their order."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    rows = page.split(f"| field of `{command}` | |")[1].split("\n\n")[0]
    return [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")]


def unfinished(folder: Path, name: str, epochs: int) -> Path:
    """Write the files of a run that has trained some of 200 epochs."""
    run = folder / name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("data: {name: synthetic}\nepochs: 200\n")
    lines = [
        {"epoch": n, "loss": 1 / n, "valid": n / 400, "test": n / 500, "seconds": 1.5, "peak_bytes": 10**6}
        for n in range(1, epochs + 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 99, "lo')
    return run


# --- report -------------------------------------------------------------------------------------------------------------


def test_report_of_a_sweep(runs: Path) -> None:
    result = revgnn("report", runs, "--no-png", "--details", 0)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"report       {runs}/report/report.html", "pictures     2 files beside it"]
    result = revgnn("report", runs / "split-0-seed-0", runs / "split-0-seed-1", "--json", "--no-png", "--out", runs / "report")
    values = json.loads(result.stdout)
    assert list(values) == documented("report")
    assert values["page"] == str(runs / "report" / "report.html")
    assert values["runs"] == 2
    assert "tasks.svg" in values["pictures"]
    assert values["notes"] == []
    assert result.stderr.startswith("looking into the weights of split-0-seed-")


def test_mistakes_with_reports(runs: Path, tmp_path: Path) -> None:
    assert "does not exist" in refuse("report", tmp_path / "nowhere")
    assert "no run here" in refuse("report", tmp_path)
    assert "such as 10x3" in refuse("report", runs, "--views", "10")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    assert "choose another --out" in refuse("report", runs, "--out", tmp_path / "full")


# --- watch --------------------------------------------------------------------------------------------------------------


def test_watch_one_finished_run(runs: Path) -> None:
    result = revgnn("watch", runs / "split-0-seed-0")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == "split-0-seed-0  finished"
    assert lines[1].startswith("epoch   2/2  █")
    assert [line.split()[0] for line in lines[2:]] == ["loss", "train", "valid", "test", "best", "costs"]


def test_watch_is_legible_at_60_columns(runs: Path, tmp_path: Path) -> None:
    name = "a-run-with-a-very-long-name-\x1b[31m[bold]markup[red]-which-differs-at-its-end"
    unfinished(tmp_path, f"{name}-1", 12)
    unfinished(tmp_path, f"{name}-2", 0)
    with owning(tmp_path / f"{name}-1"):
        for width in (60, 80, 100, 200):
            result = revgnn("watch", tmp_path, "--once", columns=width)
            assert result.exit_code == 0
            lines = result.stdout.splitlines()
            assert max(map(len, lines)) <= width
            assert lines[0] == "2 runs: 1 running, 1 stopped"
            first, second = lines[2:4]
            assert re.search(r"-1 +running +12/200 +0\.0300 +4:42", first)  # 188 epochs of 1.5 s
            assert re.search(r"-2 +stopped +0/200 +- +-", second)
            assert "\x1b" not in result.output
        other = unfinished(tmp_path, "b", 1)
        (other / "result.json").write_text('{"metric": "mae"}')
        (other / "config.yaml").write_text("data: {name: Cora}\n")
        assert "validation mae" not in revgnn("watch", tmp_path, "--once").stdout  # that of one run only
        assert "…" in revgnn("watch", tmp_path, "--once").stdout
        assert "[bold]markup[red]" in revgnn("watch", tmp_path, "--once", columns=260).stdout


def test_watch_as_json(tmp_path: Path) -> None:
    assert json.loads(revgnn("watch", tmp_path, "--json").stdout) == []
    assert "no run here yet" in revgnn("watch", tmp_path).stdout
    run = unfinished(tmp_path, "a", 3)
    (values,) = json.loads(revgnn("watch", tmp_path, "--json").stdout)
    assert list(values) == documented("watch")
    assert values == {
        "run": str(run),
        "name": "a",
        "state": "stopped",
        "metric": None,
        "epoch": 3,
        "epochs": 200,
        "loss": 1 / 3,
        "train": None,
        "valid": 3 / 400,
        "test": 3 / 500,
        "best_epoch": 3,
        "best_valid": 3 / 400,
        "best_test": 3 / 500,
        "peak_bytes": 10**6,
        "epoch_seconds": 1.5,
        "seconds_left": None,
        "problem": None,
    }
    assert "does not exist" in refuse("watch", tmp_path / "nowhere")


def test_watch_follows_a_run_until_ctrl_c(tmp_path: Path) -> None:
    """In a terminal of 60 columns: new epochs appear, and Ctrl-C ends it with 0."""
    run = unfinished(tmp_path, "a", 3)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "revgnn", "watch", str(tmp_path), "--every", "0.1"]
    environment = {**os.environ, "COLUMNS": "60", "LINES": "20", "TERM": "xterm"}
    # a shell in the background ignores Ctrl-C, and its processes inherit that
    heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment, preexec_fn=heeding)
    os.close(theirs)
    try:
        assert "3/200" in _until(ours, "3/200")
        with open(run / "metrics.jsonl", "a") as file:
            file.write('ss": 0.5}\n' + json.dumps({"epoch": 100, "loss": 0.25, "valid": 0.75, "seconds": 1.0}) + "\n")
        assert "0.7500" in _until(ours, "best    0.7500")
        process.send_signal(signal.SIGINT)
        _until(ours, None)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _until(terminal: int, text: str | None) -> str:
    """Read what a terminal shows until a text appears; None: to its end."""
    shown, ends = "", time.monotonic() + 60
    while time.monotonic() < ends:
        if text is not None and text in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown):
            return shown
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if ready:
            try:
                part = os.read(terminal, 1 << 16)
            except OSError:  # the other side is closed
                part = b""
            if not part:
                break
            shown += part.decode(errors="replace")
    assert text is None, shown
    return shown


def test_curves_of_a_line() -> None:
    assert sparkline([0, 1], 10) == "▁█"
    assert sparkline([0, 0, 1, 1], 2) == "▁█"
    assert sparkline([2, 2, 2], 9) == "▁▁▁"
    assert sparkline([1], 9) == sparkline([], 9) == sparkline([1, 2], 1) == ""
    assert len(sparkline(list(range(1000)), 30)) == 30
