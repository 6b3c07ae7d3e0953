"""Every command, as a user runs it, and every mistake a user can make."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from revgnn.cli import app as app_module
from revgnn.cli.app import app
from revgnn.cli.signals import stop_on_signals
from revgnn.train.config import RunConfig
from revgnn.train.run.folder import RunFolder

GRAPH = "synthetic:nodes=240,degree=8,tasks=3"
SMALL = ["--preset", "revgnn-7", "--set", "model.depth=2", "--set", "model.channels=8", "--device", "cpu"]


def revgnn(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words: object) -> str:
    result = revgnn(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuse(*words: object) -> str:
    """Run a command that must fail, and return its one line on stderr."""
    result = revgnn(*words)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    return result.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained run. Tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    succeed("train", GRAPH, *SMALL, "--epochs", 2, "--out", folder, "--quiet")
    return folder


# --- commands -----------------------------------------------------------------------------------------------------------


def test_help_and_version() -> None:
    assert "Train very deep graph neural networks" in succeed("--help")
    assert succeed() == succeed("--help")
    assert succeed("--version").startswith("revgnn ")
    for command in ("train", "evaluate", "predict", "datasets", "presets"):
        assert "Usage" in succeed(command, "--help")


def test_train_prints_its_progress_and_its_result(tmp_path: Path) -> None:
    text = succeed("train", GRAPH, *SMALL, "--epochs", 2, "--out", tmp_path / "a")
    assert "240 nodes" in text
    assert "reversible, 2 layers of 8 channels" in text
    assert "epoch 2/2  loss " in text
    for word in ("best valid", "test", "peak memory", "an epoch", "parameters", str(tmp_path / "a")):
        assert word in text
    assert "\x1b" not in text  # no terminal, no control codes


def test_quiet_prints_the_result_only(tmp_path: Path) -> None:
    assert succeed("train", GRAPH, *SMALL, "--epochs", 1, "--out", tmp_path / "a", "-q").startswith("best valid")


def test_config_repeats_a_run(run: Path, tmp_path: Path) -> None:
    succeed("train", "--config", run / "config.yaml", "--out", tmp_path / "b", "-q")
    again, before = RunFolder(tmp_path / "b").result(), RunFolder(run).result()
    assert again is not None
    assert before is not None
    assert (again["valid"], again["test"]) == (before["valid"], before["test"])


def test_resume_needs_only_the_folder(tmp_path: Path) -> None:
    succeed("train", GRAPH, *SMALL, "--epochs", 1, "--out", tmp_path / "a", "-q")
    text = succeed("train", "--resume", "--out", tmp_path / "a", "--epochs", 2)
    assert "continuing after epoch 1 of 2" in text
    assert len(RunFolder(tmp_path / "a").metrics()) == 2


def test_auto_prints_what_it_chose_and_why(tmp_path: Path) -> None:
    """It is the default, its reasons are saved, and later commands do not choose again."""
    words = ("--epochs", 1, "--device", "cpu")
    text = succeed("train", GRAPH, *words, "--out", tmp_path / "a")
    lines = text.splitlines()[:10]
    config = RunFolder(tmp_path / "a").config()
    assert list(config.notes) == lines
    assert [line.split()[0] for line in lines[:3]] == ["graph", "convolution", "norm"]
    assert (config.preset, config.epochs, config.model.conv) == ("auto", 1, "gen")
    mine = ("--preset", "auto", "--set", "model.conv=gcn", "--set", "model.depth=5", "-q")
    assert "homophily" not in succeed("train", GRAPH, *words, *mine, "--out", tmp_path / "b")
    changed = RunFolder(tmp_path / "b").config().model
    assert (changed.conv, changed.depth) == ("gcn", 5)
    succeed("train", "--config", tmp_path / "b" / "config.yaml", *words, "--out", tmp_path / "c", "-q")
    assert RunFolder(tmp_path / "c").config().model == changed
    assert "auto" in succeed("presets")
    assert "depend on the graph" in succeed("presets", "auto")


def test_init_starts_from_another_run(run: Path, tmp_path: Path) -> None:
    succeed("train", GRAPH, *SMALL, "--epochs", 1, "--init", run, "--out", tmp_path / "a", "-q")
    assert RunFolder(tmp_path / "a").config().init == str(run)
    error = refuse("train", GRAPH, *SMALL, "--epochs", 1, "--init", tmp_path, "--out", tmp_path / "b")
    assert "no best.safetensors" in error


def test_some_splits(tmp_path: Path) -> None:
    words = ("train", "synthetic:nodes=240", *SMALL, "--epochs", 1, "-q", "--out")
    assert "split" in refuse(*words, tmp_path / "a", "--split", "0,7")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "g.npz", edge_index=rng.integers(0, 90, (2, 400)), y=rng.integers(0, 2, 90), x=rng.random((90, 3)))
    text = succeed("train", tmp_path / "g.npz", *words[2:], tmp_path / "b", "--split", "1,3")
    assert "split-3-seed-0" in text
    assert "2 runs" in text


def test_sweep(tmp_path: Path) -> None:
    text = succeed("train", GRAPH, *SMALL, "--epochs", 1, "--split", "all", "--seeds", "0,1", "--out", tmp_path / "a", "-q")
    assert "split-0-seed-1" in text
    assert "rocauc, 2 runs" in text
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["runs"] == 2
    assert f"{summary['test']['mean']:.4f} ± {summary['test']['std']:.4f}" in text


def test_students_of_a_sweep(tmp_path: Path) -> None:
    words = ("train", GRAPH, *SMALL, "--epochs", 1, "--seeds", "0,1", "-q")
    succeed(*words, "--out", tmp_path / "teachers")
    taught = ("--teacher", tmp_path / "teachers", "--set", "distillation.alpha=0.9")
    assert "2 runs" in succeed(*words, *taught, "--out", tmp_path / "students")
    student = RunFolder(tmp_path / "students" / "split-0-seed-1")
    assert student.teacher_file.exists()
    assert student.config().distillation is not None
    error = refuse("train", GRAPH, *SMALL, "--seed", 2, *taught, "--out", tmp_path / "b")
    assert "no teacher for split 0, seed 2" in error
    assert not (tmp_path / "b").exists()


def test_evaluate(run: Path) -> None:
    scores = json.loads(succeed("evaluate", run, "--views", 2, "--parts", 3, "--json"))
    assert (scores["views"], scores["parts"], scores["metric"]) == (2, 3, "rocauc")
    plain = succeed("evaluate", run)
    result = RunFolder(run).result()
    assert result is not None
    assert f"test {result['test']:.4f}" in plain


def test_predict(run: Path, tmp_path: Path) -> None:
    succeed("predict", run, "--out", tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["logits", "nodes", "probabilities", "splits"]


def test_predict_with_spread_and_calibration(run: Path, tmp_path: Path) -> None:
    words = ("predict", run, "--out", tmp_path / "p.npz", "--views", 3, "--parts", 2, "--calibrate")
    report = json.loads(succeed(*words, "--spread", "--amp", "bf16", "--json"))
    assert (report["views"], report["parts"], report["amp"]) == (3, 2, "bf16")
    assert {"logits_std", "probabilities_std", "calibrated", "temperatures"} <= report["arrays"].keys()
    assert "exists; replace it with --overwrite" in refuse(*words)
    text = succeed(*words, "--overwrite")
    assert "temperatures (3,)" in text
    assert "fitted on the validation nodes" in text
    assert "test         calibration error " in text
    assert "2 or more views of 2 or more parts, got 3 views of 1 parts" in refuse(
        *words[:4], "--overwrite", "--spread", "--views", 3, "--parts", 1
    )


def test_a_run_finds_its_data_elsewhere_and_knows_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"edge_index": rng.integers(0, 60, (2, 300)), "x": rng.random((60, 4), np.float32), "y": rng.integers(0, 3, 60)}
    file, moved, folder = tmp_path / "g.npz", tmp_path / "there" / "g.npz", tmp_path / "a"
    moved.parent.mkdir()
    np.savez(file, **arrays)
    succeed("train", file, *SMALL, "--epochs", 1, "--out", folder, "-q")
    file.rename(moved)
    assert "say where it is now with --data or --root" in refuse("evaluate", folder)
    for where in (("--data", moved), ("--root", moved.parent)):
        succeed("evaluate", folder, *where)
        succeed("predict", folder, *where, "--out", tmp_path / "p.npz", "--overwrite")
        succeed("train", "--resume", "--out", folder, *where, "--epochs", 2, "-q")
    np.savez(moved, **{**arrays, "y": (arrays["y"] + 1) % 3})
    for command in (("evaluate", folder), ("predict", folder, "--out", tmp_path / "q.npz"), ("correlate", folder, folder)):
        assert "changed: labels. " in refuse(*command)
        assert "changed: labels." in revgnn(*command, "--allow-changed-data").stderr
    resume = ("train", "--resume", "--out", folder, "--epochs", 3, "-q")
    assert "changed: labels. " in refuse(*resume)
    result = revgnn(*resume, "--allow-changed-data")
    assert result.exit_code == 0
    assert "warning: " in result.stderr
    assert "belong to --resume" in refuse("train", moved, "--data", moved)


def test_datasets() -> None:
    assert "tolokers" in succeed("datasets")
    entries = json.loads(succeed("datasets", "--json"))
    assert {"ogbn-proteins", "cora"} <= {entry["name"] for entry in entries}
    assert all(entry["source"] and entry["licence"] for entry in entries)


def test_presets(tmp_path: Path) -> None:
    text = succeed("presets")
    assert "20,031,384" in text
    path = tmp_path / "run.yaml"
    path.write_text(succeed("presets", "revgnn-deep"))
    assert RunConfig.from_yaml(path).model.depth == 1001


def test_compare_memory(tmp_path: Path) -> None:
    text = succeed(
        "train", GRAPH, *SMALL, "--set", "model.depth=24", "--epochs", 1, "--out", tmp_path / "a", "-q", "--compare-memory"
    )
    assert "peak by reversible; with every layer stored" in text
    assert "measured on one step" in text


def test_a_real_graph(tmp_path: Path, real_data: Path) -> None:
    settings = ["--set", "model.channels=16", "--set", "optim.lr=0.01", "--set", "evaluation.every=12"]
    settings += ["--set", "optim.schedule=constant", "--set", "optim.warmup=0"]  # twelve epochs are too few for a schedule
    succeed("train", "tolokers", "--root", real_data, *settings, "--epochs", 12, "--split", 2, "--out", tmp_path / "a", "-q")
    result = RunFolder(tmp_path / "a").result()
    assert result is not None
    assert (result["dataset"].lower(), result["metric"], result["split"]) == ("tolokers", "rocauc", 2)
    assert result["test"] > 0.6
    assert "tolokers" in succeed("evaluate", tmp_path / "a").lower()


# --- mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tolokerz"], "tolokers"),
        (["cora", "--root", "/nowhere"], "/nowhere"),
        (["/nowhere/graph.npz"], "/nowhere/graph.npz"),
        ([GRAPH, "--preset", "revgnn-29"], "did you mean revgnn-28"),
        ([GRAPH, "--set", "model.chanels=32"], "did you mean model.channels"),
        ([GRAPH, "--set", "model.depth"], "form KEY=VALUE"),
        ([GRAPH, "--set", "model.channels=63"], "channels must be a multiple of groups"),
        ([GRAPH, "--set", "data.self_loop=true"], "did you mean data.self_loops"),
        ([GRAPH, "--set", "parts=1000"], "parts must be between 1 and the number of nodes (240)"),
        ([GRAPH, "--epochs", "0"], "epochs: input should be greater than or equal to 1"),
        ([GRAPH, "--epochs", "many"], "--epochs"),
        ([GRAPH, "--device", "tpu"], "device: input should be 'auto', 'cpu' or 'cuda'"),
        ([GRAPH, "--amp", "int8"], "amp: input should be"),
        ([GRAPH, "--split", "7"], "split"),
        ([GRAPH, "--split", "random"], "split"),
        ([GRAPH, "--seeds", "1,x"], "distinct whole numbers"),
        ([GRAPH, "--config", "/nowhere.yaml"], "/nowhere.yaml"),
        ([GRAPH, "--preset", "revgnn-7", "--config", "x.yaml"], "give one of them"),
        ([GRAPH, "--presett", "revgnn-7"], "--preset"),
        ([GRAPH, "--resume", "--overwrite"], "give one of them"),
        (["--preset", "revgnn-28"], "name one"),
        ([], "name a data set"),
        (["--resume"], "name a data set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_of_train(words: list[str], message: str, tmp_path: Path) -> None:
    assert message in refuse("train", *words, "--out", tmp_path / "a") if "--resume" not in words else refuse("train", *words)
    assert not (tmp_path / "a").exists()


def test_mistakes_elsewhere(tmp_path: Path, run: Path) -> None:
    assert "is not a folder" in refuse("evaluate", tmp_path / "nothing")
    assert "no config.yaml" in refuse("evaluate", tmp_path)
    assert "No such command 'trian'" in refuse("trian")
    assert "did you mean tolokers" in refuse("presets", "tolokerz")
    assert "--out" in refuse("predict", run)
    assert "create it" in refuse("predict", run, "--out", tmp_path / "no" / "p.npz")
    assert "evaluation.parts" in refuse("evaluate", run, "--parts", 0)


def test_a_run_is_not_overwritten(run: Path) -> None:
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    assert "already holds a run" in refuse("train", GRAPH, *SMALL, "--out", run)
    assert "model.depth was 2, is now 3" in refuse(
        "train", GRAPH, *SMALL, "--set", "model.depth=3", "--epochs", 2, "--out", run, "--resume"
    )
    assert "seed was 0, is now 5" in refuse("train", "--resume", "--out", run, "--seed", 5)
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


def test_damaged_files(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    succeed("train", GRAPH, *SMALL, "--epochs", 1, "--out", folder, "-q")
    for name, command in (("last.safetensors", ("train", "--resume", "--out", folder)), ("best.safetensors", ("evaluate", folder))):
        (folder / name).write_bytes((folder / name).read_bytes()[:-30])
        assert "is damaged" in refuse(*command)
    (folder / "best.safetensors").unlink()
    assert "best.safetensors does not exist" in refuse("evaluate", folder)
    (folder / "config.yaml").write_text("epochs: [")
    assert "not valid YAML" in refuse("evaluate", folder)


def test_debug_shows_the_traceback_at_any_position(tmp_path: Path) -> None:
    for words in (("--debug", "evaluate", tmp_path), ("evaluate", tmp_path, "--debug")):
        result = revgnn(*words)
        assert result.exc_info is not None
        assert "no config.yaml" in str(result.exception)


def test_bugs_are_not_reported_as_mistakes_of_the_user(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr("revgnn.train.inference.saved_run.prepare", broken)
    assert isinstance(revgnn("evaluate", run).exception, KeyError)


# --- processes ----------------------------------------------------------------------------------------------------------


def start(*words: object, folder: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-u", "-m", "revgnn", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=folder, text=True, preexec_fn=hear_signals, **pipes)


def hear_signals() -> None:
    """The tests themselves may run in the background or under nohup, where a process ignores what its children inherit."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def test_ctrl_c_saves_the_run_and_prints_how_to_continue(tmp_path: Path) -> None:
    process = start("train", GRAPH, *SMALL, "--set", "parts=3", "--epochs", 100_000, "--out", tmp_path / "a")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch "):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after this step" in stderr
    assert f"Go on with: revgnn train {GRAPH}" in stderr.replace("'", "")
    assert stderr.rstrip().endswith("--resume")
    done = len(RunFolder(tmp_path / "a").metrics())
    assert done >= 1
    text = succeed("train", "--resume", "--out", tmp_path / "a", "--epochs", done + 1)
    assert f"continuing after epoch {done} of {done + 1}" in text


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)], ids=lambda number: number.name
)
def test_a_run_that_is_asked_to_end_repeatedly_saves(tmp_path: Path, number: signal.Signals) -> None:
    """Shells and service managers send such signals twice, or one after the other."""
    process = start("train", GRAPH, *SMALL, "--set", "parts=3", "--epochs", 100_000, folder=tmp_path)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch "):
        assert process.poll() is None
    for _ in range(3):
        process.send_signal(number)
        process.send_signal(signal.SIGHUP)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (128 + number, 128 + signal.SIGHUP)
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"--out {folder.relative_to(tmp_path)} --resume" in stderr.replace("'", "")
    assert "Traceback" not in stderr
    done = len(RunFolder(folder).metrics())
    assert "continuing after epoch" in succeed("train", "--resume", "--out", folder, "--epochs", done + 1)


def test_a_run_whose_terminal_closes_saves(tmp_path: Path) -> None:
    """Its output has nowhere to go from then on, which must not end it before it has saved."""
    import pty

    child, terminal = pty.fork()
    if child == 0:  # the session leader of a new terminal, as in a window
        hear_signals()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"}
        words = ["train", GRAPH, *SMALL, "--set", "parts=3", "--epochs", "100000", "--out", str(tmp_path / "a")]
        os.execve(sys.executable, [sys.executable, "-m", "revgnn", *words], environment)
    seen = b""
    while b"loss " not in seen:
        seen += os.read(terminal, 65536)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    done = len(RunFolder(tmp_path / "a").metrics())
    assert done >= 1
    assert "continuing after epoch" in succeed("train", "--resume", "--out", tmp_path / "a", "--epochs", done + 1)


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_runs_started_at_once_without_a_folder_have_folders_of_their_own(tmp_path: Path) -> None:
    words = ("train", GRAPH, *SMALL, "--epochs", 3, "-q")
    processes = [start(*words, "--seed", seed, folder=tmp_path) for seed in (0, 1)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    folders = list((tmp_path / "runs").iterdir())
    assert sorted(RunFolder(folder).config().seed for folder in folders) == [0, 1]
    for folder in folders:
        assert [line["epoch"] for line in RunFolder(folder).metrics()] == [1, 2, 3]


def test_a_terminal_shows_live_lines(tmp_path: Path) -> None:
    import pty

    main, side = pty.openpty()
    command = [sys.executable, "-m", "revgnn", "train", GRAPH, *SMALL, "--epochs", "3", "--out", str(tmp_path / "a")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(command, env=environment, stdout=side, stderr=subprocess.PIPE)
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # raised on Linux when the other side is closed
        pass
    _, stderr = process.communicate(timeout=60)
    os.close(main)
    assert process.returncode == 0, stderr
    text = seen.decode()
    assert "\x1b[" in text
    assert "epoch 3/3" in text
    assert text.count("best valid") == 1


@pytest.mark.parametrize("file", sorted(Path(app_module.__file__ or "").parent.glob("*.py")), ids=lambda path: path.stem)
def test_commands_import_heavy_modules_only_when_they_run(file: Path) -> None:
    """`revgnn --help` must not import torch."""
    light = {"typer", "revgnn.cli", "revgnn._text", "revgnn._version", "revgnn._words", *sys.stdlib_module_names}
    for node in ast.parse(file.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert light & {name, name.partition(".")[0], ".".join(name.split(".")[:2])}, f"{name} is imported on start"
