"""docs/projections.md is made from the committed plans, and these are what the planner says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.projections import command, count
from benchmarks.projections.page import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "projections.md"


def test_the_page_is_up_to_date() -> None:
    """If this fails: python -m benchmarks projections --page > docs/projections.md"""
    assert PAGE.read_text(encoding="utf-8") == page(command.last_record())


def test_it_says_at_the_top_that_nothing_has_run() -> None:
    assert "**On paper.** Nothing on this page has run" in PAGE.read_text(encoding="utf-8")[:200]


def test_sizes_and_factors_are_those_of_the_code_and_of_the_committed_results() -> None:
    record = command.last_record()
    assert record["graphs"] == {name: command._sizes(data) for name, data in command.GRAPHS.items()}
    assert record["factors"] == pytest.approx(count.measured_factors())
    assert record["links"] == {name: link._asdict() for name, link in command.LINKS.items()}
    assert {(p["data"], p["network"], p["ranks"]) for p in record["plans"]} == {
        (name, network, ranks) for name in command.GRAPHS for network in command.NETWORKS for ranks in command.RANKS
    }


@pytest.mark.slow
def test_a_committed_plan_is_what_the_planner_says() -> None:
    record = command.last_record()
    committed = record["plans"][0]
    found = command.plan(committed["data"], committed["network"], committed["ranks"], max(record["factors"].values()))
    assert found["share"] == committed["share"]
    for mode, planned in found["modes"].items():
        assert planned["sent_bytes"] == committed["modes"][mode]["sent_bytes"]
        total = sum(planned["memory_bytes"].values())
        assert total == pytest.approx(sum(committed["modes"][mode]["memory_bytes"].values()), rel=1e-3)


def test_what_a_layer_takes_is_counted() -> None:
    """By hand: 2 groups of 4 channels. Twice the edges take twice the bytes; edges are not touched by gradients."""
    run, data = command.run_of(4, 8, 2), command.GRAPHS["ogbn-papers100M"]
    forward, training = count.forward_of_layer(run, data), count.training_of_layer(run, data)
    assert forward.node_bytes == 2 * 10 * 4 * 4
    assert forward.edge_bytes == 2 * (4 * 4 + 4)
    assert forward.node_flops == 2 * 8 * 16
    assert training.edge_bytes == 2 * forward.edge_bytes
    assert training.node_flops == 4 * forward.node_flops
