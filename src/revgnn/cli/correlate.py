"""`revgnn correlate`: correlation of the predictions of several runs, and the score of their ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from revgnn.cli.options import AllowChangedData, AsJson, Data, Device, NodeFeatures, Parts, Root, Views
from revgnn.cli.phases import phases
from revgnn.cli.text import line_width, score_text, table, wrapped
from revgnn.cli.waiting import choose_waiting


def correlate(
    runs: Annotated[list[Path], typer.Argument(help="Folders of two or more runs on one data set and split.")],
    views: Views = None,
    parts: Parts = None,
    data: Data = None,
    root: Root = None,
    node_features: NodeFeatures = None,
    device: Device = None,
    allow_changed_data: AllowChangedData = False,
    as_json: AsJson = False,
) -> None:
    """Print the Pearson correlation of the test predictions of several runs, and the score of their ensemble.

    Example: revgnn correlate runs/a runs/b runs/c
    """
    choose_waiting()
    with phases() as say:
        say("loading PyTorch")
        from revgnn.train import LoadOptions
        from revgnn.train.inference.correlate import correlate_runs

        options = LoadOptions(
            views=views,
            parts=parts,
            data=data,
            root=root,
            node_features=node_features,
            device=device,
            allow_changed_data=allow_changed_data,
        )
        say(f"predicting with {len(runs)} runs")
        correlation = correlate_runs(runs, options)
    if as_json:
        typer.echo(json.dumps(correlation.as_dict(), indent=2))
        return
    about = f"{correlation.dataset}, {correlation.num_test_nodes:,} test nodes, correlation of probabilities"
    typer.echo(wrapped(about, line_width(), "  "))
    header = ("", "run", f"test {correlation.metric}", *(str(i + 1) for i in range(len(correlation.runs))))
    rows = [
        (i + 1, run, score_text(correlation.test[i]), *(score_text(value) for value in correlation.pearson[i]))
        for i, run in enumerate(correlation.runs)
    ]
    typer.echo(table(header, rows, line_width()))
    typer.echo(f"ensemble (mean of logits): test {score_text(correlation.ensemble)}")
