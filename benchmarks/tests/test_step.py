"""The benchmark prints no figure unless the results are right, and its record says what a reader needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric import EdgeIndex

from benchmarks import checks, harness, step
from benchmarks.networks import Batch, Shape
from benchmarks.peers.pyg import VARIANTS, Family, Variant, edge_index_of
from benchmarks.peers.trials import Peer
from revgnn.data.generated.synthetic import proteins_shaped


@pytest.mark.parametrize("family", ["reversible", "residual"])
def test_all_networks_are_the_same_function(family: Family):
    checks.check_same_network(Shape(16, 2, 2, family))


def test_result_line(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("step", "--quick", "--json", "--peers", "shared", "raw+EdgeIndex") == 0
    result = json.loads(capsys.readouterr().out)
    assert [result] == bench.lines("step")
    assert {"commit", "cpu", "threads", "packages", "seconds", "peak_bytes", "dtype", "nodes", "edges"} <= result.keys()
    assert {name: len(times) for name, times in result["seconds"].items()} == {
        "revgnn": 2,
        "PyG, shared": 2,
        "PyG, raw+EdgeIndex": 2,
    }
    for spread in result["speed_up"].values():
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    edge_tensor = 3000 * 8 * 4  # E x C, float32: PyTorch Geometric holds several at a time
    assert result["peak_bytes"]["PyG, shared"] > 3 * edge_tensor


def test_the_speed_up_that_counts_is_over_the_fastest():
    result: dict[str, Any] = {"seconds": {"revgnn": [1.0, 1.0], "PyG, shared": [9.0, 9.0], "PyG, raw": [4.0, 4.0]}}
    step.add_ratios(result)
    assert result["counts"] == "PyG, raw"
    assert result["speed_up"]["PyG, raw"]["median"] == 4.0


@pytest.mark.slow
def test_without_peers_the_fastest_of_each_kind_takes_part(bench, monkeypatch: pytest.MonkeyPatch):
    tried = [Variant.of(text) for text in ("shared", "shared+EdgeIndex", "shared+storing", "raw", "raw+storing")]
    monkeypatch.setattr(step, "VARIANTS", tried)
    monkeypatch.setitem(step.QUICK, "peers", None)
    assert bench("step", "--quick") == 0
    (result,) = bench.lines("step")
    heats = result["heats"]["seconds"]
    assert set(heats) == {str(v) for v in tried}
    fastest = [min((n for n in heats if n.startswith(kind)), key=lambda n: heats[n]) for kind in ("shared", "raw")]
    assert set(result["seconds"]) == {"revgnn", *(f"PyG, {name}" for name in fastest)}


def test_wrong_results_print_no_figures(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    right = checks.aggregate
    monkeypatch.setattr(checks, "aggregate", lambda *args, **kwargs: right(*args, **kwargs) * (1 + 1e-5))
    assert bench("step", "--quick") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no figures, because the results are wrong: aggregate at" in printed.err
    assert not bench.folder.exists()


def test_a_different_network_is_found(monkeypatch: pytest.MonkeyPatch):
    right = checks.revgnn_logits
    monkeypatch.setattr(checks, "revgnn_logits", lambda model, batch: right(model, batch) * (1 + 1e-8))
    with pytest.raises(AssertionError, match="differs from PyTorch Geometric"):
        checks.check_same_network(Shape(16, 2, 2))


@pytest.mark.slow
def test_a_variant_that_computes_something_else_is_left_out(bench, monkeypatch: pytest.MonkeyPatch):
    right = Peer.gradients

    def wrong(self):
        return {name: 1.01 * g if self.variant.storing else g for name, g in right(self).items()}

    monkeypatch.setattr(Peer, "gradients", wrong)
    assert bench("step", "--quick", "--peers", "shared", "shared+storing") == 0
    (result,) = bench.lines("step")
    assert set(result["seconds"]) == {"revgnn", "PyG, shared"}
    assert "differs from that of the plain variant" in result["heats"]["left_out"]["shared+storing"]


def test_a_variant_that_does_not_fit_is_not_begun(bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(harness, "available_bytes", lambda: 1_000_000)
    assert bench("step", "--quick", "--peers", "shared", "shared+storing") == 0
    (result,) = bench.lines("step")
    assert set(result["heats"]["left_out"]) == {"shared+storing"}


def test_memory_of_storing_is_foreseen():
    """Within a fifth of what it is, where E x C outweighs all else."""
    batch = Batch.on(proteins_shaped(500, 40_000))
    for text in ("shared+storing", "raw+storing"):
        for depth in (1, 3):
            shape = Shape(channels=32, groups=2, depth=depth)
            peer = Peer(shape, Variant.of(text), batch)
            measured = harness.peak_memory({"step": peer.step})["step"]
            assert measured < 1.2 * peer.stored_bytes()
            assert peer.stored_bytes() < 1.6 * measured


@pytest.mark.slow
def test_what_was_measured_outlives_an_interruption(bench, interrupt_after: Callable[[int], None]):
    interrupt_after(4)  # two variants are tried, and two contestants have had a turn
    with pytest.raises(KeyboardInterrupt):
        bench("step", "--quick")
    (result,) = bench.lines("step")
    assert result["stopped_by"] == "KeyboardInterrupt"
    assert len(result["heats"]["seconds"]) == 2
    assert sorted(map(len, result["seconds"].values())) == [0, 1, 1]


def test_variants_by_name():
    assert [Variant.of(str(v)) for v in VARIANTS] == list(VARIANTS)
    assert Variant.of("raw+compiled") == Variant("raw", compiled=True)
    for bad in ("sharde", "shared+raw", "compiled", "raw+fast"):
        with pytest.raises(ValueError, match="a peer is shared or raw"):
            Variant.of(bad)


def test_edge_index_knows_its_order():
    graph = proteins_shaped(50, 200)
    index = edge_index_of(Variant.of("raw+EdgeIndex"), graph.edge_index, 50)
    assert isinstance(index, EdgeIndex)
    assert index.is_sorted_by_col
    assert torch.equal(index.as_tensor(), graph.edge_index)


def test_bad_options_are_refused(bench, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        bench("step", "--quick", "--peers", "fastest")
    assert stop.value.code == 2
    assert "a peer is shared or raw" in capsys.readouterr().err


def test_shapes_that_are_quoted():
    args = step.parse(["--shape", "wide"])
    assert (args.channels, args.groups, args.depth) == (224, 4, 3)
