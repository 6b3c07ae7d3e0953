"""A step on a whole graph, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from revgnn.bench import full_batch, harness


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
    from revgnn.bench import step

    right = step.aggregate
    monkeypatch.setattr(step, "aggregate", lambda *args, **kwargs: right(*args, **kwargs) + 1e-4)
    assert bench("full-batch", "--quick") == 1
    assert capsys.readouterr().out == ""
    assert not bench.folder.exists()


def test_hooks_are_gone_afterwards():
    args = full_batch.parse(["--quick"])
    graph = full_batch.full_size(args.nodes, args.edges)
    args.family = "reversible"
    model = full_batch.our_model(args, graph)
    inputs = full_batch.features_of(graph), torch.zeros(200, dtype=torch.int64), torch.zeros(200, full_batch.TASKS)
    full_batch.run(args, graph, model, inputs, {"layer_seconds": {"forward": [], "backward": []}})
    assert not any(module._forward_hooks for module in model.modules())
