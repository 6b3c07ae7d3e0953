"""`revgnn evaluate`: score the best weights of a run."""

from __future__ import annotations

import json

import typer

from revgnn.cli.options import Amp, AsJson, Device, Edges, NewData, OnBadRows, Parts, Root, Run, Views
from revgnn.cli.text import score_text


def evaluate(
    run: Run,
    views: Views = None,
    parts: Parts = None,
    root: Root = None,
    device: Device = None,
    amp: Amp = None,
    data: NewData = None,
    edges: Edges = None,
    on_bad_rows: OnBadRows = None,
    as_json: AsJson = False,
) -> None:
    """Score the best weights of a run on its training, validation and test nodes, or on another graph with labels."""
    from revgnn.cli.tables import bad_rows
    from revgnn.train import evaluate_run

    scores = evaluate_run(
        run,
        views=views,
        parts=parts,
        root=root,
        device=device,
        amp=amp,
        data=data,
        edges=edges,
        on_bad_rows=bad_rows(on_bad_rows),
    )
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
        return
    where = "whole graph" if scores["parts"] == 1 else f"{scores['views']} views of {scores['parts']} parts"
    typer.echo(f"{scores['dataset']}, {scores['metric']}, weights of epoch {scores['epoch']}, {where}")
    typer.echo("  ".join(f"{name} {score_text(scores[name])}" for name in ("train", "valid", "test")))
