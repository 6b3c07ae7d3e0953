"""A step on a whole graph, layer by layer."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import torch

from benchmarks import checks, full_batch, harness
from benchmarks.layer_clock import BACKWARD_WEIGHT, LayerClock
from benchmarks.networks import TASKS, Shape, revgnn_model
from revgnn.stack import ResidualStack


def test_forward_and_backward(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("full-batch", "--quick") == 0
    (result,) = bench.lines("full-batch")
    assert {direction: len(s) for direction, s in result["layer_seconds"].items()} == {"forward": 3, "backward": 3}
    assert sum(result["layer_seconds"]["forward"]) <= result["forward_seconds"]
    assert result["graph_bytes"] == 201 * 8 + 3000 * (4 + 8 * 4)
    assert result["peak_bytes"] > 200 * 16 * 4
    assert "peak within the step" in capsys.readouterr().out


def test_inference(bench):
    assert bench("full-batch", "--quick", "--inference") == 0
    (result,) = bench.lines("full-batch")
    assert {direction: len(s) for direction, s in result["layer_seconds"].items()} == {"forward": 3}
    assert "backward_seconds" not in result


def test_inference_needs_no_more_for_more_layers_and_keeps_nothing_for_a_backward_pass(bench):
    shape = ("--quick", "--nodes", "2000", "--edges", "4000")
    assert bench("full-batch", *shape, "--inference", "--depth", "2") == 0
    assert bench("full-batch", *shape, "--inference", "--depth", "12") == 0
    assert bench("full-batch", *shape, "--depth", "12") == 0
    shallow, deep, training = (result["peak_bytes"] for result in bench.lines("full-batch"))
    assert deep <= shallow + 5000
    assert deep < 0.9 * training


def test_a_forward_pass_that_begins_anew_is_no_backward_pass(
    bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    scaled = full_batch.scaled
    monkeypatch.setattr(full_batch, "scaled", lambda x, how: 5e3 * scaled(x, how))  # beyond the grid's 1,024
    with pytest.warns(UserWarning, match="Going on with"):
        assert bench("full-batch", "--quick") == 0
    (result,) = bench.lines("full-batch")
    assert {direction: len(s) for direction, s in result["layer_seconds"].items()} == {"forward": 3, "backward": 3}
    assert result["forward_reruns"] == 1
    assert sum(result["layer_seconds"]["forward"]) < result["forward_seconds"]
    assert "began anew on a coarser one" in capsys.readouterr().out


def test_progress_adds_up_though_the_forward_pass_begins_anew():
    stack = ResidualStack([torch.nn.Identity() for _ in range(4)])
    ticked: list[float] = []
    clock = LayerClock(stack, {"forward": [], "backward": []}, lambda note="", by=1: ticked.append(by))
    for direction, passes in (("forward", 2), ("backward", 1)):
        clock.start(direction)
        for _ in range(passes):
            for layer in stack.layers:
                layer.blocks[0](torch.zeros(1))  # pyright: ignore[reportIndexIssue, reportCallIssue]
    clock.stop()
    assert sum(ticked) == 4 * (1 + BACKWARD_WEIGHT)
    assert clock.reruns == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_run_that_is_told_to_end_keeps_its_layers(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    tick = LayerClock._evaluated

    def then_end(self, *args: object) -> None:
        tick(self, *args)
        if len(self._passes["forward"]) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(LayerClock, "_evaluated", then_end)
    with pytest.raises(SystemExit) as stop:
        bench("full-batch", "--quick", "--inference")
    assert stop.value.code == 128 + signal.SIGTERM
    (result,) = bench.lines("full-batch")
    assert result["stopped_by"] == "Terminated"
    assert len(result["layer_seconds"]["forward"]) == 2
    assert "forward 2 of 3 layers" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_layers_are_put_on_disk_meanwhile(bench, monkeypatch: pytest.MonkeyPatch):
    kept: list[int] = []
    monkeypatch.setattr(full_batch, "SAVE_INTERVAL", -1.0)
    monkeypatch.setattr(harness.Result, "save_partial", lambda self: kept.append(len(self["layer_seconds"]["forward"])))
    assert bench("full-batch", "--quick", "--inference") == 0
    assert kept == [1, 2, 3]


def test_defaults_are_the_published_networks():
    training, inference = full_batch.parse([]), full_batch.parse(["--inference"])
    assert (training.depth, training.channels, training.nodes, training.edges) == (112, 80, 132_534, 79_122_504)
    assert (inference.depth, inference.channels) == (1001, 80)


def test_an_interruption_keeps_the_layers_that_were_done(bench, interrupt_after: Callable[[int], None]):
    interrupt_after(5)  # three layers forward, the second one backward
    with pytest.raises(KeyboardInterrupt):
        bench("full-batch", "--quick")
    (result,) = bench.lines("full-batch")
    assert {direction: len(s) for direction, s in result["layer_seconds"].items()} == {"forward": 3, "backward": 2}
    assert result["peak_bytes"] > 0
    assert "backward_seconds" not in result


def test_memory_that_is_not_there_is_not_asked_for(bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(harness, "available_bytes", lambda: 10_000_000)
    with pytest.raises(ValueError, match=r"takes about 8\.\d GB to make, and 0\.0 GB are free"):
        bench("full-batch")


def test_wrong_results_print_no_figures(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    right = checks.aggregate
    monkeypatch.setattr(checks, "aggregate", lambda *args, **kwargs: right(*args, **kwargs) + 1e-4)
    assert bench("full-batch", "--quick") == 1
    assert capsys.readouterr().out == ""
    assert not bench.folder.exists()


def test_hooks_are_gone_afterwards():
    args = full_batch.parse(["--quick"])
    graph = full_batch.full_size(args.nodes, args.edges)
    model = revgnn_model(Shape.of(args), graph)
    x = full_batch.default_node_features(graph)
    inputs = full_batch.Inputs(x, torch.zeros(200, dtype=torch.int64), torch.zeros(200, TASKS))
    full_batch.run(args, graph, model, inputs, {"layer_seconds": {"forward": [], "backward": []}})
    assert not any(module._forward_hooks for module in model.modules())
