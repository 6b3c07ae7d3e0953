"""The spread over views: compared with stored views, and undefined cases."""

from __future__ import annotations

import pytest
import torch

from revgnn.data.tasks import as_task
from revgnn.train.config import EvalConfig, RunConfig
from revgnn.train.inference.deviation import RunningDeviation
from revgnn.train.inference.views import infer, infer_with_spread, view_seed
from revgnn.train.run.session import prepare


def test_it_is_the_deviation_of_all_views(config: RunConfig) -> None:
    session = prepare(config)
    evaluation = EvalConfig(parts=3, views=5)
    spread = infer_with_spread(session.model, session.batches, evaluation, seed=7)
    assert torch.equal(spread.logits, infer(session.model, session.batches, evaluation, seed=7))

    views = []
    session.model.eval()
    for view in range(5):
        logits = torch.full((240, 3), torch.nan)
        for batch in session.batches.view(3, view_seed(7, view)):
            assert batch.nodes is not None
            with torch.no_grad():
                logits[batch.nodes] = session.model(batch.graph, batch.x, batch.species)
        views.append(logits)
    stored = torch.stack(views)
    for deviation, values in ((spread.logits_std, stored), (spread.probabilities_std, as_task("multilabel").values(stored))):
        truth = values.double().std(dim=0)
        assert float(truth.median()) > 0  # a few nodes lose the same edges in all views
        # one or two roundings of the difference of values of this size
        torch.testing.assert_close(deviation.double(), truth, rtol=1e-5, atol=1e-6 * float(values.abs().max()))


@pytest.mark.parametrize(("views", "parts"), [(1, 3), (5, 1), (1, 1)])
def test_too_few_views_have_no_spread(config: RunConfig, views: int, parts: int) -> None:
    session = prepare(config)
    with pytest.raises(ValueError, match=f"got {views} views of {parts} parts"):
        infer_with_spread(session.model, session.batches, EvalConfig(parts=parts, views=views), seed=0)


def test_nodes_without_edges_have_the_same_logits_in_every_view(config: RunConfig) -> None:
    """Views differ in the edges that they cut. Without edges the deviation is 0."""
    from dataclasses import replace

    from revgnn.graph import Graph
    from revgnn.train.batches import Batches

    session = prepare(config.override(["model.norm=layer"]))
    data = session.dataset
    keep = data.graph.src.long() >= 100
    edge_index = torch.stack([data.graph.src.long(), data.graph.dst.long()])[:, keep]
    edge_index = edge_index[:, edge_index[1] >= 100]
    assert data.graph.edge_attr is not None
    graph = Graph.from_edge_index(edge_index, 240, torch.rand(edge_index.shape[1], 8))
    batches = Batches(replace(data, graph=graph), session.device)
    spread = infer_with_spread(session.model, batches, EvalConfig(parts=4, views=6), seed=0)
    assert float(spread.logits_std[:100].abs().max()) < 1e-6 < float(spread.logits_std[100:].max())
    assert not spread.logits_std.isnan().any()


def test_values_far_from_zero_lose_no_digits() -> None:
    """Sums of squares in float32 would give 0 or the root of a negative number."""
    torch.manual_seed(0)
    values = 3000.0 + torch.randn(50, 4, 2) / 8
    running = RunningDeviation((4, 2))
    for value in values:
        running.add(slice(None), value)
    truth = values.double().std(dim=0)
    torch.testing.assert_close(running.deviation().double(), truth, rtol=2e-3, atol=0.0)


def test_equal_values_have_deviation_0_and_single_values_nan() -> None:
    running = RunningDeviation((3, 2))
    value = torch.tensor([[0.1, -7.3e8], [1e-30, 5.0]])
    for _ in range(7):
        running.add(torch.tensor([0, 2]), value)
    running.add(torch.tensor([1]), value[:1])
    assert running.deviation()[[0, 2]].eq(0).all()
    assert running.deviation()[1].isnan().all()
