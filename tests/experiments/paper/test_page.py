"""What a trained table says in words and as a page: held against figures that are made up for it."""

from __future__ import annotations

from typing import Any

import pytest

from revgnn.experiments.paper.findings import Network, findings
from revgnn.experiments.paper.markdown import table_markdown
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
) -> Network:
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
    return Network(record, run)


def page(networks: list[Network], **changes: Any) -> str:
    record = {
        "title": "A title",
        "source": "the tests",
        "notes": ["A note."],
        "rows": [n.record for n in networks],
        "command": "revgnn paper x --train --root DIR --out DIR",
        "protocol": {"epochs": 100, "data.name": "set", "optim.lr": 0.001, "label_inputs": 0.5, "optim.weight_decay": 0.0},
        "findings": findings(networks),
        "dates": ["2026-01-01", "2026-01-03"],
        "environments": [],
    }
    return table_markdown({**record, **changes})


# --- findings -----------------------------------------------------------------------------------------------------------


def test_it_says_plainly_where_depth_does_not_help() -> None:
    rows = [network(f"Rev-{depth}", test, depth=depth, peak=depth * 10) for depth, test in ((3, 0.70), (7, 0.72), (14, 0.69))]
    depth, _ = findings(rows)
    assert "of 3, 7, 14 layers, 7 scored best (0.7200) and 14 worst (0.6900), a spread of 0.0300." in depth
    assert "No network deeper than 7 layers scored better: beyond that depth does not help here." in depth
    assert "The deepest, of 14, is 0.0300 behind." in depth
    assert "From 3 to 14 layers the peak memory grew 4.7 times, the layers 4.7 times." in depth
    assert findings(rows[::-1])[0] == depth  # whatever order the rows are in


def test_it_says_so_where_the_deepest_is_best() -> None:
    depth, _ = findings([network(f"Rev-{depth}", depth / 100, depth=depth) for depth in (3, 7)])
    assert depth.startswith("RevGNN, 64 channels in 2 groups, by depth")
    assert "The deepest network scored best." in depth
    assert "does not help" not in depth


def test_only_networks_that_differ_in_depth_alone_are_compared_by_depth() -> None:
    rows = [network("a", 0.5, depth=4), network("b", 0.6, depth=8, dropout=0.5), network("c", 0.7, depth=12, tied=True)]
    assert findings(rows) == []
    assert findings([*rows, network("d", None, depth=16)]) == []
    assert "of 4, 20 layers" in findings([*rows, network("e", 0.4, depth=20)])[0]


def test_families_of_one_size() -> None:
    rows = [
        network("ResGNN", 0.70, family="residual", groups=1, depth=28, peak=90_000_000),
        network("RevGNN", 0.71, depth=28, peak=40_000_000),
        network("DEQ-GNN", 0.72, family="equilibrium", groups=1, depth=28, peak=50_000_000),
    ]
    (families, _) = findings(rows)
    assert "(or an equilibrium)" in families
    assert "DEQ-GNN 0.7200 (50.0 MB), RevGNN 0.7100 (40.0 MB), ResGNN 0.7000 (90.0 MB)" in families
    assert families.endswith("The least memory is RevGNN's.")


def test_views() -> None:
    scores = {(1, 1): 0.700, (10, 1): 0.700, (1, 10): 0.680, (5, 10): 0.684, (10, 10): 0.685}
    rows = [network("Rev", 0.7, view=(views, parts, score)) for (views, parts), score in scores.items()]
    (views, _) = findings(rows)
    assert "the whole graph scored best (0.7000), 1 view of 10 parts worst (0.6800), a spread of 0.0200" in views
    assert "+0.0050 at 10 parts (1 to 10 views)" in views


def test_chance() -> None:
    def last(*deviations: float | None) -> str:
        return findings([network(f"Rev-{depth}", 0.5, std=std, depth=depth) for depth, std in enumerate(deviations, start=1)])[-1]

    assert "one seed: how much of a difference is chance cannot be told" in last(None, None)
    assert "deviate by up to 0.0030" in last(0.001, 0.003)


# --- the page -----------------------------------------------------------------------------------------------------------


def test_each_table_is_as_wide_in_every_line() -> None:
    rows = [network("Rev-3", 0.7, depth=3), network("Rev-7", None, depth=7), network("Rev-3", 0.7, depth=3, view=(1, 3, 0.6))]
    text = page(rows)
    blocks = [[line for line in block.splitlines() if line.startswith("|")] for block in text.split("\n\n")]
    assert len([block for block in blocks if block]) == 2
    for block in filter(None, blocks):
        assert len({line.count("|") for line in block}) == 1
    assert "| Rev-3 | 3 | 64 | 2 | 1,234 | 0.7000 | 1.0 | 0.50 |" in text
    assert "| Rev-7 | 7 | 64 | 2 | 1,234 | - | - | - |" in text
    assert "So far 1 of its 2 networks are trained." in text
    assert text.index("| Rev-3 |") < text.index("| Rev-7 |")  # in the order of their first rows


def test_the_page_says_how_it_was_made() -> None:
    environment = {"device": "A processor", "cpu_count": 2, "threads": 2, "platform": "Linux", "python": "3.11", "commit": "abc"}
    environment["packages"] = {"revgnn": "0.1", "torch": "2.13"}
    text = page([network("Rev-3", 0.7, depth=3)], environments=[environment])
    assert "Made by `revgnn paper x --train --root DIR --out DIR`, trained from 2026-01-01 to 2026-01-03." in text
    assert "A processor, 2 cores, 2 threads; Linux; Python 3.11, revgnn 0.1, torch 2.13 (commit abc)." in text
    assert "- A note." in text
    # what is not the default, and what is wanted either way
    assert "`epochs=100`, `data.name=set`, `optim.lr=0.001`, `label_inputs=0.5`" in text
    assert "weight_decay" not in text


def test_published_figures_stand_beside_ours() -> None:
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


@pytest.mark.parametrize("nothing", [[], [network("Rev-3", None, depth=3)]], ids=["no rows", "no results"])
def test_nothing_trained_yet(nothing: list[Network]) -> None:
    assert "## What the figures say" not in page(nothing)
