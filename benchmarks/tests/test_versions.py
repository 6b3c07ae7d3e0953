"""Two versions beside each other: equal bits are required, and the record says what a reader needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.versions import cases, command, process, worker

ROOT = Path(__file__).resolve().parents[2]

ANOTHER_VERSION = """
__path__ = [{package!r}]
exec(compile(open({package!r} + "/__init__.py").read(), __file__, "exec"))

import revgnn.ops

_norm_relu = revgnn.ops.norm_relu
revgnn.ops.norm_relu = lambda *args, **kwargs: _norm_relu(*args, **kwargs) * (1 + 1e-6)
"""
"""A package with the modules of this checkout, but for one operator."""


@pytest.fixture
def another_version(tmp_path: Path) -> Path:
    """Root of a checkout whose `norm_relu` gives other bits."""
    package = tmp_path / "other" / "src" / "revgnn"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(ANOTHER_VERSION.format(package=str(ROOT / "src" / "revgnn")))
    return tmp_path / "other"


@pytest.mark.slow
def test_result_line(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("versions", "--quick", "--old", str(ROOT)) == 0
    (result,) = bench.lines("versions")
    names = ["batch: step, 64 channels, 2 groups, 7 layers", "small: norm_relu, forward", "small: norm_relu, backward"]
    assert list(result["seconds"]) == list(result["new_over_old"]) == names
    assert all({name: len(s) for name, s in seconds.items()} == {"old": 2, "new": 2} for seconds in result["seconds"].values())
    assert result["old_commit"] == result["new_commit"]
    (peak,) = result["peak_bytes"].values()
    assert peak["old"] == peak["new"] > 0
    printed = capsys.readouterr().out
    assert "every output and gradient has the same bits" in printed
    assert "the geometric mean of the ratios is" in printed


@pytest.mark.slow
def test_other_bits_print_no_figures(bench, another_version: Path, capsys: pytest.CaptureFixture[str]):
    assert bench("versions", "--quick", "--only", "small: norm_relu", "--old", str(another_version)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no figures, because the results are wrong: small: norm_relu, forward: the versions differ in value" in printed.err
    assert not bench.folder.exists()


def test_what_differs_is_named():
    command.check_equal("a", {"value": "1", "gradient of x": "2"}, {"value": "1", "gradient of x": "2"})
    with pytest.raises(AssertionError, match="a: the versions differ in gradient of x"):
        command.check_equal("a", {"value": "1", "gradient of x": "2"}, {"value": "1", "gradient of x": "3"})
    with pytest.raises(AssertionError, match="a: only one version has gradient of x"):
        command.check_equal("a", {"value": "1"}, {"value": "1", "gradient of x": "3"})


def test_the_version_that_goes_first_changes():
    order: list[str] = []

    class Recorder(process.Worker):
        def __init__(self, name: str) -> None:
            self.name = name

        def time(self, case: str, calls: int) -> float:
            order.append(self.name)
            return 1.0 if self.name == "old" else 1.5

    seconds: dict[str, dict[str, list[float]]] = {"a": {"old": [], "new": []}}
    workers = {"old": Recorder("old"), "new": Recorder("new")}
    for rounds in (range(2), range(2, 3)):
        command.measure(workers, {"a": 2}, rounds, seconds, lambda note="", by=1: None)
    assert order == ["old", "new", "new", "old", "old", "new"]
    assert command.compare(seconds["a"]) == {"median": 1.5, "low": 1.5, "high": 1.5, "fastest": 1.5}


@pytest.mark.slow
def test_every_case_repeats_its_bits():
    graphs = {name: cases.Inputs(**tensors) for name, tensors in command.make_inputs(60, 400).items()}
    factories = cases.make_cases({"batch": graphs["batch"]})
    reducers = ("max", "mean", "sum", "softmax", "power")
    operators = [*(f"aggregate, {how}" for how in reducers), "norm_relu", "perceptron", "propagate", "edge_softmax"]
    assert {f"batch: {name}, {way}" for name in operators for way in ("forward", "backward")} <= factories.keys()
    for name, make in factories.items():
        if "layers" not in name:
            first, again = (worker.describe(make())["digests"] for _ in range(2))
            assert first == again, name


def test_a_folder_without_sources_is_refused(bench, tmp_path: Path):
    with pytest.raises(ValueError, match="has no src/revgnn; name the root of a checkout"):
        bench("versions", "--quick", "--old", str(tmp_path))


@pytest.mark.slow
def test_a_case_that_is_not_there_is_refused(bench):
    with pytest.raises(ValueError, match="no case contains 'speed'; the cases are: batch: step"):
        bench("versions", "--quick", "--old", str(ROOT), "--only", "speed")


@pytest.mark.slow
def test_a_process_that_dies_is_reported(tmp_path: Path):
    with pytest.raises(RuntimeError, match="the process of the old version ended with code 1"):
        process.Worker("old", ROOT, tmp_path / "missing.pt")
