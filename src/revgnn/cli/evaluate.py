"""`revgnn evaluate`: score the best weights of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from revgnn.cli.options import (
    AllowChangedData,
    Amp,
    AsJson,
    Cut,
    Data,
    Device,
    Edges,
    NodeFeatures,
    OnBadRows,
    Parallel,
    Parts,
    RankTimeout,
    Root,
    RunOrSweep,
    Views,
)
from revgnn.cli.phases import phases
from revgnn.cli.processes import processes, share_options
from revgnn.cli.text import flow, line_width, score_text, table, wrapped
from revgnn.cli.waiting import choose_waiting


def evaluate(
    context: typer.Context,
    run: RunOrSweep,
    views: Views = None,
    parts: Parts = None,
    data: Data = None,
    root: Root = None,
    node_features: NodeFeatures = None,
    device: Device = None,
    amp: Amp = None,
    edges: Edges = None,
    on_bad_rows: OnBadRows = None,
    allow_changed_data: AllowChangedData = False,
    parallel: Parallel = "parts",
    cut: Cut = "contiguous",
    rank_timeout: RankTimeout = 600.0,
    as_json: AsJson = False,
) -> None:
    """Score the best weights of a run, or of each run of a sweep, on its own data or on another graph with labels."""
    choose_waiting()
    team = context.with_resource(processes(rank_timeout))
    leads = team is None or team.leads
    with phases(silent=not leads) as say:
        say("loading PyTorch")
        from revgnn.cli.tables import bad_rows
        from revgnn.train import LoadOptions, evaluate_run

        options = LoadOptions(
            views=views,
            parts=parts,
            data=data,
            edges=edges,
            on_bad_rows=bad_rows(on_bad_rows),
            root=root,
            node_features=node_features,
            device=device,
            amp=amp,
            allow_changed_data=allow_changed_data,
            **share_options(team, parallel, cut),
        )
        say(f"reading {run} and its data, evaluating")
        scores = evaluate_run(run, options)
    if not leads:
        return
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
        return
    if "runs" in scores:
        typer.echo(sweep_text(scores))
        return
    where = "whole graph" if scores["parts"] == 1 else f"{scores['views']} views of {scores['parts']} parts"
    width = line_width()
    typer.echo(wrapped(f"{scores['dataset']}, {scores['metric']}, weights of epoch {scores['epoch']}, {where}", width, "  "))
    typer.echo(flow([f"{name} {score_text(scores[name])}" for name in ("train", "valid", "test")], width))


def sweep_text(scores: dict[str, Any]) -> str:
    """Return a row for each run of a sweep, and their mean and deviation."""
    parts = ("train", "valid", "test")
    rows = [(Path(run["run"]).name, *(score_text(run[part]) for part in parts), run["epoch"]) for run in scores["runs"]]
    rows += [
        (name, *(score_text(scores[part][key]) for part in parts), None) for name, key in (("mean", "mean"), ("deviation", "std"))
    ]
    return f"{scores['dataset']}, {scores['metric']}\n" + table(("run", *parts, "epoch"), rows, line_width())
