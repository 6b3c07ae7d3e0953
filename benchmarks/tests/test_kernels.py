"""Kernels are checked before they are timed, and the bounds are bounds."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from benchmarks import bounds, kernels
from benchmarks.kernel_work import Case, least_work
from revgnn.testing import awkward_graphs


def test_result_line_and_table(bench, capsys: pytest.CaptureFixture[str]):
    words = ("kernels", "--quick", "--reducers", "max", "sum", "--edge-features", "0", "8", "--channels", "16")
    assert bench(*words) == 0
    (result,) = bench.lines("kernels")
    assert [(e["how"], e["direction"], e["edge_features"]) for e in result["kernels"]] == [
        (how, direction, features) for features in (0, 8) for how in ("max", "sum") for direction in ("forward", "backward")
    ]
    for entry in result["kernels"]:
        milliseconds = entry["bounds_milliseconds"]
        assert entry["bound_milliseconds"] == max(milliseconds.values()) == milliseconds[entry["binding"]]
        assert entry["times_the_bound"] == pytest.approx(entry["milliseconds"]["median"] / entry["bound_milliseconds"])
    printed = capsys.readouterr().out
    assert "times the bound" in printed
    assert printed.count("| backward") == 4
    assert "multiply-adds" in printed


@pytest.mark.parametrize("direction", ["value", "gradient"])
def test_a_wrong_kernel_prints_no_figures(
    bench, direction: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Off(torch.autograd.Function):
        """A little wrong, one way or the other."""

        @staticmethod
        def forward(ctx, out: torch.Tensor) -> torch.Tensor:
            return out * (1 + 1e-5) if direction == "value" else out.clone()

        @staticmethod
        def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
            return grad * (1 + 1e-5) if direction == "gradient" else grad

    right = kernels.aggregate

    def wrong(*args, how, backend, **kwargs):
        out = right(*args, how=how, backend=backend, **kwargs)
        return out if backend == "reference" or str(how) != "mean" else Off.apply(out)

    monkeypatch.setattr(kernels, "aggregate", wrong)
    assert bench("kernels", "--quick") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("no figures, because the results are wrong: mean, 16 channels, 8 edge features: ")
    assert not bench.folder.exists()


def test_interrupted(bench, interrupt_after: Callable[[int], None]):
    interrupt_after(3)  # forward and backward of max, forward of sum
    with pytest.raises(KeyboardInterrupt):
        bench("kernels", "--quick", "--reducers", "max", "sum")
    (result,) = bench.lines("kernels")
    assert result["stopped_by"] == "KeyboardInterrupt"
    assert [e["how"] for e in result["kernels"]] == ["max", "max"]


def test_json(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("kernels", "--quick", "--json", "--reducers", "mean") == 0
    assert [json.loads(capsys.readouterr().out)] == bench.lines("kernels")


@pytest.mark.parametrize("channels", [1, 7, 32, 128])
def test_reading_rows_reads_them_all(channels: int):
    for _, graph in awkward_graphs():
        # whole numbers: any order of summation gives the same bits
        x = torch.randint(-9, 10, (graph.num_nodes, channels), generator=torch.Generator().manual_seed(channels)).float()
        truth = torch.zeros_like(x).index_add_(0, graph.dst.long(), x[graph.src.long()])
        assert torch.equal(bounds.gather_sums(x, graph.indptr, graph.src), truth)


def test_rows_that_are_too_wide_are_read_in_pieces():
    (graph,) = (g for name, g in awkward_graphs() if name == "complete")
    x = torch.randn(graph.num_nodes, 200)
    assert bounds.gather_seconds(x, graph.indptr, graph.src, repeats=1) > 0
    with pytest.raises(ValueError, match="read them in pieces"):
        bounds.gather_sums(x, graph.indptr, graph.src)


def test_least_work_of_a_message():
    case = Case(next(g for name, g in awkward_graphs(8) if name == "complete"), 16, kernels.REDUCERS["sum"])
    edges = 17 * 17
    least = least_work(case)
    assert least["forward"].operations == edges * 8 * 16
    assert least["backward"].operations == 2 * edges * 8 * 16
    assert least_work(case._replace(how=kernels.REDUCERS["max"]))["backward"].rows == 0


def test_exponentials_and_logarithms_count():
    case = Case(next(g for name, g in awkward_graphs(8) if name == "complete"), 16, kernels.REDUCERS["sum"])
    each = 17 * 17 * 16
    rates = bounds.Rates(multiply_add=8.0, exponential=0.5, logarithm=0.25)
    for how, more in (("sum", 0), ("softmax", 2 * each), ("power", 6 * each)):
        least = least_work(case._replace(how=kernels.REDUCERS[how]))
        assert least["forward"].seconds(rates) == each + more
        assert least["backward"].seconds(rates) == 2 * each + more
