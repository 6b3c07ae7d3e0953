"""Sentences about a trained table, and its page, for invented figures."""

from __future__ import annotations

from typing import Any

import pytest

from revgnn.experiments.report.markdown import table_markdown
from revgnn.experiments.report.summary import TrainedRow, summarise
from revgnn.train.config import RunConfig

PUBLISHED = {
    "parameters": None,
    "memory_gb": None,
    "out_of_memory_gb": None,
    "score": None,
    "score_std": None,
    "train_days": None,
}


def network(
    name: str,
    test: float | None,
    *,
    std: float | None = None,
    peak: int = 1_000_000,
    view: tuple[int, int, float] | None = None,
    **model: Any,
) -> TrainedRow:
    """A row of 64 channels in two groups; `test` None: not trained; `view`: views, parts and the score by them."""
    run = RunConfig().replace({"model.channels": 64, **{f"model.{key}": value for key, value in model.items()}})
    result = None if test is None else {"test": {"mean": test, "std": std}, "peak_bytes": peak}
    if result:
        result |= {"metric": "rocauc", "parameters": 1234, "seeds": [0], "seconds_per_epoch": 0.5, "device": "cpu"}
    views, parts, score = view or (None, None, None)
    record = {
        "name": name if view is None else f"{name}-V{views}-P{parts}",
        "network": name,
        "preset": name.lower(),
        "layers": run.model.depth,
        "channels": 64,
        "groups": run.model.groups,
        "views": views,
        "parts": parts,
        "parameters": 1234,
        "published": PUBLISHED,
        "result": result,
        "multi_view": None if view is None else {"test": {"mean": score, "std": None}},
        "failed": None,
    }
    return TrainedRow(record, run)


def page(networks: list[TrainedRow], **changes: Any) -> str:
    record = {
        "title": "A title",
        "source": "the tests",
        "notes": ["A note."],
        "rows": [n.record for n in networks],
        "command": "revgnn paper x --train --root DIR --out DIR",
        "protocol": {"epochs": 100, "data.name": "set", "optim.lr": 0.001, "label_inputs": 0.5, "optim.weight_decay": 0.0},
        "findings": summarise(networks),
        "dates": ["2026-01-01", "2026-01-03"],
        "environments": [],
    }
    return table_markdown({**record, **changes})


def joined(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


# --- sentences -----------------------------------------------------------------------------------------------------------


def test_depth_that_does_not_help() -> None:
    rows = [network(f"Rev-{depth}", test, depth=depth, peak=depth * 10) for depth, test in ((3, 0.70), (7, 0.72), (14, 0.69))]
    depth, _ = summarise(rows)
    assert "of 3, 7, 14 layers, 7 scored best (0.7200) and 14 worst (0.6900), a spread of 0.0300." in depth
    assert "No network deeper than 7 layers scored better: beyond that depth does not help here." in depth
    assert "The deepest, of 14, is 0.0300 behind." in depth
    assert "From 3 to 14 layers the peak memory grew 4.7 times, the layers 4.7 times." in depth
    assert summarise(rows[::-1])[0] == depth  # in any order of the rows


def test_depth_that_helps() -> None:
    depth, _ = summarise([network(f"Rev-{depth}", depth / 100, depth=depth) for depth in (3, 7)])
    assert depth.startswith("RevGNN, 64 channels in 2 groups, by depth")
    assert "The deepest network scored best." in depth
    assert "does not help" not in depth


def test_only_networks_that_differ_in_depth_alone_are_compared_by_depth() -> None:
    rows = [network("a", 0.5, depth=4), network("b", 0.6, depth=8, dropout=0.5), network("c", 0.7, depth=12, tied=True)]
    assert summarise(rows) == []
    assert summarise([*rows, network("d", None, depth=16)]) == []
    assert "of 4, 20 layers" in summarise([*rows, network("e", 0.4, depth=20)])[0]


def test_families_of_one_size() -> None:
    rows = [
        network("ResGNN", 0.70, family="residual", groups=1, depth=28, peak=90_000_000),
        network("RevGNN", 0.71, depth=28, peak=40_000_000),
        network("DEQ-GNN", 0.72, family="equilibrium", groups=1, depth=28, peak=50_000_000),
    ]
    (families, _) = summarise(rows)
    assert "(or an equilibrium)" in families
    assert "DEQ-GNN 0.7200 (50.0 MB), RevGNN 0.7100 (40.0 MB), ResGNN 0.7000 (90.0 MB)" in families
    assert families.endswith("The least memory is RevGNN's.")


def test_views() -> None:
    scores = {(1, 1): 0.700, (10, 1): 0.700, (1, 10): 0.680, (5, 10): 0.684, (10, 10): 0.685}
    rows = [network("Rev", 0.7, view=(views, parts, score)) for (views, parts), score in scores.items()]
    (views, _) = summarise(rows)
    assert "the whole graph scored best (0.7000), 1 view of 10 parts worst (0.6800), a spread of 0.0200" in views
    assert "+0.0050 at 10 parts (1 to 10 views)" in views


def test_chance() -> None:
    def last(*deviations: float | None) -> str:
        return summarise([network(f"Rev-{depth}", 0.5, std=std, depth=depth) for depth, std in enumerate(deviations, start=1)])[-1]

    assert "one seed: how much of a difference is chance cannot be told" in last(None, None)
    assert "deviate by up to 0.0030" in last(0.001, 0.003)


# --- the page -----------------------------------------------------------------------------------------------------------


def test_all_lines_of_a_table_have_as_many_cells() -> None:
    rows = [network("Rev-3", 0.7, depth=3), network("Rev-7", None, depth=7), network("Rev-3", 0.7, depth=3, view=(1, 3, 0.6))]
    text = page(rows)
    blocks = [[line for line in block.splitlines() if line.startswith("|")] for block in text.split("\n\n")]
    assert len([block for block in blocks if block]) == 2
    for block in filter(None, blocks):
        assert len({line.count("|") for line in block}) == 1
    assert "| Rev-3 | 3 | 64 | 2 | 1,234 | 0.7000 | 1.0 | 0.50 |" in text
    assert "| Rev-7 | 7 | 64 | 2 | 1,234 | - | - | - |" in text
    assert "So far 1 of its 2 networks are trained." in joined(text)
    assert text.index("| Rev-3 |") < text.index("| Rev-7 |")  # in the order of their first rows


def test_the_page_says_how_it_was_made() -> None:
    environment = {"device": "A processor", "cpu_count": 2, "threads": 2, "platform": "Linux", "python": "3.11", "commit": "abc"}
    environment["packages"] = {"revgnn": "0.1", "torch": "2.13"}
    text = joined(page([network("Rev-3", 0.7, depth=3)], environments=[environment]))
    assert "Made by `revgnn paper x --train --root DIR --out DIR`, trained from 2026-01-01 to 2026-01-03." in text
    assert "A processor, 2 cores, 2 threads; Linux; Python 3.11, revgnn 0.1, torch 2.13 (commit abc)." in text
    assert "- A note." in text
    # settings that are not the default, and those that are always shown
    assert "`epochs=100`, `data.name=set`, `optim.lr=0.001`, `label_inputs=0.5`" in text
    assert "weight_decay" not in text


def test_published_figures_are_beside_ours() -> None:
    row = network("Rev-3", 0.7, depth=3)
    row.record["published"] = {**PUBLISHED, "parameters": "1k", "memory_gb": 7.3, "score": 0.71, "score_std": 0.01}
    tight = network("Res-3", None, family="residual", groups=1, depth=3)
    tight.record["published"] = {**PUBLISHED, "out_of_memory_gb": 32}
    tight.record["failed"] = "out of | memory"
    text = page([row, tight])
    assert "| Rev-3 | 3 | 64 | 2 | 1,234 | 1k | 0.7000 | 0.7100 ± 0.0100 | 1.0 | 7.30 | 0.50 |" in text
    assert "| out of \\| memory | - | - | > 32 | - |" in text


def test_a_grid_of_views_and_parts() -> None:
    rows = [network("Rev", 0.7, view=view) for view in ((1, 1, 0.71), (1, 3, 0.72), (5, 3, 0.73))]
    rows[2].record["published"] = {**PUBLISHED, "score": 0.8, "score_std": 0.01}
    text = page(rows)
    assert "## Rev in several views" in text
    assert "| views | whole graph | 3 parts |\n| --- | --- | --- |" in text
    assert "| 1 | 0.7100 | 0.7200 |" in text
    assert "| 5 |  | 0.7300 (published 0.8000 ± 0.0100) |" in text


def test_lines_of_prose_have_at_most_120_characters() -> None:
    """Code is not broken into lines."""
    note = "A long sentence. " * 20 + "`revgnn train` " * 20
    lines = page([network("Rev-3", 0.7, depth=3)], notes=[note]).splitlines()
    assert all(len(line) <= 120 for line in lines if not line.startswith("|"))
    assert sum(line.count("`revgnn train`") for line in lines) == 20
    start = next(i for i, line in enumerate(lines) if line.startswith("- A long sentence."))
    assert len(lines) - start > 2
    assert all(line.startswith("  ") for line in lines[start + 1 :])


@pytest.mark.parametrize("nothing", [[], [network("Rev-3", None, depth=3)]], ids=["no rows", "no results"])
def test_nothing_trained_yet(nothing: list[TrainedRow]) -> None:
    assert "## What the figures say" not in page(nothing)
