"""What commands show while they work: something from the start on, last and best scores, all of it in 60 columns."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from revgnn.cli import phases
from revgnn.cli.app import app
from revgnn.cli.phases import LatePhases
from revgnn.cli.progress import Display, Scores, _LiveLines, _PlainLines
from revgnn.train import train
from revgnn.train.config import RunConfig
from revgnn.train.run.events import BestSoFar, Ended, EpochEnded, Evaluating, Event, Started, Stepped
from tests.experiments.small_table import add_small_table

WIDTH = 60
GRAPH = "synthetic:nodes=240,degree=8,tasks=3"
SMALL = ["--preset", "revgnn-7", "--set", "model.depth=2", "--set", "model.channels=8", "--device", "cpu"]


def events(*, epochs: int = 2000, best: BestSoFar | None = None, every: int = 1, loss: float = 0.7021) -> list[Event]:
    """The events of a run in its last epochs, the second last of them the best."""
    config = RunConfig(epochs=epochs).with_data(GRAPH)
    started = Started(config, Path("runs/a"), "240 nodes " * 12, "rocauc", 1_234_567, "cpu", epochs - 4, best=best)
    told: list[Event] = [started]
    for epoch in range(epochs - 3, epochs + 1):
        told += [Stepped(epoch, step, 10, loss) for step in range(1, 11)]
        if epoch % every == 0:
            told.append(Evaluating(epoch))
        scores = (0.5, 0.4 + 0.1 * (epoch == epochs - 1), 0.3) if epoch % every == 0 else (None, None, None)
        told.append(EpochEnded(epoch, loss, *scores, 4000.0, 123_456_789, is_best=epoch == epochs - 1 and epoch % every == 0))
    return told


def frame(display: _LiveLines) -> str:
    """Return what is drawn now."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
    console.print(display._frame())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def assert_fits(text: str) -> None:
    """A path, which must not be cut, may be longer by itself."""
    assert [line for line in text.splitlines() if len(line) > WIDTH and " " in line.strip()] == []


# --- a terminal ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def live(narrow: None) -> Any:
    display = _LiveLines(err=True)
    yield display
    display.close()


@pytest.mark.parametrize("best", [None, BestSoFar(1, 0.45, None)], ids=["new", "resumed"])
@pytest.mark.parametrize("loss", [0.7021, 123_456_789.0], ids=["small", "large"])
def test_every_frame_fits_and_has_both_scores(live: _LiveLines, best: BestSoFar | None, loss: float) -> None:
    assert "loading PyTorch" in frame(live)
    live.phase("reading " + "a" * 80)
    assert "reading aaa" in frame(live)
    assert_fits(frame(live))
    for event in events(best=best, loss=loss):
        live(event)
        drawn = frame(live)
        assert_fits(drawn)
        assert "…" not in drawn
        if isinstance(event, Started):
            assert "first step" in drawn
            assert ("best  valid 0.4500" in drawn) == (best is not None)
        elif isinstance(event, Stepped):
            assert f"step {event.step}/10" in drawn
        elif isinstance(event, Evaluating):
            assert "evaluating" in drawn
    assert "epoch 2000/2000" in drawn
    assert f"last  loss {loss:.4f}  train 0.5000" in drawn
    assert "valid 0.4000" in drawn
    assert "best  valid 0.5000  test 0.3000  epoch 1999" in drawn
    assert "peak 123.5 MB  1:06:40/epoch" in drawn


@pytest.mark.parametrize("kind", [_LiveLines, _PlainLines])
def test_test_scores_are_left_out_where_a_run_is_chosen(
    kind: type[Display], narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    display = kind(err=False)
    display.shows_test = False
    drawn = []
    for event in events(best=BestSoFar(1, 0.45, 0.3)):
        display(event)
        drawn.append(frame(display) if isinstance(display, _LiveLines) else "")
    display.close()
    text = "".join([*drawn, *capsys.readouterr()])
    assert "valid 0.4000" in text
    assert "test" not in text


def test_a_run_on_a_terminal(tmp_path: Path) -> None:
    """What reaches the terminal, line by line; the first is there before PyTorch is."""
    import pty
    import struct
    import termios
    from fcntl import ioctl

    main, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    words = ["train", GRAPH, *SMALL, "--epochs", "3", "--out", "a"]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"OMP_NUM_THREADS": "1", "TERM": "xterm"}
    command = [sys.executable, "-m", "revgnn", *words]
    process = subprocess.Popen(command, env=environment, stdin=side, stdout=side, stderr=side, cwd=tmp_path)
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # raised on Linux when the other side is closed
        pass
    os.close(main)
    assert process.wait(timeout=60) == 0
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()))
    assert_fits("\n".join(lines))
    assert "loading PyTorch" in lines[0]
    text = "\n".join(lines)
    assert "reading synthetic:nodes=240" in text
    last, best = (max(i for i, line in enumerate(lines) if line.startswith(name)) for name in ("last  loss", "best  valid"))
    result = next(i for i, line in enumerate(lines) if line.startswith("best valid"))
    assert last < best < result
    assert re.search(r"best valid   (0\.\d{4})", text)[1] in lines[best]  # type: ignore[index]


# --- a file -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [WIDTH, None])
def test_lines_in_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int | None) -> None:
    monkeypatch.setenv("COLUMNS", str(width or ""))
    display = _PlainLines(err=False)
    for event in events():
        display(event)
    display.close()
    text = capsys.readouterr().out
    if width is not None:
        assert_fits(text)
    assert "best 0.5000 (epoch 1999)" in " ".join(text.split("epoch 2000/2000")[1].split())
    assert "valid 0.4000" in text.split("epoch 2000/2000")[1]
    assert "\x1b" not in text


def test_scores_stay_until_the_next_evaluation() -> None:
    told = events(every=3)
    assert isinstance(told[0], Started)
    scores = Scores(told[0])
    shown = []
    for event in told[1:]:
        if isinstance(event, EpochEnded):
            scores.add(event)
            shown.append("  ".join(scores.last_fields()))
    assert shown[0] == "loss 0.7021  train -  valid -  test -"
    assert shown[1:] == ["loss 0.7021  train 0.5000  valid 0.4000  test 0.3000"] * 3  # those of epoch 1998


def test_a_phase_that_lasts_is_named_in_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(phases, "LATE_SECONDS", 0.01)
    with LatePhases(err=True) as late:
        late("reading")
        assert late._timer is not None
        late._timer.join()
        monkeypatch.setattr(phases, "LATE_SECONDS", 600.0)
        late("predicting")
    assert capsys.readouterr().err == "reading ...\n"


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(err=False)
    for event in events():
        display(event)
    display.say("a")
    display.phase("b")
    display.close()
    assert capsys.readouterr() == ("", "")


def test_the_events_of_a_run(tmp_path: Path) -> None:
    """A resumed run says what was best; an evaluation is announced; the end brings the result."""
    config = RunConfig(epochs=2).with_data(GRAPH).replace({"model.depth": 2, "model.channels": 8, "device": "cpu"})
    config = config.replace({"evaluation.every": 1, "optim.schedule": "constant"})
    told: list[Event] = []
    result = train(config, tmp_path / "a", hooks=[told.append])
    assert isinstance(told[0], Started)
    assert told[0].best is None
    assert [type(event).__name__ for event in told[-4:]] == ["Stepped", "Evaluating", "EpochEnded", "Ended"]
    assert told[-1] == Ended(tmp_path / "a", result)
    again: list[Event] = []
    train(config.replace({"epochs": 3}), tmp_path / "a", resume=True, hooks=[again.append])
    assert isinstance(again[0], Started)
    assert again[0].best == BestSoFar(result.best_epoch, result.valid, result.test)


# --- every command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the run `a`, and the sweep `s`. Tests must not change them."""
    folder = tmp_path_factory.mktemp("runs")
    for out, seeds in (("a", ["--seed", "0"]), ("s", ["--seeds", "0,1"])):
        words = ["train", GRAPH, *SMALL, "--epochs", "1", *seeds, "--out", str(folder / out), "-q"]
        assert CliRunner().invoke(app, words).exit_code == 0
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["train", GRAPH, *SMALL, "--epochs", "2", "--out", "new", "--compare-memory"],
        ["train", GRAPH, "--epochs", "1", "--out", "auto"],
        ["train", GRAPH, *SMALL, "--epochs", "1", "--seeds", "0,1", "--out", "seeds"],
        ["tune", GRAPH, *SMALL, "--epochs", "1", "--budget", "2s", "--out", "tuned"],
        ["evaluate", "a"],
        ["evaluate", "s"],
        ["predict", "a", "--out", "p.csv", "--calibrate"],
        ["predict", "a", "--out", "p.npz"],
        ["correlate", "s/split-0-seed-0", "s/split-0-seed-1"],
        ["presets"],
        ["datasets"],
        ["datasets", "--formats"],
        ["config"],
        ["config", "model.conv"],
        ["paper"],
        ["paper", "table2"],
        ["paper", "table3"],
    ],
    ids=" ".join,
)
def test_what_a_command_prints_fits(run: Path, narrow: None, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(run)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert_fits("\n".join(line for line in result.stdout.splitlines() if " " in line.strip()))  # a path is not broken


def test_what_was_read_fits(run: Path, narrow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    Path("shop").mkdir()
    rows = [f"c{i},{20 + i},{'Rome' if i % 2 else 'a name that is much longer than others'},{'xy'[i % 2]}" for i in range(40)]
    Path("shop/nodes.csv").write_text("\n".join(["customer,age,city of residence,plan", *rows]) + "\n")
    Path("shop/edges.csv").write_text("\n".join(["buyer,seller", *(f"c{i},c{(7 * i + 1) % 40}" for i in range(40))]) + "\n")
    result = CliRunner().invoke(app, ["train", "shop/", *SMALL, "--epochs", "1", "--label", "plan", "--out", "t"])
    assert result.exit_code == 0, result.output
    assert_fits(result.stdout)
    assert "categorical" in result.stdout


def test_a_table_that_is_trained_fits(narrow: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page is in table.md; shown are the networks with their scores."""
    add_small_table(monkeypatch)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["paper", "small", "--train", "--epochs", "1", "--device", "cpu", "--out", "a"])
    assert result.exit_code == 0, result.output
    assert_fits(result.stdout)
    record = json.loads(Path("a/table.json").read_text())
    for row in record["rows"]:
        assert f"valid {row['result']['valid']['mean']:.4f}" in result.stdout
        assert f"test {row['result']['test']['mean']:.4f}" in result.stdout


def test_the_checks_of_verify_fit(narrow: None) -> None:
    from revgnn.cli.verify import print_table
    from revgnn.testing.verify import Finding

    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, highlight=False)
    compared = "cpu kernels and plain torch: value and gradients, float32, some in float64 too, 26 inputs"
    found = Finding("aggregate softmax, learned", compared, " 4.3e-06", " 8.3e-06", 9.5, "FAILED", "it is wrong. " * 12)
    print_table([found, found], console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert_fits(text)
    for part in ("FAILED", "off by 4.3e-06", "allowed 8.3e-06", "9.5 s"):
        assert part in text
