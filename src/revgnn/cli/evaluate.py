"""`revgnn evaluate`: score the best weights of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from revgnn.cli.text import score_text


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    views: Annotated[int | None, typer.Option(help="Partitions whose logits are averaged. Default: the run's own.")] = None,
    parts: Annotated[int | None, typer.Option(help="Parts of each partition; 1: the whole graph. Default: the run's own.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data, if it has moved.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: the run's own.")] = None,
    amp: Annotated[
        str | None, typer.Option(help="Precision of the forward pass: none, bf16 or fp16. Default: the run's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score the best weights of a run on its training, validation and test nodes."""
    from revgnn.train import evaluate_run

    scores = evaluate_run(run, views=views, parts=parts, root=root, device=device, amp=amp)
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
        return
    where = "whole graph" if scores["parts"] == 1 else f"{scores['views']} views of {scores['parts']} parts"
    typer.echo(f"{scores['dataset']}, {scores['metric']}, weights of epoch {scores['epoch']}, {where}")
    typer.echo("  ".join(f"{name} {score_text(scores[name])}" for name in ("train", "valid", "test")))
