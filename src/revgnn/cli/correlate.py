"""`revgnn correlate`: how alike several runs predict, and their ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from revgnn.cli.text import score_text, table


def correlate(
    runs: Annotated[list[Path], typer.Argument(help="Folders of two runs or more, on one data set and split.")],
    views: Annotated[int | None, typer.Option(help="Partitions whose logits are averaged. Default: each run's own.")] = None,
    parts: Annotated[int | None, typer.Option(help="Parts of each partition; 1: the whole graph. Default: each run's own.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data, if it has moved.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: each run's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the correlation of logits too.")] = False,
) -> None:
    """Pearson correlation of the test predictions of several runs, and the score of their ensemble.

    Example: revgnn correlate runs/a runs/b runs/c
    """
    from revgnn.train.inference.correlate import correlate_runs

    found = correlate_runs(runs, views=views, parts=parts, root=root, device=device)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
        return
    typer.echo(f"{found.dataset}, {found.num_test_nodes:,} test nodes, correlation of probabilities")
    header = ("", "run", f"test {found.metric}", *(str(i + 1) for i in range(len(found.runs))))
    rows = [
        (i + 1, found.runs[i], score_text(found.test[i]), *(score_text(value) for value in found.pearson[i]))
        for i in range(len(found.runs))
    ]
    typer.echo(table(header, rows))
    typer.echo(f"ensemble (mean of logits): test {score_text(found.ensemble)}")
