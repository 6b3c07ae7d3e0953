"""`revgnn evaluate`: score the best weights of a run."""

from __future__ import annotations

import json

import typer

from revgnn.cli.options import (
    AllowChangedData,
    Amp,
    AsJson,
    Data,
    Device,
    Edges,
    NodeFeatures,
    OnBadRows,
    Parts,
    Root,
    Run,
    Views,
)
from revgnn.cli.text import score_text
from revgnn.cli.waiting import choose_waiting


def evaluate(
    run: Run,
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
    as_json: AsJson = False,
) -> None:
    """Score the best weights of a run on its training, validation and test nodes, or on another graph with labels."""
    choose_waiting()
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
    )
    scores = evaluate_run(run, options)
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
        return
    where = "whole graph" if scores["parts"] == 1 else f"{scores['views']} views of {scores['parts']} parts"
    typer.echo(f"{scores['dataset']}, {scores['metric']}, weights of epoch {scores['epoch']}, {where}")
    typer.echo("  ".join(f"{name} {score_text(scores[name])}" for name in ("train", "valid", "test")))
