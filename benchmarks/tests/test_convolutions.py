"""The benchmark of single convolutions: no figures for wrong results, and a record that says what a reader needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import revgnn
from benchmarks import convolutions


def test_result_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert convolutions.main(["--quick", "--results", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"commit", "cpu", "threads", "nodes", "edges", "in_channels", "out_channels"} <= result.keys()
    assert result["seconds"].keys() == {"GCNConv", "SAGEConv", "GATConv", "GENConv"}
    for found in result["seconds"].values():
        measured = ("edge_index", "Graph", "new features", "PyTorch Geometric", "products")
        assert {name: len(seconds) for name, seconds in found.items()} == dict.fromkeys(measured, 2)
    assert result["once"].keys() == {"conversion", "self-loops", "by source"}
    assert "200 nodes, 800 edges, 8 to 8 channels" in convolutions.show(result)


def test_networks_of_two_layers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert convolutions.main(["--quick", "--results", str(tmp_path), "--classes", "5"]) == 0
    assert "8 to 8 to 5 channels" in capsys.readouterr().out
    contests = convolutions.networks(convolutions.Shape(50, 80, 8, 8), 5)
    assert all(
        net(torch.randn(50, 8), torch.randint(0, 50, (2, 80))).shape == (50, 5) for each in contests.values() for net in each
    )


def test_a_bag_of_words_has_no_gradient() -> None:
    x, _ = convolutions.make_inputs(convolutions.Shape(50, 80, convolutions.BAG_OF_WORDS, 16))
    assert not x.requires_grad
    assert x.sum(1).max() <= convolutions.WORDS
    convolutions.check(
        convolutions.layers(convolutions.Shape(50, 80, convolutions.BAG_OF_WORDS, 16)), x, torch.randint(0, 50, (2, 80))
    )


@pytest.mark.parametrize("name", ["GCNConv", "SAGEConv", "GATConv", "GENConv"])
def test_a_wrong_value_gives_no_figures(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conv = getattr(revgnn, name)
    forward = conv.forward

    def wrong(self: torch.nn.Module, x: Tensor, *args: object) -> Tensor:
        return forward(self, x, *args) * (1 + 1e-6)

    monkeypatch.setattr(conv, "forward", wrong)
    assert convolutions.main(["--quick", "--results", str(tmp_path)]) == 1
    assert not list(tmp_path.rglob("*.jsonl"))
    assert f"{name}: the value differs" in capsys.readouterr().err


def test_the_products_of_a_layer() -> None:
    """A hidden layer has one forward and two backward for each map; the first layer has no gradient of its input."""
    hidden, first = convolutions.Shape(50, 80, 8, 8), convolutions.Shape(50, 80, convolutions.BAG_OF_WORDS, 16)
    for shape, expected in ((hidden, {"GCNConv": 3, "SAGEConv": 6, "GENConv": 6}), (first, {"GCNConv": 2, "SAGEConv": 4})):
        x, _ = convolutions.make_inputs(shape)
        for name, count in expected.items():
            assert len(convolutions.products(convolutions.layers(shape)[name].ours, x)) == count, name
