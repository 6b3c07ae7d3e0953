"""`revgnn.plan`: for data in memory, for presets without files, and beside what training then measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

import revgnn
from revgnn.train.config import RunConfig
from revgnn.train.run.loop import train

SETTINGS = {"device": "cpu", "model.depth": 4, "model.channels": 16, "model.conv": "gcn", "epochs": 1}


@pytest.mark.slow
def test_data_in_memory() -> None:
    y = torch.randint(0, 3, (200,))
    data = Data(x=torch.rand(200, 5), edge_index=torch.randint(0, 200, (2, 900)), y=y)
    planned = revgnn.plan(data, preset="revgnn-7", settings=SETTINGS, memory_bytes=2e6, probe=False)
    assert planned.run.parameters > 0
    assert planned.run.seconds is None
    assert planned.deepest is not None
    assert planned.deepest.needed_bytes <= 2e6
    assert set(planned.strategies) == {"reversible", "checkpoint", "backprop"}
    assert planned.spread == {}
    assert set(planned.fewest_ranks) == {"parts", "graph", "layers", "weights"}
    with pytest.raises(ValueError, match="hours"):
        revgnn.plan(data, preset="revgnn-7", hours=1.0, probe=False)


def test_several_processes() -> None:
    graph = Data(x=torch.rand(200, 5), edge_index=torch.randint(0, 200, (2, 900)), y=torch.randint(0, 3, (200,)))
    shallow = {**SETTINGS, "model.depth": 2}
    spread = revgnn.plan(graph, preset="revgnn-7", settings=shallow, ranks=3, link="1GB/s", probe=False).spread
    assert spread["layers"] == "2 layers cannot be cut into 3 stages; use fewer processes or pieces, or a deeper network."
    assert isinstance(spread["graph"], tuple)
    assert sum(share.own for share in spread["graph"].shares) == 200
    for mistake in ({"link": "1GB/s"}, {"ranks": 0}, {"ranks": 2, "link": "fast"}):
        with pytest.raises(ValueError, match=r"ranks|300GB/s"):
            revgnn.plan(graph, preset="revgnn-7", probe=False, **mistake)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("revgnn-28", {}),
        pytest.param("revgnn-28", {"model.family": "residual", "model.gradient": "backprop"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_plan_is_what_training_measures(preset: str, changes: dict[str, object], real_data: Path, tmp_path: Path) -> None:
    """On Cora: the peak of the first epoch, above weights and data. Its only step ends with the first moments of the optimiser."""
    settings = {**SETTINGS, **changes, "data.root": str(real_data)}
    memory = revgnn.plan("cora", preset=preset, settings=settings, probe=False).run.memory
    result = train(_run(preset, settings), tmp_path / "run")
    held = memory.weights + memory.optimizer + memory.graph + memory.inputs
    assert result.peak_bytes == pytest.approx(memory.total - held, rel=0.02)


def test_graphs_and_pairs_are_planned(tmp_path: Path) -> None:
    molecules = [
        Data(x=torch.rand(n, 3), edge_index=torch.randint(0, n, (2, 3 * n)), y=torch.tensor([n % 2])) for n in range(4, 44)
    ]
    settings = {**SETTINGS, "graphs_per_batch": 8}
    planned = revgnn.plan(molecules, preset="revgnn-7", settings=settings, probe=False)
    assert planned.fewest_parts is None
    graph = Data(x=torch.rand(300, 4), edge_index=torch.randint(0, 300, (2, 900)))
    linked = revgnn.plan(graph, task="links", preset="revgnn-7", settings={**SETTINGS, "model.depth": 2}, probe=True)
    assert linked.run.seconds is not None
    assert linked.run.memory.total > 0


def _run(preset: str, settings: dict[str, object]) -> RunConfig:
    from revgnn.experiments.compose import compose

    return compose("cora", preset=preset, changes=settings)
